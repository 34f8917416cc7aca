"""How well stated probabilities match what is right: Brier score and expected calibration error.

Sources: Brier 1950, "Verification of forecasts expressed in terms of probability", in its original
form over all options (0 to 2); Guo et al. 2017, "On Calibration of Modern Neural Networks",
equation 3, with ten bins of equal width. For both, 0 is best.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ko_eval.stats.estimates import score_interval
from ko_eval.stats.units import Clusters, FloatArray, unit_numbers
from ko_eval.types import Metric

BINS = 10
_ROUNDS = 1_000
_HALVINGS = 30  # to a billionth of the value


def brier_score(probabilities: Sequence[float], right: int) -> float:
    """Sum of squared differences between the probabilities and the truth, 0 to 2.

    Args:
        probabilities: one per option, summing to 1.
        right: index of the right option.
    """
    return sum((p - (index == right)) ** 2 for index, p in enumerate(probabilities))


def calibration_error(
    confidences: Sequence[float],
    hits: Sequence[float],
    clusters: Clusters = None,
    *,
    seed: int = 0,
) -> Metric:
    """Expected calibration error: the mean distance of confidence and accuracy over bins.

    It is biased upward for small n: even perfect calibration gives a value above 0. So compare it
    only between runs on the same items, and judge it by its interval, which allows for the bias:
    it holds the true errors under which a value as high, or as low, as the one found is not rarer
    than 2.5 % (a parametric bootstrap, inverted as a test: Davison and Hinkley 1997, section 5.3).
    The distances of the bins are drawn from the normal distribution with their (cluster-robust)
    covariance, around those found times a factor, which is what varies. Where all are right, or all
    wrong, the upper limit allows for the accuracy's own (Wilson 1927). With fewer than some 50
    samples the covariance itself is uncertain, and the interval somewhat too short.

    Args:
        confidences: probability of the chosen option, one per sample.
        hits: 1 where that option is right, else 0.
        clusters: the cluster of each sample.
        seed: of the bootstrap.
    """
    confidence, hit = np.asarray(confidences, dtype=float), np.asarray(hits, dtype=float)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    count = confidence.size
    shares = np.zeros((count, BINS))
    shares[np.arange(count), bins] = hit - confidence
    distances = shares.mean(axis=0)
    value = float(np.abs(distances).sum())
    numbers = unit_numbers(clusters, count)
    if (many := int(numbers.max()) + 1) < 2:
        return Metric(value=value, stderr=None, low=None, high=None, n=count)
    residuals: FloatArray = np.zeros((many, BINS))
    np.add.at(residuals, numbers, shares - distances)
    factor = residuals * np.sqrt(many / (many - 1)) / count
    draws = np.random.default_rng(seed).standard_normal((_ROUNDS, BINS))
    noise = draws @ _root(factor.T @ factor)
    errors = np.abs(distances + noise).sum(axis=1)
    high = value * _factor(distances, noise, 0.025) if value else float(np.quantile(errors, 0.975))
    if float(np.ptp(hit)) == 0:
        high = max(high, value + score_interval(0.0, many)[1])
    return Metric(
        value=value,
        stderr=float(errors.std(ddof=1)),
        low=min(value, value * _factor(distances, noise, 0.975)),
        high=min(1.0, max(value, high)),
        n=count,
    )


def _factor(distances: FloatArray, noise: FloatArray, probability: float) -> float:
    """The factor of the distances under which the value found is this quantile, from 0."""
    value = float(np.abs(distances).sum())

    def quantile(factor: float) -> float:
        return float(np.quantile(np.abs(factor * distances + noise).sum(axis=1), probability))

    if value == 0 or quantile(0.0) >= value:
        return 0.0
    low, high = 0.0, 1.0
    while quantile(high) < value:
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if quantile(middle) < value else (low, middle)
    return (low + high) / 2


def _root(covariance: FloatArray) -> FloatArray:
    """The symmetric root of the covariance.

    Of all its roots the one that hardly moves when the covariance hardly does: eigenvectors turn
    and change sign at the smallest rounding, and with them the noise that is drawn.
    """
    values, vectors = np.linalg.eigh(covariance)
    root: FloatArray = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root
