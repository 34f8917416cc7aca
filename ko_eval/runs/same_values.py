"""Are recorded values those that are derived now? Up to what machines differ in."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ko_eval.runs.result import Value
from ko_eval.types import Metric

# Sums of floats differ by this much between machines; values of metrics are below a thousand.
_TOLERANCE = 1e-9
# Of an interval's length, for its limits.
_OF_AN_INTERVAL = 0.02


def value_differences(
    derived: Mapping[str, Metric], found: Mapping[str, Value], *, told: bool
) -> list[str]:
    """By name, values that are not as derived, or that nothing gives.

    Args:
        told: whether standard errors and intervals were computed as they are now.
    """
    wrong = [f"{name} follows from nothing" for name in found if name not in derived]
    for name, metric in derived.items():
        value = found.get(name)
        if value is None or value.n != metric.n or not same(value.value, metric.value):
            recorded = "none" if value is None else f"{value.value:.6g} of {value.n}"
            wrong.append(f"{name} is {recorded}, not {metric.value:.6g} of {metric.n}")
        elif told and not _same_interval(value, metric):
            wrong.append(f"{name} has {_interval_words(value)}, not {_interval_words(metric)}")
    return wrong


def _interval_words(value: Value | Metric) -> str:
    if value.stderr is None or value.low is None or value.high is None:
        return "no error or no interval"
    return f"the error {value.stderr:.6g} and the interval {value.low:.6g} to {value.high:.6g}"


def _same_interval(value: Value, metric: Metric) -> bool:
    """Whether error and limits agree; a bootstrap's limits move where rounding breaks a tie."""
    if value.stderr is None or value.low is None or value.high is None:
        return (value.stderr, value.low, value.high) == (metric.stderr, metric.low, metric.high)
    if metric.stderr is None or metric.low is None or metric.high is None:
        return False
    room = _OF_AN_INTERVAL * (metric.high - metric.low) + _TOLERANCE
    limits = ((value.low, metric.low), (value.high, metric.high))
    return same(value.stderr, metric.stderr) and all(abs(a - b) <= room for a, b in limits)


def same(one: float, other: float) -> bool:
    """Whether two numbers differ by nothing but rounding."""
    return math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
