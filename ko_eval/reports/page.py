"""The report: one HTML file about one run, or several side by side. From result files only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import ko_eval
from ko_eval.reports.durations import duration
from ko_eval.reports.html.pages import json_block, render
from ko_eval.reports.html.words import pair
from ko_eval.reports.page_charts import (
    group_charts,
    index_chart,
    loss_chart,
    outcome_charts,
    radar_chart,
    score_chart,
)
from ko_eval.reports.page_data import BLOCK, PackedTask, ReportRun, packed_samples
from ko_eval.reports.page_tables import effort, fact_groups, task_rows, totals
from ko_eval.reports.page_words import REPORT_WORDS
from ko_eval.runs.files import write_atomically
from ko_eval.types import Outcome

_STYLES = ("theme.css", "report.css")
_SCRIPTS = ("theme.js", "report.js")
HOLDS_PRIVATE = "the report holds the items of private data: keep it as private as they are"


def report_page(runs: Sequence[ReportRun], *, samples: bool = True) -> str:
    """The page.

    Args:
        runs: from `read_runs`, in the order in which they are shown.
        samples: whether the single samples go into the file.

    Raises:
        DataError: a file of a run is damaged.
    """
    packed = packed_samples(runs) if samples else []
    rows = task_rows(runs)
    sums = totals(runs)
    return render(
        "report.html.j2",
        styles=_STYLES,
        scripts=_SCRIPTS if packed else _SCRIPTS[:1],
        words=REPORT_WORDS,
        runs=runs,
        rows=rows,
        totals=sums,
        radar=radar_chart(runs, rows),
        bars=score_chart(runs, rows),
        index=index_chart(runs),
        outcomes=outcome_charts(runs),
        loss=loss_chart(rows),
        groups=group_charts(rows),
        facts=fact_groups(runs, rows),
        effort=[effort(run.result) for run in runs],
        all_labels=sorted({label for total in sums for label in total.labels}),
        outcome_names=[outcome.value for outcome in Outcome],
        known_words=REPORT_WORDS,
        pair=pair,
        duration=duration,
        pretty=_pretty,
        version=ko_eval.__version__,
        private=bool(packed) and holds_private(runs),
        packed=packed,
        contents=json_block(_contents(runs, packed)) if packed else "",
    )


def holds_private(runs: Sequence[ReportRun]) -> bool:
    """Whether a page with the samples of these runs holds items of private data."""
    return any(
        task.data.label == "private"
        for run in runs
        if run.directory is not None
        for task in run.result.tasks
    )


def write_report(runs: Sequence[ReportRun], path: Path, *, samples: bool = True) -> None:
    """Writes the page, whole or not at all.

    Raises:
        DataError: a file of a run is damaged.
        RunError: it cannot be written.
    """
    write_atomically(path, report_page(runs, samples=samples))


def _contents(runs: Sequence[ReportRun], packed: Sequence[PackedTask]) -> dict[str, object]:
    """What `report.js` must know before it opens a task."""
    tasks = [
        {
            "title": task.title,
            "count": task.count,
            "block_size": BLOCK,
            "blocks": len(task.blocks),
        }
        for task in packed
    ]
    return {"runs": [run.label for run in runs], "tasks": tasks}


def _pretty(value: Mapping[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, default=str)
