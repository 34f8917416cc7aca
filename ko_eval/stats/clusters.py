"""Means of samples that come in clusters: a shared passage, a twin, a subject."""

from __future__ import annotations

from collections.abc import Sequence

from ko_eval.stats.estimates import mean_metric, share_metric
from ko_eval.stats.units import Clusters, filled
from ko_eval.types import Metric


def clustered_mean(values: Sequence[float], clusters: Clusters) -> Metric:
    """The mean of values whose clusters, not they themselves, are independent.

    The standard error is cluster-robust (CR1, `ko_eval.stats.units.mean_variance`), its quantile
    Student's with as many degrees of freedom as there are clusters, less one, or fewer where they
    differ in size. Without clusters, or where each stands alone, it is that of independent values.

    Args:
        clusters: the cluster of each value; None for a value that stands alone.

    Returns:
        A share's metric (`share_metric`) where all values lie in [0, 1], else `mean_metric`'s. With
        a single cluster nothing is known of the error: it is None.

    Raises:
        DataError: there are no values, or not as many clusters.
    """
    array = filled(values)
    if array.min() >= 0 and array.max() <= 1:
        return share_metric(values, clusters)
    return mean_metric(values, clusters)
