"""Independent units: samples, or the clusters that share a passage, a twin or a subject.

Samples of one cluster rise and fall together, so errors are computed from clusters and not from
samples (Liang and Zeger 1986; Miller 2024, "Adding Error Bars to Evals", section 2.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from ko_eval.errors import DataError

FloatArray = NDArray[np.float64]
Clusters = Sequence[str | None] | None
"""The cluster of each sample; None for a sample that stands alone, or where all of them do."""

ROUNDING = 1e-12
"""Values this near to each other, for their size, differ by nothing but rounding."""


@dataclass(frozen=True, slots=True)
class Units:
    """Sums over independent units.

    Attributes:
        sums: of the values, one per unit.
        sizes: samples, one per unit.
        shared: whether a unit holds more than one sample.
    """

    sums: FloatArray
    sizes: FloatArray
    shared: bool


def filled(values: Sequence[float] | FloatArray) -> FloatArray:
    """The values as an array.

    Raises:
        DataError: there are none.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise DataError("there are no values to average")
    return array


def unit_numbers(clusters: Clusters, count: int) -> NDArray[np.intp]:
    """The number of the unit that each of `count` samples belongs to, from 0 in order of first use.

    Raises:
        DataError: there are not as many clusters as samples.
    """
    if clusters is None:
        return np.arange(count)
    if len(clusters) != count:
        raise DataError(f"{count} samples need as many clusters, not {len(clusters)}")
    numbers: dict[str | int, int] = {}
    return np.array(
        [
            numbers.setdefault(place if name is None else name, len(numbers))
            for place, name in enumerate(clusters)
        ],
        dtype=np.intp,
    )


def units(values: Sequence[float] | FloatArray, clusters: Clusters = None) -> Units:
    """The values, one per sample, summed within each independent unit.

    Raises:
        DataError: there are no values, or not as many clusters.
    """
    array = filled(values)
    numbers = unit_numbers(clusters, array.size)
    sizes = np.bincount(numbers).astype(np.float64)
    if sizes.size == array.size:
        return Units(array, sizes, shared=False)
    sums = np.zeros(sizes.size)
    np.add.at(sums, numbers, array)
    return Units(sums, sizes, shared=True)


def mean_variance(residuals: Units) -> float:
    """The variance of a mean, from the residuals of its units.

    G/(G−1) · Σ eᵍ² / n² for G units of n samples together, where eᵍ is the sum of a unit's
    residuals: CR1 of Cameron and Miller 2015, section II.B, for a mean; s²/n where no unit is
    shared. Infinite for a single unit.
    """
    count = residuals.sums.size
    if count < 2:
        return inf
    samples = residuals.sizes.sum()
    return float(count / (count - 1) * (residuals.sums**2).sum() / samples**2)


def degrees_of_freedom(residuals: Units, values: Sequence[float] | FloatArray) -> float:
    """The degrees of freedom of `mean_variance`: G−1, fewer where units differ in size.

    Satterthwaite's (Σv)²/Σv² − 1 over the units' variances v = size·(1 + (size−1)·ρ), with the
    correlation ρ within units as estimated from the residuals (in the manner of Bell and McCaffrey
    2002; Imbens and Kolesár 2016), between 0 and 1.

    Args:
        residuals: summed within units.
        values: the residuals of the samples.
    """
    sizes = residuals.sizes
    if not residuals.shared or bool((sizes == sizes[0]).all()):
        return float(sizes.size - 1)
    samples, pairs = sizes.sum(), (sizes**2).sum() - sizes.sum()
    per_sample = float((filled(values) ** 2).sum() / samples)
    excess = float((residuals.sums**2).sum()) - samples * per_sample
    correlation = min(1.0, max(0.0, excess / (per_sample * pairs))) if per_sample > 0 else 0.0
    variances = sizes * (1 + (sizes - 1) * correlation)
    return max(1.0, float(variances.sum() ** 2 / (variances**2).sum()) - 1)
