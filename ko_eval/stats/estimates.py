"""From per-sample values to a `Metric`: value, standard error and 95 % interval.

Samples are the independent units. A pooled share, whose units (instructions) come in clusters
(prompts), gets a standard error from its prompts and not from its instructions.
Formulas: Wilson 1927 for shares; Cochran, Sampling Techniques (3rd edition 1977), section 6.4 for
ratios; the delta method (influence values) for combinations of the two.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from ko_eval.errors import DataError
from ko_eval.types import Metric

Z_95 = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution."""

FloatArray = NDArray[np.float64]


def mean_metric(values: Sequence[float]) -> Metric:
    """The mean of independent values.

    The standard error is s/√n with the n−1 sample deviation, as the reference computes it (FACTS
    3.1); the interval is value ± 1.96·stderr.

    Raises:
        DataError: there are no values.
    """
    array = _filled(values)
    value = float(array.mean())
    return metric_from_influence(value, [float(x) for x in array - value], n=array.size)


def share_metric(values: Sequence[float]) -> Metric:
    """The mean of independent values from 0 to 1.

    As `mean_metric`, but the interval stays within [0, 1]; it is Wilson's where every value is 0 or
    1, and where all values are equal. So it is not empty when all samples are right, or all wrong;
    values between 0 and 1 vary less than right and wrong, so for them it errs on the wide side.

    Raises:
        DataError: there are no values.
    """
    metric = mean_metric(values)
    array = _filled(values)
    two_valued = bool(np.isin(array, (0.0, 1.0)).all())
    all_equal = bool((array == array[0]).all())
    if metric.stderr is None or not (two_valued or all_equal):
        return within(metric, 0.0, 1.0)
    low, high = wilson_interval(successes=float(array.sum()), n=array.size)
    return dataclasses.replace(metric, low=low, high=high)


def within(metric: Metric, lowest: float, highest: float) -> Metric:
    """The metric with its interval cut to the values that it can take."""
    if metric.low is None or metric.high is None:
        return metric
    return dataclasses.replace(metric, low=max(lowest, metric.low), high=min(highest, metric.high))


def scaled(metric: Metric, factor: float) -> Metric:
    """A metric in another unit; `factor` is positive."""

    def times(value: float | None) -> float | None:
        return None if value is None else value * factor

    return Metric(
        value=metric.value * factor,
        stderr=times(metric.stderr),
        low=times(metric.low),
        high=times(metric.high),
        n=metric.n,
    )


def ratio_metric(numerators: Sequence[float], denominators: Sequence[float]) -> Metric:
    """The pooled ratio R = Σa / Σb of clusters (aᵢ, bᵢ), with a cluster-robust standard error.

    The residuals aᵢ − R·bᵢ, divided by the mean of b, are the influence values of the ratio
    estimator (Cochran 1977, equation 6.13).

    Args:
        numerators: one per cluster, such as instructions followed within a prompt.
        denominators: one per cluster, such as instructions of a prompt.

    Returns:
        The metric, a share; its `n` is the sum of the denominators.

    Raises:
        DataError: the lengths differ, or nothing is left to divide by.
    """
    value, influences = ratio_influence(numerators, denominators)
    metric = metric_from_influence(value, influences, n=round(sum(denominators)))
    return within(metric, 0.0, 1.0)


def ratio_influence(
    numerators: Sequence[float], denominators: Sequence[float]
) -> tuple[float, list[float]]:
    """The pooled ratio and the influence value of each cluster on it; see `ratio_metric`.

    Raises:
        DataError: the lengths differ, or nothing is left to divide by.
    """
    if len(numerators) != len(denominators):
        raise DataError(
            f"a ratio needs as many numerators as denominators, not {len(numerators)} "
            f"and {len(denominators)}"
        )
    above, below = _filled(numerators), _filled(denominators)
    if below.sum() <= 0:
        raise DataError("a ratio needs a positive sum of denominators")
    value = float(above.sum() / below.sum())
    influences: FloatArray = (above - value * below) / below.mean()
    return value, [float(x) for x in influences]


def metric_from_influence(value: float, influences: Sequence[float], n: int) -> Metric:
    """A metric from the influence value of each independent sample (delta method).

    The standard error is s/√m, where s is the m−1 deviation of the m influence values (Hampel
    1974); the interval is value ± 1.96·stderr. Influence values of a weighted sum of estimators are
    the weighted sums of theirs.

    Args:
        value: the estimate.
        influences: one per independent sample; they sum to 0.
        n: how many samples or instructions the metric reports.
    """
    if len(influences) < 2:
        return Metric(value=value, stderr=None, low=None, high=None, n=n)
    array = _filled(influences)
    stderr = float(array.std(ddof=1)) / sqrt(array.size)
    return Metric(
        value=value, stderr=stderr, low=value - Z_95 * stderr, high=value + Z_95 * stderr, n=n
    )


def wilson_interval(successes: float, n: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927): never empty, never outside [0, 1]."""
    share = successes / n
    weight = 1 + Z_95**2 / n
    centre = (share + Z_95**2 / (2 * n)) / weight
    half = Z_95 * sqrt(share * (1 - share) / n + Z_95**2 / (4 * n**2)) / weight
    return max(0.0, centre - half), min(1.0, centre + half)


def _filled(values: Sequence[float]) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise DataError("there are no values to average")
    return array
