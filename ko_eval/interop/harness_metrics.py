"""How the reference harness, and the board's result files with it, call our metrics.

A key of theirs is `metric,filter`: `acc_norm,none`, `exact_match,strict-match`; its standard error
stands under `metric_stderr,filter`. FACTS section 1 lists the board's keys. Metrics that only we
have keep their own name, under the filter `none`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

STRICT_FILTER = "strict-match"
"""The filter that reads what stands after `####`; the first of a task's filters."""

_OURS_TO_THEIRS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "exact_match_strict": ("exact_match", STRICT_FILTER),
        "exact_match_flexible": ("exact_match", "flexible-extract"),
        "exact_match_korean": ("exact_match", "korean"),
        # The board shows the credit of the chosen response under the name of an accuracy.
        "credit": ("acc", "none"),
        "credit_norm": ("acc_norm", "none"),
        "sva": ("SVA", "none"),
        "a_sva": ("A-SVA", "none"),
        "n_sva": ("N-SVA", "none"),
    }
)

LOWER_IS_BETTER = frozenset({"brier", "ece", "no_answer", "uncheckable_share"})


def harness_metric(ours: str) -> tuple[str, str]:
    """The harness's metric and filter: ``harness_metric("a_sva") == ("A-SVA", "none")``."""
    return _OURS_TO_THEIRS.get(ours, (ours, "none"))


def value_key(ours: str) -> str:
    """Where a result file holds the value: `exact_match,strict-match`."""
    metric, reading = harness_metric(ours)
    return f"{metric},{reading}"


def stderr_key(ours: str) -> str:
    """Where a result file holds the standard error: `exact_match_stderr,strict-match`."""
    metric, reading = harness_metric(ours)
    return f"{metric}_stderr,{reading}"
