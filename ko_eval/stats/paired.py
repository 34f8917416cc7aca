"""Two runs on the same items: their difference, its interval, and whether it is more than chance.

Test: McNemar's exact one for right and wrong answers (McNemar 1947, exact as in Fagerland, Lydersen
and Laake 2013), else by flipping the signs of the differences (Fisher 1935), clusters as wholes.
Interval: Tango's score interval (1998), recommended by Fagerland, Lydersen and Laake 2014 for its
coverage with few items and few discordant pairs, where the plain one (Wald) is too short or empty.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ko_eval.errors import DataError
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

ROUNDS = 10_000
_EXACT_UP_TO = 14  # units that differ: 16,384 ways to flip their signs
_AT_ONCE = 4_000_000  # signs drawn at a time
_STEPS = 60  # halvings of an interval of length 1: below the resolution of a float


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Run b against run a on the same items.

    Attributes:
        difference: mean of b − a; above 0 where b is better.
        stderr: of the difference, cluster-robust where there are clusters; None when n < 2.
        low, high: 95 % interval; None when n < 2.
        p_value: two-sided.
        n: items.
        method: the test behind the p-value.
        better, worse: items on which b is above, or below, a.
    """

    difference: float
    stderr: float | None
    low: float | None
    high: float | None
    p_value: float
    n: int
    method: Literal["mcnemar", "permutation"]
    better: int
    worse: int


def paired_test(
    a: Sequence[float], b: Sequence[float], *, clusters: Clusters = None, seed: int = 0
) -> PairedTest:
    """Compares two runs item by item.

    Args:
        a, b: values of the same items in the same order.
        clusters: the cluster of each item; items of one cluster are no independent evidence, so
            McNemar's test then gives way to flipping the signs of whole clusters.
        seed: of the permutations.

    Raises:
        DataError: there are no items, or not as many on both sides.
    """
    before, after = _both(a, b)
    differences = after - before
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    both = np.concatenate((before, after))
    two_valued = bool(np.isin(both, (0.0, 1.0)).all())
    shared = units(differences, clusters).shared
    if two_valued and not shared:
        p_value = mcnemar_exact(better, worse)
    else:
        p_value = sign_flip_p(differences, clusters=clusters, seed=seed)
    metric = _difference_metric(differences, clusters, both)
    return PairedTest(
        difference=metric.value,
        stderr=metric.stderr,
        low=metric.low,
        high=metric.high,
        p_value=p_value,
        n=before.size,
        method="mcnemar" if two_valued and not shared else "permutation",
        better=better,
        worse=worse,
    )


def paired_metric(a: Sequence[float], b: Sequence[float], clusters: Clusters = None) -> Metric:
    """The mean of b − a with the error and interval of `paired_test`, without a test.

    Raises:
        DataError: there are no items, or not as many on both sides.
    """
    before, after = _both(a, b)
    return _difference_metric(after - before, clusters, np.concatenate((before, after)))


def mcnemar_exact(better: int, worse: int) -> float:
    """The two-sided exact p-value of `better` against `worse` discordant pairs.

    Twice the smaller binomial tail at one half, at most 1; 1 without a discordant pair.
    """
    count, fewer = better + worse, min(better, worse)
    # In logarithms: the coefficients of many pairs are larger than a float.
    terms = [
        math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
        for k in range(fewer + 1)
    ]
    largest = max(terms)
    tail = math.fsum(math.exp(term - largest) for term in terms)
    return min(1.0, 2 * tail * math.exp(largest - count * math.log(2)))


