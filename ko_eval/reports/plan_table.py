"""The table of a plan: per task what is read and written, and with speeds how long it takes."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from ko_eval.reports.durations import duration
from ko_eval.runs.estimate import RunEstimate, Speeds, TaskEstimate, Workload, records_usage
from ko_eval.runs.result import RunResult


def plan_table(estimate: RunEstimate) -> Table:
    """A row per task, and the totals."""
    table = Table(header_style="bold")
    table.add_column("Task")
    for heading in (
        *("Requests", "Sequences", "Tokens asked", "Distinct", "Fewer", "Longest"),
        *("Written", "Time"),
    ):
        table.add_column(heading, justify="right")
    for task in estimate.tasks:
        table.add_row(
            Text(task.title or task.name),
            *_read(task.workload),
            _written(task),
            duration(task.seconds),
        )
    table.add_section()
    table.add_row(
        Text(f"All {len(estimate.tasks)}", style="bold"),
        *_read(estimate.total),
        ("" if _all_expected(estimate) else "≤ ") + f"{estimate.new:,}",
        duration(estimate.seconds),
    )
    return table


def plan_notes(
    estimate: RunEstimate, speeds: Speeds, gpus: int, earlier: RunResult | None = None
) -> list[str]:
    """What the numbers rest on, and the cost, a line each.

    Args:
        earlier: the run that lengths and speeds were taken from, where it tells them.
    """
    notes = []
    if earlier is not None:
        lacks = "" if records_usage(earlier) else "; it records no usage: no lengths and no speeds"
        notes.append(f"--from: a run of '{earlier.model.name}'{lacks}.")
    if not _all_expected(estimate):
        advice = " --from RUN takes the lengths of an earlier run." if earlier is None else ""
        notes.append(f"Written (≤): at most; models stop earlier.{advice}")
    known = [
        f"{speed:,.0f} tokens {what} per second"
        for speed, what in ((speeds.read, "read"), (speeds.write, "written"))
        if speed is not None
    ]
    if estimate.seconds is None:
        notes.append(
            "Time: needs "
            + " and ".join(_missing(estimate, speeds))
            + (", or --from RUN, which takes them from an earlier run." if earlier is None else ".")
        )
        return notes
    # A speed of writing that was measured without one of reading counts all of the time.
    included = " (reading the prompts included)" if speeds.read is None else ""
    notes.append(
        f"Time: {duration(estimate.seconds)} with {' and '.join(known)}{included}, without loading "
        "the model."
    )
    if estimate.gpu_hours is not None:
        price = "" if estimate.price is None else f", price {estimate.price:,.2f}"
        notes.append(f"GPU-hours: {estimate.gpu_hours:.2f} (GPUs: {gpus}){price}.")
    return notes


def _read(load: Workload) -> tuple[str, ...]:
    return (
        f"{load.requests:,}",
        f"{load.sequences:,}",
        f"{load.tokens_asked:,}",
        f"{load.tokens_distinct:,}",
        f"{load.tokens_asked / load.tokens_distinct:.1f}×",
        f"{load.longest:,}",
    )


def _written(task: TaskEstimate) -> str:
    if not task.workload.most_new:
        return "–"
    if task.expected_new is None:
        return f"≤ {task.workload.most_new:,}"
    return f"{task.expected_new:,}"


def _all_expected(estimate: RunEstimate) -> bool:
    return all(
        task.expected_new is not None or not task.workload.most_new for task in estimate.tasks
    )


def _missing(estimate: RunEstimate, speeds: Speeds) -> list[str]:
    """Options whose speeds some task needs."""
    only_reads = any(not task.workload.most_new for task in estimate.tasks)
    return [
        option
        for option, speed, needed in (
            ("--read-speed", speeds.read, only_reads or speeds.write is None),
            ("--write-speed", speeds.write, estimate.total.most_new > 0),
        )
        if needed and speed is None
    ]
