"""The index of a run: tasks corrected for chance, averaged by category, categories by weight.

It is computed from the tasks of a result alone, so a finished run has it without its model. A suite
with an `index` of its own defines it; for any other run whose tasks include all of them it is that
of `configs/suites/ko-index.yaml`, which gives the reasons for levels and weights.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Mapping, Sequence

from ko_eval.errors import TaskError, near_miss
from ko_eval.runs.result import (
    Index,
    IndexCategory,
    IndexTask,
    Levels,
    LevelsSource,
    RunResult,
    TaskReport,
    Value,
)
from ko_eval.scorers.registry import create_scorer
from ko_eval.stats.composite import chance_corrected, weighted_mean
from ko_eval.stats.estimates import scaled
from ko_eval.tasks.definition import (
    IndexDefinition,
    IndexEntry,
    SuiteDefinition,
    TaskDefinition,
)
from ko_eval.tasks.registry import load_suite

SHIPPED = "ko-index"

# Far beyond any score; means and squares of such values can still be computed.
_MOST = 1e100


@functools.cache
def shipped_index() -> SuiteDefinition:
    """The suite whose index every run of its tasks gets."""
    return load_suite(SHIPPED)


def with_index(result: RunResult) -> RunResult:
    """The result with the shipped index where it has none and all tasks are there.

    For results of a version before 1.4, which hold none.
    """
    if result.index is not None:
        return result
    return result.model_copy(update={"index": index_of(None, result.tasks)})


def index_of(suite: SuiteDefinition | None, tasks: Sequence[TaskReport]) -> Index | None:
    """The index that a suite defines, or else the shipped one.

    Returns:
        None where a task of the index, or a metric of it, is not among the tasks, or is no number.
    """
    if suite is None or suite.index is None:
        suite = shipped_index()
    definition = suite.index
    if definition is None:
        return None
    reports = {report.name: report for report in tasks}
    entries = definition.entries
    if not all(name in reports and _measured(reports[name], e) for name, e in entries.items()):
        return None
    shares = _shares(definition)
    parts = [
        _task(reports[name], entry, category, shares[name])
        for category, group in definition.categories.items()
        for name, entry in group.tasks.items()
    ]
    published = [_points(reports[name], entry, entry.published) for name, entry in entries.items()]
    return Index(
        name=suite.name,
        definition_sha256=definition_hash(definition),
        shown=_mean([part.corrected for part in parts], [part.weight for part in parts]),
        plain_average=_mean(published, [1.0] * len(published)),
        categories=[
            _category(name, [part for part in parts if part.category == name])
            for name in definition.categories
        ],
        tasks=parts,
    )


def check_index(suite: SuiteDefinition, tasks: Sequence[TaskDefinition]) -> None:
    """
    Args:
        tasks: those of the suite, each with the variant that it takes.

    Raises:
        TaskError: the suite's index names a task that it does not have, or a metric that the
            task's scorer does not give.
    """
    if suite.index is None:
        return
    known = {task.name: task for task in tasks}
    for name, entry in suite.index.entries.items():
        where = f"suite '{suite.name}', task '{name}' of its index"
        if name not in known:
            raise TaskError(
                f"'{name}' is in the index, but it is not among the suite's tasks",
                where=where,
                hint=near_miss(name, known),
            )
        scorer = known[name].scorer
        metrics = create_scorer(scorer.name, scorer.parameters).metrics
        for metric in (entry.metric, entry.published):
            if metric is not None and metric not in metrics:
                raise TaskError(
                    f"scorer '{scorer.name}' has no metric '{metric}'",
                    where=where,
                    hint=near_miss(metric, metrics),
                )


def definition_hash(definition: IndexDefinition) -> str:
    """SHA-256 of everything in an index that can move its value; reasons do not."""
    content = definition.model_dump(mode="json")
    for group in content["categories"].values():
        del group["why"]
        for entry in group["tasks"].values():
            entry["chance"], entry["best"] = entry["chance"]["value"], entry["best"]["value"]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _is_sound(value: Value) -> bool:
    """Whether means can be taken of it: a result from elsewhere may hold anything."""
    ends = (value.value, value.stderr, value.low, value.high)
    return all(end is None or abs(end) < _MOST for end in ends)


def _measured(report: TaskReport, entry: IndexEntry) -> bool:
    names = [name for name in (entry.metric, entry.published) if name is not None]
    if not all(name in report.metrics for name in names):
        return False
    return all(map(_is_sound, (report.shown, *(report.metrics[name] for name in names))))


def _shares(definition: IndexDefinition) -> Mapping[str, float]:
    """Each task's share of the index: its category's, divided by the weights within it."""
    total = sum(group.weight for group in definition.categories.values())
    return {
        name: group.weight / total * entry.weight / sum(e.weight for e in group.tasks.values())
        for group in definition.categories.values()
        for name, entry in group.tasks.items()
    }


def _task(report: TaskReport, entry: IndexEntry, category: str, weight: float) -> IndexTask:
    metric = entry.metric or report.metric
    measured = _points(report, entry, entry.metric)
    levels, source = _levels(report, entry, metric)
    corrected = chance_corrected(measured.metric(), levels.chance, levels.best)
    return IndexTask(
        name=report.name,
        category=category,
        metric=metric,
        measured=measured,
        levels=levels,
        levels_are=source,
        corrected=Value.of(scaled(corrected, 100.0)),
        weight=weight,
    )


def _levels(report: TaskReport, entry: IndexEntry, metric: str) -> tuple[Levels, LevelsSource]:
    """What the run computed on its rows, where that makes sense; else what the file says."""
    computed = report.levels
    if (
        computed is not None
        and metric == report.metric
        and computed.best > computed.chance
        and not math.isclose(computed.best, computed.chance, rel_tol=1e-9)
    ):
        return computed, "computed"
    # As sure as the less sure of the two.
    order = ("known", "inferred", "assumed")
    source = max(entry.chance.status, entry.best.status, key=order.index)
    return Levels(chance=entry.chance.value, best=entry.best.value), source


def _points(report: TaskReport, entry: IndexEntry, metric: str | None) -> Value:
    """A metric of a task on the board's scale; the shown value for the leading one."""
    if metric is None or metric == report.metric:
        return report.shown
    return Value.of(scaled(report.metrics[metric].metric(), entry.scale))


def _category(name: str, parts: Sequence[IndexTask]) -> IndexCategory:
    weights = [part.weight for part in parts]
    return IndexCategory(
        name=name,
        tasks=[part.name for part in parts],
        shown=_mean([part.corrected for part in parts], weights),
        weight=sum(weights),
    )


def _mean(values: Sequence[Value], weights: Sequence[float]) -> Value:
    return Value.of(weighted_mean([one.metric() for one in values], weights))
