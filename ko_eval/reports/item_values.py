"""What each item contributes to a task's score, so that two runs can be compared item by item.

For a mean over items that is the item's own value. For a pooled ratio (instructions followed of all
instructions, points of the answers that could be read) it is R + (aᵢ − R·bᵢ) / mean(b), whose mean
is R and whose spread is that of the estimator (Cochran 1977, section 6.4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ko_eval.runs.result import TaskReport
from ko_eval.runs.sample_files import SampleRecord
from ko_eval.stats.estimates import ratio_influence

# `detail` of instruction following holds one verdict per instruction, under these names.
_VERDICTS = (("_stock", "stock"), ("loose_acc", "loose"), ("strict_acc", "strict"))
_TOLERANCE = 1e-6


def scale_of(report: TaskReport) -> float:
    """How many points of the shown score one of the metric's own unit is."""
    own = report.metrics.get(report.metric)
    if own is None:
        return 1.0
    pairs = ((report.shown.value, own.value), (report.shown.high, own.high))
    for shown, value in (*pairs, (report.shown.stderr, own.stderr)):
        if shown and value:
            return round(shown / value, 9)
    return 1.0


def item_values(report: TaskReport, records: Sequence[SampleRecord]) -> dict[str, float] | None:
    """By id, values whose mean is the leading metric; None where it is no such mean.

    In the metric's own unit. Items that the metric leaves out are left out here.
    """
    scale = scale_of(report)
    for contribute in (_plain, _readable, _pooled):
        values = contribute(report.metric, records)
        if values and math.isclose(
            math.fsum(values.values()) / len(values) * scale,
            report.shown.value,
            rel_tol=_TOLERANCE,
            abs_tol=_TOLERANCE * abs(scale),
        ):
            return values
    return None


def _plain(metric: str, records: Sequence[SampleRecord]) -> dict[str, float]:
    return {r.id: r.metrics[metric] for r in records if metric in r.metrics}


def _readable(metric: str, records: Sequence[SampleRecord]) -> dict[str, float]:
    """The mean over the answers that could be read."""
    flag = "percent_parseable" + ("_korean" if metric.endswith("_korean") else "")
    read = [r for r in records if flag in r.metrics and metric in r.metrics]
    counts = [float(r.metrics[flag] > 0) for r in read]
    sums = [r.metrics[metric] * count for r, count in zip(read, counts, strict=True)]
    return _of_ratio(read, sums, counts)


def _pooled(metric: str, records: Sequence[SampleRecord]) -> dict[str, float]:
    """Instructions followed of all; `strict_acc` is the mean of that and of whole prompts."""
    kind = next((kind for mark, kind in _VERDICTS if metric.endswith(mark)), None)
    judged = [(r, r.detail.get(kind or "")) for r in records]
    lists = [(r, verdicts) for r, verdicts in judged if isinstance(verdicts, list) and verdicts]
    read = [r for r, _ in lists]
    followed = [float(sum(map(bool, verdicts))) for _, verdicts in lists]
    asked = [float(len(verdicts)) for _, verdicts in lists]
    pooled = _of_ratio(read, followed, asked)
    if metric.startswith("inst_level"):
        return pooled
    return {
        r.id: (float(all(verdicts)) + pooled[r.id]) / 2 for r, verdicts in lists if r.id in pooled
    }


def _of_ratio(
    records: Sequence[SampleRecord], above: Sequence[float], below: Sequence[float]
) -> dict[str, float]:
    if sum(below) <= 0:
        return {}
    ratio, influences = ratio_influence(above, below)
    return {r.id: ratio + one for r, one in zip(records, influences, strict=True)}
