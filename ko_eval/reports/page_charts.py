"""The charts of the report, from its task rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ko_eval.reports.html.charts import Label, Mark, Row, bars, intervals, radar, shares
from ko_eval.reports.html.words import Word
from ko_eval.reports.page_data import ReportRun
from ko_eval.reports.page_tables import TaskRow
from ko_eval.reports.page_words import REPORT_WORDS
from ko_eval.reports.table import interval
from ko_eval.runs.result import Value

# A radar of more axes cannot be read.
_FEWEST_AXES, _MOST_AXES = 3, 16


def radar_chart(runs: Sequence[ReportRun], rows: Sequence[TaskRow]) -> Markup | None:
    """The shape of each run over the tasks; None where they are too few or too many."""
    if not _FEWEST_AXES <= len(rows) <= _MOST_AXES:
        return None
    outlines = [
        [None if (report := row.reports[place]) is None else report.shown.value for row in rows]
        for place in range(len(runs))
    ]
    return radar([row.title for row in rows], outlines, label=REPORT_WORDS["radar_of"])


def score_chart(runs: Sequence[ReportRun], rows: Sequence[TaskRow]) -> Markup:
    """A bar per task and run."""
    return bars(
        [
            Row(
                row.title,
                [
                    _mark(report.shown, place, runs[place].label)
                    for place, report in enumerate(row.reports)
                    if report is not None
                ],
            )
            for row in rows
        ],
        label=REPORT_WORDS["bars_of"],
    )


@dataclass(frozen=True, slots=True)
class ValueChart:
    """A chart with its values, which the page also gives as a table to those who listen.

    Attributes:
        rows: label, and the value of each run that has one, by the run's place.
    """

    title: str
    rows: Sequence[tuple[Label, Sequence[tuple[int, Value]]]]
    chart: Markup


def _value_chart(
    title: str, rows: Sequence[tuple[Label, Sequence[tuple[int, Value]]]], name: Label
) -> ValueChart:
    lines = [
        Row(label, [_mark(value, place, f"n = {value.n}") for place, value in values])
        for label, values in rows
    ]
    return ValueChart(title, rows, intervals(lines, label=name, reference=0.0))


def index_chart(runs: Sequence[ReportRun]) -> ValueChart | None:
    """The categories of the index; None where no run has one."""
    found: dict[str, list[tuple[int, Value]]] = {}
    for place, run in enumerate(runs):
        for category in run.result.index.categories if run.result.index else []:
            found.setdefault(category.name, []).append((place, category.shown))
    if not found:
        return None
    rows = [(REPORT_WORDS.get(name, name), values) for name, values in found.items()]
    return _value_chart("", rows, REPORT_WORDS["index_of"])


@dataclass(frozen=True, slots=True)
class OutcomeChart:
    """The outcomes of a run: None where every response could be judged."""

    run: ReportRun
    chart: Markup | None


def outcome_charts(runs: Sequence[ReportRun]) -> list[OutcomeChart]:
    """For each run, the tasks in which not every sample was answered."""
    return [OutcomeChart(run, _outcomes(run)) for run in runs]


def _outcomes(run: ReportRun) -> Markup | None:
    rows: list[tuple[str, list[tuple[str, float, str]]]] = [
        (
            task.title,
            [(f"o-{name}", count, f"{name}: {count}") for name, count in task.outcomes.items()],
        )
        for task in run.result.tasks
        if task.outcomes.get("ok", 0) < task.n
    ]
    return shares(rows, label=REPORT_WORDS["shares_of"]) if rows else None


def loss_chart(rows: Sequence[TaskRow]) -> Markup | None:
    """What the published reading of answers loses; None where no task has two readings."""
    lines = [
        Row(row.title, marks)
        for row in rows
        if (
            marks := [
                _mark(report.format_loss.shown, place, report.format_loss.korean, signed=True)
                for place, report in enumerate(row.reports)
                if report is not None and report.format_loss is not None
            ]
        )
    ]
    if not lines:
        return None
    return intervals(lines, label=REPORT_WORDS["loss_of"], low=-2.0, high=10.0, reference=0.0)


def group_charts(rows: Sequence[TaskRow]) -> list[ValueChart]:
    """One chart for each task that has groups, the groups in order of their name."""
    found = []
    for row in rows:
        names = sorted({name for report in row.reports if report for name in report.groups})
        groups = [
            (
                name or REPORT_WORDS["no_group"],
                [
                    (place, report.groups[name])
                    for place, report in enumerate(row.reports)
                    if report is not None and name in report.groups
                ],
            )
            for name in names
        ]
        if groups:
            found.append(_value_chart(row.title, groups, _named(row.title)))
    return found


def _named(title: str) -> Word:
    word = REPORT_WORDS["groups_of"]
    return Word(f"{title}: {word.en}", f"{title}: {word.ko}")


def _mark(value: Value, series: int, name: str, *, signed: bool = False) -> Mark:
    text = f"{value.value:+.2f}" if signed else f"{value.value:.2f}"
    told = interval(value)
    return Mark(
        value=value.value,
        low=value.low,
        high=value.high,
        text=text if told == "–" else f"{text}  {told}",
        series=series,
        name=f"{name}: {text} {told}",
    )