def sign_flip_p(
    differences: Sequence[float] | FloatArray,
    *,
    clusters: Clusters = None,
    seed: int = 0,
    rounds: int = ROUNDS,
) -> float:
    """The two-sided p-value of a sum of differences, had each unit's sign been a coin's.

    Exact where few units differ; else the share of `rounds` drawn sign patterns, with the observed
    one among them, (1 + hits) / (1 + rounds) (Phipson and Smyth 2010), which is never 0.

    Raises:
        DataError: there are no differences, or not as many clusters.
    """
    sums = units(differences, clusters).sums
    sums = sums[sums != 0]
    if sums.size == 0:
        return 1.0
    # Sums that are equal in exact arithmetic may differ in their last digits.
    observed = abs(float(sums.sum())) - 1e-9 * float(np.abs(sums).sum())
    if sums.size <= _EXACT_UP_TO:
        patterns = (np.arange(2**sums.size)[:, None] >> np.arange(sums.size)) & 1
        return float((np.abs((1 - 2 * patterns) @ sums) >= observed).mean())
    random = np.random.default_rng(seed)
    hits = 0
    step = max(1, _AT_ONCE // sums.size)
    total = float(sums.sum())
    for start in range(0, rounds, step):
        size = min(step, rounds - start)
        bits = np.frombuffer(random.bytes(size * -(-sums.size // 8)), dtype=np.uint8)
        flipped = np.unpackbits(bits.reshape(size, -1), axis=1, count=sums.size)
        hits += int((np.abs(total - 2 * (flipped @ sums)) >= observed).sum())
    return (1 + hits) / (1 + rounds)


def tango_interval(
    better: float, worse: float, n: float, *, quantile: float = Z_95
) -> tuple[float, float]:
    """Tango's score interval for the difference of two paired shares.

    The limits are the differences Δ at which the score statistic (better − worse − nΔ) /
    √(n(2q + Δ(1−Δ))) reaches ±`quantile`; q is the likeliest share of `worse` pairs under Δ (Tango
    1998, equations 2 to 4). With no discordant pair at all it is ±z²/(n+z²), not empty.

    Args:
        better, worse: discordant pairs of either kind; together at most n.
    """

    def score(delta: float) -> float:
        b = -better - worse + (2 * n - better + worse) * delta
        c = -worse * delta * (1 - delta)
        q = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
        variance = n * (2 * q + delta * (1 - delta))
        return (better - worse - n * delta) / math.sqrt(max(variance, 1e-300))

    middle = (better - worse) / n
    low = _crossing(lambda delta: score(delta) - quantile, -1.0, middle)
    high = _crossing(lambda delta: score(delta) + quantile, middle, 1.0)
    return low, high


def _crossing(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function changes its sign."""
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if falling(middle) > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _both(a: Sequence[float], b: Sequence[float]) -> tuple[FloatArray, FloatArray]:
    before, after = filled(a), filled(b)
    if before.size != after.size:
        raise DataError(f"{before.size} and {after.size} values cannot be paired")
    return before, after


def _difference_metric(differences: FloatArray, clusters: Clusters, values: FloatArray) -> Metric:
    """The mean difference with its standard error and interval.

    Differences of any size are read as those of right and wrong answers worth c points each, with
    c = Σd²/Σ|d|: the three-valued variable (−c, 0, c) with the same mean and the same second
    moment, to which Tango's interval then applies. For right and wrong answers c is 1 and nothing
    is changed. Clusters divide the counts by their design effect, not less than 1 (in the manner of
    Yang, Sun and Hardin 2012).

    Args:
        values: of both runs; they tell the size of a difference where there is none.
    """
    mean = float(differences.mean())
    residuals = differences - mean
    together = units(residuals, clusters)
    variance = mean_variance(together)
    if not math.isfinite(variance):
        return Metric(mean, None, None, None, differences.size)
    plain, size = mean_variance(units(residuals)), float(np.abs(differences).sum())
    # Differences that are all alike: each unit counts once.
    alike = float(np.ptp(differences)) <= ROUNDING * float(np.abs(values).max())
    effect = differences.size / together.sums.size if alike else max(1.0, variance / plain)
    worth = float((differences**2).sum()) / size if size > 0 else _reach(values)
    if worth == 0:
        return Metric(mean, 0.0, mean, mean, differences.size)
    quantile = Z_95
    if together.shared or not np.isin(differences, (-1.0, 0.0, 1.0)).all():
        quantile = student_quantile(0.975, degrees_of_freedom(together, residuals))
    counts = (np.maximum(sign * differences, 0).sum() / worth / effect for sign in (1, -1))
    better, worse = (float(count) for count in counts)
    low, high = tango_interval(better, worse, differences.size / effect, quantile=quantile)
    low, high = min(low * worth, mean), max(high * worth, mean)
    return Metric(mean, math.sqrt(variance), low, high, differences.size)


def _reach(values: FloatArray) -> float:
    """How large a difference could be: 1 for shares, else what the values themselves span."""
    return 1.0 if values.min() >= 0 and values.max() <= 1 else float(np.ptp(values))
