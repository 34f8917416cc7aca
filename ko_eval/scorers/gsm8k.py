"""`gsm8k`: the final number of a worked solution, read as the reference reads it (FACTS 3.4).

Two readings stand side by side. `strict`: the number after the first `####`. `flexible`: the last
number anywhere. Both are compared as strings after the reference's clean-up, so "12.0" is not "12".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ko_eval.errors import DataError
from ko_eval.scorers.base import expect_text, failed_score, mean_shares, unanswered
from ko_eval.types import (
    FailedResponse,
    GenerateResponse,
    Metric,
    Outcome,
    RequestKind,
    Response,
    Sample,
    SampleScore,
)

# Reference task file gsm8k.yaml, filter strict-match: "#### 12,000" but not "####12,000".
_STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
# Reference task file gsm8k.yaml, filter flexible-extract: "$1,200", "-3.5", or a single digit.
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")


def strict_number(text: str) -> str | None:
    """The number after the first `#### `, or None."""
    found = _STRICT.search(text)
    return found.group(1).strip() if found else None


def flexible_number(text: str) -> str | None:
    """The last number in the text, or None."""
    found = [match.group() for match in _FLEXIBLE.finditer(text)]
    return found[-1].strip() if found else None


def cleaned(text: str) -> str:
    """A text as the reference compares it: no commas, no `$`, nothing up to the last `#### `.

    The order is the reference's: commas, dollar signs, everything up to `#### `, one trailing full
    stop; then lower case.
    """
    text = text.replace(",", "").replace("$", "")
    text = text.rpartition("#### ")[2]
    # "\.$" also matches before a final line break, which stays.
    return re.sub(r"\.$", "", text).lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gsm8k:
    """Judges the final number of a worked solution."""

    kind: ClassVar[RequestKind] = RequestKind.GENERATE
    metrics: ClassVar[tuple[str, ...]] = ("exact_match_strict", "exact_match_flexible")

    def check(self, sample: Sample) -> None:
        if not isinstance(sample.target, str) or not cleaned(sample.target).strip():
            raise DataError(f"sample '{sample.id}' has no expected answer")

    def gold(self, sample: Sample) -> Response:
        answer = cleaned(str(sample.target))
        return GenerateResponse(text=f"#### {answer}", finish_reason="stop")

    def score(self, sample: Sample, response: Response) -> SampleScore:
        if isinstance(response, FailedResponse):
            return failed_score(sample, self.metrics, response)
        answer = expect_text(sample, response)
        expected = cleaned(str(sample.target))
        strict, flexible = strict_number(answer.text), flexible_number(answer.text)
        return SampleScore(
            id=sample.id,
            metrics={
                "exact_match_strict": float(_same(strict, expected)),
                "exact_match_flexible": float(_same(flexible, expected)),
            },
            extracted=strict,
            outcome=Outcome.OK if strict is not None else unanswered(answer),
            detail={"strict": strict, "flexible": flexible, "expected": expected},
        )

    def aggregate(self, scores: Sequence[SampleScore]) -> Mapping[str, Metric]:
        return mean_shares(self.metrics, scores)


def _same(found: str | None, expected: str) -> bool:
    return found is not None and cleaned(found) == expected
