"""Quantiles and tails of the normal and Student distributions.

The normal ones come from the standard library; scipy is imported only where a Student distribution
is asked for, so that commands that compute nothing start quickly.
"""

from __future__ import annotations

import math
from statistics import NormalDist

Z_95 = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution."""

_NORMAL_FROM = 1e6  # degrees of freedom: the two distributions agree to six digits


def normal_quantile(probability: float) -> float:
    """The value below which a standard normal variable lies with this probability."""
    return NormalDist().inv_cdf(probability)


def student_quantile(probability: float, df: float) -> float:
    """The same for Student's distribution with `df` degrees of freedom (a real number above 0)."""
    if df >= _NORMAL_FROM:
        return normal_quantile(probability)
    from scipy.special import stdtrit

    return float(stdtrit(df, probability))


def upper_tail(value: float, df: float | None = None) -> float:
    """The probability of a value at least this large: normal, or Student's where `df` is given."""
    if df is None or df >= _NORMAL_FROM:
        return 0.5 * math.erfc(value / math.sqrt(2))
    from scipy.special import stdtr

    return float(stdtr(df, -value))
