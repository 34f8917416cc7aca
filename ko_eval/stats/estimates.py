"""From per-sample values to a `Metric`: value, standard error and 95 % interval.

Samples are the independent units, or the clusters they come in (see `ko_eval.stats.units`). A
pooled share, whose units (instructions) come in clusters (prompts), gets a standard error from its
prompts and not from its instructions.
Formulas: Wilson 1927 for shares, with an effective number of samples where values lie between 0 and
1 or samples share a cluster (Korn and Graubard 1998; Dean and Pagano 2015); the bootstrap for other
means; Cochran, Sampling Techniques (3rd edition 1977), section 6.4 for ratios; the delta method
(influence values) for combinations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from math import inf, sqrt

import numpy as np

from ko_eval.errors import DataError
from ko_eval.stats.bootstrap import bca_interval
from ko_eval.stats.quantiles import Z_95, student_quantile
from ko_eval.stats.units import (
    ROUNDING,
    Clusters,
    FloatArray,
    degrees_of_freedom,
    filled,
    mean_variance,
    units,
)
from ko_eval.types import Metric

# Below, resampling knows too little of the spread; above, it tells what the formula tells.
_BOOTSTRAPPED = range(10, 1001)


def mean_metric(
    values: Sequence[float],
    clusters: Clusters = None,
    *,
    seed: int = 0,
    span: tuple[float, float] | None = None,
) -> Metric:
    """The mean of values of any size.

    The standard error is s/√n with the n−1 sample deviation, as the reference computes it (FACTS
    3.1), or cluster-robust (`mean_variance`). The interval is a BCa bootstrap's with 10 to 1,000
    independent units, else value ± t·stderr. Where all values are equal it is empty, unless `span`
    is given: then as many other samples as Wilson's interval of none in so many independent units
    allows may lie at an end of the span.

    Args:
        clusters: the cluster of each value.
        seed: of the bootstrap.
        span: the least and the most that a value can be.

    Raises:
        DataError: there are no values, or not as many clusters.
    """
    array = filled(values)
    value = float(array.mean())
    metric = metric_from_influence(value, array - value, n=array.size, clusters=clusters)
    if metric.stderr is None:
        return metric
    if span is not None and float(np.ptp(array)) <= ROUNDING * max(1.0, abs(value)):
        unseen = score_interval(0.0, units(array, clusters).sums.size)[1]
        below, above = max(0.0, value - span[0]), max(0.0, span[1] - value)
        return dataclasses.replace(metric, low=value - unseen * below, high=value + unseen * above)
    if metric.stderr and units(array, clusters).sums.size in _BOOTSTRAPPED:
        low, high = bca_interval(array, seed=seed, clusters=clusters)
        return dataclasses.replace(metric, low=low, high=high)
    return metric


def share_metric(values: Sequence[float], clusters: Clusters = None) -> Metric:
    """The mean of values from 0 to 1.

    The standard error is that of `mean_metric`. The interval is Wilson's for independent values of
    0 or 1. Otherwise it is Wilson's with the effective number of samples p(1−p)/stderr² and the
    quantile of Student's distribution; clusters count no more than as many independent samples
    would, even where they seem to vary less, and no more than once each where all values are
    equal. So it is never empty, and never leaves [0, 1].

    Args:
        clusters: the cluster of each value.

    Raises:
        DataError: there are no values, or not as many clusters.
    """
    array = filled(values)
    value = float(array.mean())
    metric = metric_from_influence(value, array - value, n=array.size, clusters=clusters)
    if metric.stderr is None:
        return metric
    together = units(array - value, clusters)
    if not together.shared and bool(np.isin(array, (0.0, 1.0)).all()):
        low, high = score_interval(value, array.size)
    else:
        variance = max(mean_variance(together), mean_variance(units(array - value)))
        all_equal = float(np.ptp(array)) <= ROUNDING
        effective = together.sums.size if all_equal else value * (1 - value) / variance
        df = degrees_of_freedom(together, array - value)
        low, high = score_interval(value, effective, student_quantile(0.975, df))
    return dataclasses.replace(metric, low=min(low, value), high=max(high, value))


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


def ratio_metric(
    numerators: Sequence[float], denominators: Sequence[float], clusters: Clusters = None
) -> Metric:
    """The pooled ratio R = Σa / Σb of samples (aᵢ, bᵢ), with a standard error from the samples.

    The residuals aᵢ − R·bᵢ, divided by the mean of b, are the influence values of the ratio
    estimator (Cochran 1977, equation 6.13). The interval is Wilson's with the effective number
    R(1−R)/stderr², and not more than the number of samples where all are alike.

    Args:
        numerators: one per sample, such as instructions followed within a prompt.
        denominators: one per sample, such as instructions of a prompt; not below the numerator.
        clusters: the cluster of each sample.

    Returns:
        The metric, a share; its `n` is the sum of the denominators.

    Raises:
        DataError: the lengths differ, or nothing is left to divide by.
    """
    value, influences = ratio_influence(numerators, denominators)
    return bounded_metric(value, influences, n=round(sum(denominators)), clusters=clusters)


def ratio_influence(
    numerators: Sequence[float], denominators: Sequence[float]
) -> tuple[float, list[float]]:
    """The pooled ratio and the influence value of each sample on it; see `ratio_metric`.

    Raises:
        DataError: the lengths differ, or nothing is left to divide by.
    """
    if len(numerators) != len(denominators):
        raise DataError(
            f"a ratio needs as many numerators as denominators, not {len(numerators)} "
            f"and {len(denominators)}"
        )
    above, below = filled(numerators), filled(denominators)
    if below.sum() <= 0:
        raise DataError("a ratio needs a positive sum of denominators")
    value = float(above.sum() / below.sum())
    influences: FloatArray = (above - value * below) / below.mean()
    return value, [float(x) for x in influences]


def metric_from_influence(
    value: float,
    influences: Sequence[float] | FloatArray,
    n: int,
    clusters: Clusters = None,
) -> Metric:
    """A metric from the influence value of each sample (delta method).

    The standard error is s/√m, where s is the m−1 deviation of the m influence values (Hampel
    1974), or that of their sums within clusters; the interval is value ± t·stderr. Influence values
    of a weighted sum of estimators are the weighted sums of theirs.

    Args:
        value: the estimate.
        influences: one per sample; they sum to 0.
        n: how many samples or instructions the metric reports.
        clusters: the cluster of each influence value.
    """
    array = filled(influences) if len(influences) else np.zeros(1)
    array = array - array.mean()  # their sum is 0 but for rounding
    together = units(array, clusters if len(influences) else None)
    variance = mean_variance(together)
    if variance == inf:
        return Metric(value=value, stderr=None, low=None, high=None, n=n)
    stderr = sqrt(variance)
    half = student_quantile(0.975, degrees_of_freedom(together, array)) * stderr
    return Metric(value=value, stderr=stderr, low=value - half, high=value + half, n=n)


def bounded_metric(
    value: float, influences: Sequence[float] | FloatArray, n: int, clusters: Clusters = None
) -> Metric:
    """As `metric_from_influence`, for an estimate between 0 and 1.

    The interval is Wilson's with the effective number value·(1−value)/stderr², so it stays within
    [0, 1]; where no influence value differs from 0 each independent unit counts once.
    """
    metric = metric_from_influence(value, influences, n, clusters)
    if metric.stderr is None:
        return metric
    array = filled(influences)
    together = units(array, clusters)
    variance = max(metric.stderr**2, mean_variance(units(array)))
    spread = value * (1 - value)
    alike = sqrt(variance) <= ROUNDING or spread <= ROUNDING
    effective = together.sums.size if alike else spread / variance
    df = degrees_of_freedom(together, array)
    low, high = score_interval(value, effective, student_quantile(0.975, df))
    return dataclasses.replace(metric, low=min(low, value), high=max(high, value))


def wilson_interval(successes: float, n: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927): never empty, never outside [0, 1]."""
    return score_interval(successes / n, n)


def score_interval(share: float, n: float, quantile: float = Z_95) -> tuple[float, float]:
    """Wilson's interval of a share observed in `n` independent samples, not always a whole number.

    Args:
        quantile: of the distribution of the share's error, 1.96 for 95 % under the normal one.
    """
    square = quantile**2
    weight = 1 + square / n
    centre = (share + square / (2 * n)) / weight
    half = quantile * sqrt(share * (1 - share) / n + square / (4 * n**2)) / weight
    return max(0.0, centre - half), min(1.0, centre + half)
