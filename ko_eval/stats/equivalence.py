"""Equivalence: two one-sided tests (TOST: Schuirmann 1987; Lakens 2017).

Not significantly different is not the same as equal: with few items nothing is significant.
Equivalence must be shown, against a margin that was stated before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ko_eval.stats.quantiles import normal_quantile, student_quantile, upper_tail

Verdict = Literal["equivalent", "different", "undecided"]


@dataclass(frozen=True, slots=True)
class Equivalence:
    """The verdict on a difference.

    Attributes:
        verdict: `equivalent`: the difference was shown to be smaller than the margin (even where it
            was also shown not to be zero); `different`: it was shown not to be zero, and not shown
            to be smaller than the margin; `undecided`: neither.
        difference: as given.
        low90, high90: the interval at 1 − 2α, 90 % by default: within the margin exactly where the
            two are equivalent.
        p_equivalence: the larger of the two one-sided p-values.
        p_difference: two-sided, against a difference of zero.
        margin: as given.
    """

    verdict: Verdict
    difference: float
    low90: float
    high90: float
    p_equivalence: float
    p_difference: float
    margin: float


def tost(
    difference: float,
    stderr: float,
    *,
    margin: float,
    alpha: float = 0.05,
    df: float | None = None,
) -> Equivalence:
    """Whether a difference lies within ±`margin`.

    Args:
        difference, stderr, margin: in one unit. Without an error the difference is taken as exact:
            none is equivalent under any margin, zero included.
        df: degrees of freedom of the error; None for a normal distribution.

    Raises:
        ValueError: the margin or the error is negative.
    """
    if not (margin >= 0 and stderr >= 0):
        raise ValueError("a margin and a standard error cannot be negative")
    if stderr == 0:
        p_equivalence = 0.0 if difference == 0 or abs(difference) < margin else 1.0
        p_difference = 1.0 if difference == 0 else 0.0
        half = 0.0
    else:
        p_equivalence = max(
            upper_tail((difference + margin) / stderr, df),
            upper_tail((margin - difference) / stderr, df),
        )
        p_difference = min(1.0, 2 * upper_tail(abs(difference) / stderr, df))
        quantile = normal_quantile(1 - alpha) if df is None else student_quantile(1 - alpha, df)
        half = quantile * stderr
    verdict: Verdict = "undecided"
    if p_equivalence < alpha:
        verdict = "equivalent"
    elif p_difference < alpha:
        verdict = "different"
    return Equivalence(
        verdict=verdict,
        difference=difference,
        low90=difference - half,
        high90=difference + half,
        p_equivalence=p_equivalence,
        p_difference=p_difference,
        margin=margin,
    )
