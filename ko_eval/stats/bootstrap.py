"""The bootstrap: what a mean would have been with other samples of the same kind.

Whole units (samples, or clusters of them) are drawn with replacement. Intervals are bias-corrected
and accelerated (BCa: Efron 1987), read at percentiles that are widened for few units as Hesterberg
2015, "What Teachers Should Know about the Bootstrap", section 5.3, proposes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from ko_eval.stats.quantiles import normal_quantile, student_quantile
from ko_eval.stats.units import Clusters, FloatArray, filled, units

ROUNDS = 10_000
_AT_ONCE = 2_000_000  # numbers drawn at a time: 16 MB


def bootstrap_means(
    values: Sequence[float] | FloatArray,
    *,
    seed: int,
    rounds: int = ROUNDS,
    clusters: Clusters = None,
) -> FloatArray:
    """The means of `rounds` bootstrap samples, unsorted.

    Args:
        values: one per sample.
        clusters: the cluster of each sample; clusters are drawn as wholes.

    Raises:
        DataError: there are no values, or not as many clusters.
    """
    drawn = units(values, clusters)
    random = np.random.default_rng(seed)
    count = drawn.sums.size
    means = np.empty(rounds)
    step = max(1, _AT_ONCE // count)
    for start in range(0, rounds, step):
        size = min(step, rounds - start)
        chosen = random.integers(0, count, size=(size, count))
        totals = drawn.sums[chosen].sum(axis=1)
        if drawn.shared:
            means[start : start + size] = totals / drawn.sizes[chosen].sum(axis=1)
        else:
            means[start : start + size] = totals / count
    return means


def percentile_interval(estimates: FloatArray, *, alpha: float = 0.05) -> tuple[float, float]:
    """The plain percentile interval of bootstrap estimates."""
    low, high = np.quantile(estimates, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def bca_interval(
    values: Sequence[float] | FloatArray,
    *,
    seed: int,
    rounds: int = ROUNDS,
    clusters: Clusters = None,
    alpha: float = 0.05,
) -> tuple[float, float]:
    """The BCa interval of a mean, with percentiles widened for few units.

    The acceleration is the skewness of the units' influence on the mean, over six. With u units the
    percentiles are those of √(u/(u−1)) times the quantile of Student's distribution with u−1
    degrees of freedom.

    Raises:
        DataError: there are no values, or not as many clusters.
    """
    array = filled(values)
    mean = float(array.mean())
    influences = units(array - mean, clusters).sums
    count, squares = influences.size, float((influences**2).sum())
    if count < 2 or squares <= 0:
        return mean, mean
    estimates = bootstrap_means(array, seed=seed, rounds=rounds, clusters=clusters)
    below = np.count_nonzero(estimates < mean) + np.count_nonzero(estimates == mean) / 2
    bias = normal_quantile(min(max(below / rounds, 1 / rounds), 1 - 1 / rounds))
    acceleration = float((influences**3).sum()) / (6 * squares**1.5)
    wide = student_quantile(1 - alpha / 2, count - 1) * math.sqrt(count / (count - 1))
    places = [_place(bias, acceleration, quantile) for quantile in (-wide, wide)]
    low, high = np.quantile(estimates, places)
    return float(low), float(high)


def _place(bias: float, acceleration: float, quantile: float) -> float:
    """The share of bootstrap estimates below a limit (Efron 1987, equation 3.8)."""
    shifted = bias + quantile
    shrink = 1 - acceleration * shifted
    if shrink <= 0:  # so skewed that the correction runs past the last estimate
        return 0.0 if quantile < 0 else 1.0
    return NormalDist().cdf(bias + shifted / shrink)
