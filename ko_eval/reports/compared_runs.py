"""A run as a comparison takes it: scores, items and layers, whoever's files they were read from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ko_eval.errors import DataError
from ko_eval.reports.item_values import item_values, scale_of
from ko_eval.runs.layer_differences import RunLayers, layers_of
from ko_eval.runs.result import RunResult, TaskReport, Value, read_result
from ko_eval.runs.sample_files import SampleRecord, read_samples

# Far beyond any score; means and squares of such values can still be computed.
_MOST = 1e100


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a task.

    Attributes:
        value: what it contributes to the score, in the metric's own unit (see `item_values`).
        own: its own value; the same but for pooled scores.
        answer: what was read as the answer, or None.
        cluster: items with the same one are no independent evidence; None where it stands alone.
    """

    value: float
    own: float
    answer: str | None = None
    outcome: str | None = None
    cluster: str | None = None


@dataclass(frozen=True, slots=True)
class ComparedTask:
    """One task of a run.

    Attributes:
        shown: on the board's scale.
        scale: points of the shown score that one of the metric's own unit is.
        items: by id, in the order of the data; None where the score is no mean over items, or no
            per-sample scores are there.
        why_no_items: says so; empty where there are items.
        samples, failed, truncated: of the data; without a response; whose context was cut. The
            latter two are None where nothing tells.
    """

    name: str
    title: str
    metric: str
    shown: Value
    scale: float
    items: Mapping[str, Item] | None
    why_no_items: str = ""
    samples: int = 0
    failed: int | None = None
    truncated: int | None = None
    uses_template: bool | None = None
    board_key: str | None = None


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """A run.

    Attributes:
        label: names it in what is printed; unique among the compared runs.
        source: where it was read from.
        layers: what is known of how it was made.
        harness: that made it; layers of two harnesses are hashed in different ways.
        data: what the rows are (`bundled`, `hub`, `private`), where known.
    """

    label: str
    source: str
    tasks: Mapping[str, ComparedTask]
    layers: RunLayers
    data: frozenset[str] = field(default_factory=frozenset)
    harness: str = "ko-eval"


def read_run(path: Path) -> ComparedRun:
    """A run of ours.

    Args:
        path: its directory, or the `results.json` in it.

    Raises:
        DataError: there is no result, or its per-sample scores are damaged.
    """
    directory = path.parent if path.is_file() else path
    return run_of(read_result(path), directory)


def run_of(result: RunResult, directory: Path) -> ComparedRun:
    """As `read_run`, of a result that was read."""
    return ComparedRun(
        label=result.model.name,
        source=str(directory),
        tasks={report.name: _task(report, directory) for report in result.tasks},
        layers=layers_of(result),
        data=frozenset(report.data.label for report in result.tasks),
    )


def labelled(runs: Sequence[ComparedRun]) -> list[ComparedRun]:
    """The runs with labels that differ: runs of one model get a number."""
    labels = [run.label for run in runs]
    return [
        dataclasses.replace(run, label=f"{run.label} ({labels[: place + 1].count(run.label)})")
        if labels.count(run.label) > 1
        else run
        for place, run in enumerate(runs)
    ]


def _task(report: TaskReport, directory: Path) -> ComparedTask:
    shown = report.shown
    ends = (shown.value, shown.stderr, shown.low, shown.high)
    if not all(end is None or abs(end) < _MOST for end in ends):
        raise DataError(
            f"the score of task '{report.name}' is no number", where=str(directory / "results.json")
        )
    records = read_samples(directory, report.name)
    values = item_values(report, records)
    return ComparedTask(
        name=report.name,
        title=report.title,
        metric=report.metric,
        shown=report.shown,
        scale=scale_of(report),
        items=None if values is None else _items(report.metric, values, records),
        why_no_items="" if values else f"'{report.metric}' is no mean over items",
        samples=report.n,
        failed=report.outcomes.get("failed", 0),
        truncated=report.truncated,
        uses_template=report.chat_template,
        board_key=report.board_key,
    )


def _items(
    metric: str, values: Mapping[str, float], records: Sequence[SampleRecord]
) -> dict[str, Item]:
    return {
        record.id: Item(
            value=values[record.id],
            own=record.metrics.get(metric, values[record.id]),
            answer=record.extracted,
            outcome=record.outcome.value,
            cluster=record.cluster,
        )
        for record in records
        if record.id in values
    }
