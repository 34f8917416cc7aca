"""Is B better than A? Item by item, with an interval, corrected for the number of questions.

Tests are paired where both runs have the same items: exact McNemar for right and wrong, flipped
signs else. A verdict is given at 5 % after Holm's correction over all tasks and pairs, and never
against the interval, which is the more cautious of the two with few items, or with twins of which
one is right and one wrong. Without enough evidence it is *undecided*, beside the smallest
difference that could have been found.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal

from ko_eval.errors import DataError, UsageError, near_miss
from ko_eval.reports.comparability import Comparability, check_comparable
from ko_eval.reports.compared_runs import ComparedRun, ComparedTask, Item
from ko_eval.runs.scoring import average, most_of
from ko_eval.stats.multiplicity import holm
from ko_eval.stats.paired import paired_test
from ko_eval.stats.power import minimum_detectable_effect
from ko_eval.stats.quantiles import Z_95, upper_tail
from ko_eval.types import Metric

ALPHA = 0.05

Verdict = Literal["better", "worse", "undecided"]
Method = Literal["mcnemar", "permutation", "unpaired", "tasks"]


@dataclass(frozen=True, slots=True)
class ItemDifference:
    """An item on which two runs disagree."""

    id: str
    a: Item
    b: Item


@dataclass(frozen=True, slots=True)
class Compared:
    """Run B against run A in one task, or over all of them; on the board's scale.

    Attributes:
        n: items of both, or tasks.
        difference: B − A.
        stderr, low, high: of the difference, with its 95 % interval; None where n < 2.
        p_value, p_adjusted: two-sided; after Holm's correction over all tasks and pairs.
        detectable: the true difference that would have been found four times of five, at the level
            that many tests leave to each; None where it is not known.
        method: the test: `unpaired` where no items could be paired, `tasks` for the average.
        gained, lost: items on which B is above, or below, A.
        verdict: of B.
    """

    name: str
    title: str
    metric: str
    n: int
    a: float
    b: float
    difference: float
    stderr: float | None
    low: float | None
    high: float | None
    p_value: float
    p_adjusted: float
    detectable: float | None
    method: Method
    gained: int = 0
    lost: int = 0
    verdict: Verdict = "undecided"
    items: tuple[ItemDifference, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """One run against the first one.

    Attributes:
        average: of the tasks of both; None for a single task.
        left_out: tasks that only one of the two has, unless tasks were named.
    """

    a: ComparedRun
    b: ComparedRun
    tasks: tuple[Compared, ...]
    average: Compared | None
    comparability: Comparability
    left_out: tuple[str, ...]


def compare_runs(
    runs: Sequence[ComparedRun],
    *,
    tasks: Collection[str] = (),
    allowed: Set[str] = frozenset(),
    items: int = 0,
) -> list[Pair]:
    """Each run against the first one.

    Args:
        tasks: names of those to compare; none for all that both runs have.
        allowed: names of layers that may differ.
        items: how many items per task to name on which the runs disagree most.

    Raises:
        DataError: runs are not comparable; the first layer that differs is named.
        UsageError: a task is not in both runs.
    """
    first, *others = runs
    drafts = [_drafted(first, other, tasks, allowed, items) for other in others]
    tests = [task for pair in drafts for task in pair.tasks]
    adjusted = iter(holm([task.p_value for task in tests]))
    averages = [pair.average for pair in drafts if pair.average is not None]
    of_averages = iter(holm([one.p_value for one in averages]))
    return [
        dataclasses.replace(
            pair,
            tasks=tuple(_judged(task, next(adjusted), len(tests)) for task in pair.tasks),
            average=pair.average and _judged(pair.average, next(of_averages), len(averages)),
        )
        for pair in drafts
    ]


def _drafted(
    a: ComparedRun, b: ComparedRun, wanted: Collection[str], allowed: Set[str], items: int
) -> Pair:
    """A pair without corrections and verdicts."""
    both = [name for name in a.tasks if name in b.tasks]
    for name in wanted:
        if name not in both:
            raise UsageError(
                f"task '{name}' is not in both '{a.label}' and '{b.label}'",
                hint=near_miss(name, both),
            )
    names = [name for name in both if not wanted or name in wanted]
    if not names:
        raise DataError(
            f"'{a.label}' and '{b.label}' have no task in common",
            where=f"{a.source} | {b.source}",
            hint=f"the first has {', '.join(a.tasks)}; the other {', '.join(b.tasks)}",
        )
    comparability = check_comparable(a, b, names, allowed)
    tasks = tuple(_task(a.tasks[name], b.tasks[name], items) for name in names)
    left_out = [name for name in {**a.tasks, **b.tasks} if name not in both and not wanted]
    return Pair(
        a=a,
        b=b,
        tasks=tasks,
        average=_average(tasks) if len(tasks) > 1 else None,
        comparability=comparability,
        left_out=tuple(left_out),
    )


def _task(a: ComparedTask, b: ComparedTask, items: int) -> Compared:
    common = [] if a.items is None or b.items is None else [n for n in a.items if n in b.items]
    if a.items is None or b.items is None or not common or a.metric != b.metric:
        return _unpaired(a, b)
    left = [a.items[name] for name in common]
    right = [b.items[name] for name in common]
    # Of all that an item can be worth: the statistics take values from 0 to 1 for shares.
    whole = abs(b.scale) * most_of(b.metric)
    before = [item.value * a.scale / whole for item in left]
    after = [item.value * b.scale / whole for item in right]
    # Of a run that another harness made only the other run knows the clusters.
    test = paired_test(before, after, clusters=_clusters(left) or _clusters(right))
    missing = len(a.items) + len(b.items) - 2 * len(common)
    notes = [f"{missing} items are in one of the runs only"] if missing else []

    def points(value: float | None) -> float | None:
        return None if value is None else value * whole

    return Compared(
        name=b.name,
        title=b.title,
        metric=b.metric,
        n=test.n,
        # Of the items of both, which may be fewer than those of the results.
        a=math.fsum(before) / test.n * whole,
        b=math.fsum(after) / test.n * whole,
        difference=test.difference * whole,
        stderr=points(test.stderr),
        low=points(test.low),
        high=points(test.high),
        p_value=test.p_value,
        p_adjusted=test.p_value,
        detectable=None,
        method=test.method,
        gained=sum(two.own > one.own for one, two in zip(left, right, strict=True)),
        lost=sum(two.own < one.own for one, two in zip(left, right, strict=True)),
        items=_disagreements(common, a.items, b.items, items),
        notes=(*notes, *_cautions(a, b)),
    )


def _clusters(items: Sequence[Item]) -> list[str] | None:
    """The cluster of each item, where there are any; items without one stand alone."""
    if all(item.cluster is None for item in items):
        return None
    return [
        f"alone {place}" if item.cluster is None else f"of {item.cluster}"
        for place, item in enumerate(items)
    ]


def _unpaired(a: ComparedTask, b: ComparedTask) -> Compared:
    """From the two scores alone, as if of different items: its interval is too wide, not short."""
    metric = _apart(a.shown.metric(), b.shown.metric())
    why = a.why_no_items or b.why_no_items or "no item is in both"
    return Compared(
        name=b.name,
        title=b.title,
        metric=b.metric if a.metric == b.metric else f"{a.metric} | {b.metric}",
        n=min(a.shown.n, b.shown.n),
        a=a.shown.value,
        b=b.shown.value,
        difference=metric.value,
        stderr=metric.stderr,
        low=metric.low,
        high=metric.high,
        p_value=_p_of(metric),
        p_adjusted=1.0,
        detectable=None,
        method="unpaired",
        notes=(f"not compared item by item: {why}", *_cautions(a, b)),
    )


def _cautions(a: ComparedTask, b: ComparedTask) -> list[str]:
    notes = []
    for what, counts in (
        ("samples failed and count as zero", (a.failed, b.failed)),
        ("contexts were cut on the left", (a.truncated, b.truncated)),
    ):
        if any(counts):
            told = " | ".join("?" if count is None else str(count) for count in counts)
            notes.append(f"{told} {what}")
    if None not in (a.uses_template, b.uses_template) and a.uses_template != b.uses_template:
        notes.append(f"only {'A' if a.uses_template else 'B'} was asked with a chat template")
    return notes


def _average(tasks: Sequence[Compared]) -> Compared:
    """The difference of the plain means: tasks are independent of each other."""
    differences = [
        Metric(task.difference, task.stderr, task.low, task.high, task.n) for task in tasks
    ]
    mean = average(differences)
    return Compared(
        name="average",
        title="Average",
        metric="plain mean of the tasks",
        n=len(tasks),
        a=sum(task.a for task in tasks) / len(tasks),
        b=sum(task.b for task in tasks) / len(tasks),
        difference=mean.value,
        stderr=mean.stderr,
        low=mean.low,
        high=mean.high,
        p_value=_p_of(mean),
        p_adjusted=1.0,
        detectable=None,
        method="tasks",
    )


def _judged(task: Compared, p_adjusted: float, tests: int) -> Compared:
    """The task with its corrected p-value, its verdict, and what could have been found."""
    verdict: Verdict = "undecided"
    detectable = None
    if task.stderr and task.low is not None and task.high is not None:
        # Of the interval where it is wider than its standard error alone would make it.
        error = max(task.stderr, (task.high - task.low) / (2 * Z_95))
        detectable = minimum_detectable_effect(error, alpha=ALPHA / tests)
    if p_adjusted <= ALPHA and task.low is not None and task.high is not None:
        verdict = "better" if task.low > 0 else "worse" if task.high < 0 else "undecided"
    return dataclasses.replace(task, p_adjusted=p_adjusted, verdict=verdict, detectable=detectable)


def _disagreements(
    names: Sequence[str], a: Mapping[str, Item], b: Mapping[str, Item], most: int
) -> tuple[ItemDifference, ...]:
    """Those with the largest differences, in the order of the data where they are equal."""
    differ = [name for name in names if a[name].own != b[name].own]
    differ.sort(key=lambda name: -abs(b[name].own - a[name].own))
    return tuple(ItemDifference(name, a[name], b[name]) for name in differ[:most])


def _apart(a: Metric, b: Metric) -> Metric:
    """b − a of independent values, with squares of the distances to their own limits added.

    Newcombe 1998, method 10: no narrower where all items of a run are right, or all are wrong.
    """
    value = b.value - a.value
    if a.stderr is None or a.low is None or a.high is None:
        return Metric(value, None, None, None, 0)
    if b.stderr is None or b.low is None or b.high is None:
        return Metric(value, None, None, None, 0)
    down = math.hypot(b.value - b.low, a.high - a.value)
    up = math.hypot(b.high - b.value, a.value - a.low)
    return Metric(value, math.hypot(a.stderr, b.stderr), value - down, value + up, 0)


def _p_of(difference: Metric) -> float:
    """The two-sided p-value that goes with the interval: 5 % where it ends at 0.

    The distance from the difference to the limit on the side of 0, in which no error is too small,
    is 1.96 standard errors.
    """
    limit = difference.low if difference.value > 0 else difference.high
    if limit is None or limit == difference.value:
        return 1.0 if limit is None or not difference.value else 0.0
    return min(1.0, 2 * upper_tail(abs(difference.value) / abs(difference.value - limit) * Z_95))
