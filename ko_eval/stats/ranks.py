"""Which place a model can hold: intervals of ranks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ko_eval.stats.quantiles import normal_quantile


def rank_intervals(
    values: Sequence[float], stderrs: Sequence[float], *, alpha: float = 0.05
) -> list[tuple[int, int]]:
    """The best and the worst rank that each value can hold; 1 is the highest value.

    A model's best rank counts the models that are significantly better, its worst rank those that
    are significantly worse, each pair compared at α over the number of the other models: so each
    interval holds the model's true rank with probability 1−α or more (Mogstad, Romano, Shaikh and
    Wilhelm 2024, "Inference for Ranks", section 3, with Bonferroni's bound).

    Args:
        stderrs: one per value. Errors are taken as independent; models asked the same items are
            told apart better than that, so the intervals err on the wide side. A NaN marks an
            unknown error: such a model may hold any rank, and separates nobody.

    Raises:
        ValueError: there are not as many errors as values.
    """
    if len(values) != len(stderrs):
        raise ValueError(f"{len(values)} values need as many errors, not {len(stderrs)}")
    count = len(values)
    if count < 2:
        return [(1, 1)] * count
    value, variance = np.asarray(values, dtype=float), np.asarray(stderrs, dtype=float) ** 2
    quantile = normal_quantile(1 - alpha / (2 * (count - 1)))
    intervals = []
    for place in range(count):
        reach = quantile * np.sqrt(variance + variance[place])
        distance = value - value[place]
        better = int(np.count_nonzero(distance > reach))
        worse = int(np.count_nonzero(-distance > reach))
        intervals.append((1 + better, count - worse))
    return intervals
