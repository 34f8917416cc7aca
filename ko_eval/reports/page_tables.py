"""The rows of the report's tables: tasks over all runs, protocol facts, plan and effort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ko_eval.reports.page_data import ReportRun
from ko_eval.runs.result import RunResult, TaskReport
from ko_eval.tasks.definition import Fact


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One task in all runs.

    Attributes:
        title: with the variant, where there is one.
        reports: per run; None where the run does not have the task.
        same_rows: whether all runs were asked the same rows.
    """

    name: str
    title: str
    category: str
    reports: Sequence[TaskReport | None]
    same_rows: bool

    @property
    def told(self) -> list[tuple[int, TaskReport]]:
        """The reports that are there, each with its run's place: equal ones are told apart."""
        return [(place, one) for place, one in enumerate(self.reports) if one is not None]


def task_rows(runs: Sequence[ReportRun]) -> list[TaskRow]:
    """A row for each task that some run has, in the runs' own order."""
    names = dict.fromkeys((task.name, task.variant) for run in runs for task in run.result.tasks)
    return [_row(name, variant, runs) for name, variant in names]


def _row(name: str, variant: str | None, runs: Sequence[ReportRun]) -> TaskRow:
    reports = [
        next((t for t in run.result.tasks if (t.name, t.variant) == (name, variant)), None)
        for run in runs
    ]
    there = [report for report in reports if report is not None]
    title = there[0].title if variant is None else f"{there[0].title} ({variant})"
    asked = {(report.data.sha256, report.n) for report in there}
    return TaskRow(name, title, there[0].category, reports, len(asked) == 1)


@dataclass(frozen=True, slots=True)
class Totals:
    """One run as a whole.

    Attributes:
        labels: of the data, in the order of trust: private, hub, bundled.
    """

    samples: int
    failed: int
    labels: Sequence[str]
    seconds: float


def totals(runs: Sequence[ReportRun]) -> list[Totals]:
    """The totals of each run."""
    return [
        Totals(
            samples=sum(task.n for task in run.result.tasks),
            failed=run.result.failed,
            labels=sorted({task.data.label for task in run.result.tasks}, reverse=True),
            seconds=sum(task.seconds for task in run.result.tasks),
        )
        for run in runs
    ]


@dataclass(frozen=True, slots=True)
class FactGroup:
    """Protocol facts of a task, or of a suite, that some runs share.

    Attributes:
        whose: labels of those runs; empty where all share them.
        report: None for a suite.
    """

    title: str
    whose: Sequence[str]
    facts: Mapping[str, Fact]
    report: TaskReport | None

    @property
    def assumed(self) -> int:
        """How many of the facts are assumed."""
        return sum(fact.status == "assumed" for fact in self.facts.values())


def fact_groups(runs: Sequence[ReportRun], rows: Sequence[TaskRow]) -> list[FactGroup]:
    """The facts of the suites and then of each task, once for all runs that agree on them."""
    found: list[FactGroup] = []
    suites = [run.result.suite_protocol or None for run in runs]
    for place, facts in enumerate(suites):
        if facts is not None and facts not in suites[:place]:
            title = runs[place].result.suite or ""
            found.append(FactGroup(title, _whose(runs, suites, facts), facts, None))
    for row in rows:
        told = [None if report is None else _told(report) for report in row.reports]
        for place, report in enumerate(row.reports):
            if report is not None and told[place] not in told[:place]:
                whose = _whose(runs, told, told[place])
                found.append(FactGroup(row.title, whose, report.protocol, report))
    return found


def _told(report: TaskReport) -> tuple[object, ...]:
    return (report.protocol, report.shots, report.chat_template, report.data, report.fewshot)


def _whose(runs: Sequence[ReportRun], each: Sequence[object], one: object) -> list[str]:
    if all(other == one for other in each if other is not None):
        return []
    return [run.label for run, other in zip(runs, each, strict=True) if other == one]


@dataclass(frozen=True, slots=True)
class EffortRow:
    """What a task took against what was planned; None where the result does not tell.

    Attributes:
        read, distinct: tokens to read, and those of them that differ.
        most: tokens that the requests allow to be written.
        speed: tokens read and written per second of the engine.
    """

    title: str
    requests: int | None
    read: int | None
    distinct: int | None
    most: int | None
    written: int
    thinking: int
    seconds: float

    @property
    def fewer(self) -> float | None:
        """How many times fewer tokens were read than asked."""
        return self.read / self.distinct if self.read and self.distinct else None

    @property
    def speed(self) -> float | None:
        """Distinct tokens read and tokens written, per second of the engine."""
        if self.distinct is None or self.seconds <= 0:
            return None
        return (self.distinct + self.written) / self.seconds


def effort(result: RunResult) -> list[EffortRow]:
    """A row per task, and the sum as the last one."""
    rows = [_effort(task) for task in result.tasks]
    return [*rows, _sum(rows)]


def _effort(task: TaskReport) -> EffortRow:
    used = task.usage
    return EffortRow(
        title=task.title,
        requests=used.requests if used else None,
        read=used.tokens_asked if used else None,
        distinct=used.tokens_distinct if used else None,
        most=used.tokens_most if used else None,
        # Scored texts count as completion, too, but nobody wrote them.
        written=used.tokens_written if used else 0,
        thinking=task.tokens.thinking,
        seconds=task.seconds,
    )


def _sum(rows: Sequence[EffortRow]) -> EffortRow:
    def added(counts: Sequence[int | None]) -> int | None:
        known = [count for count in counts if count is not None]
        return sum(known) if known and len(known) == len(counts) else None

    return EffortRow(
        title="",
        requests=added([row.requests for row in rows]),
        read=added([row.read for row in rows]),
        distinct=added([row.distinct for row in rows]),
        most=added([row.most for row in rows]),
        written=sum(row.written for row in rows),
        thinking=sum(row.thinking for row in rows),
        seconds=sum(row.seconds for row in rows),
    )
