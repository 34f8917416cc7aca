"""The table of `ko-eval status`: a line per run, and below it one per task that is not finished.

Laid out here: for thousands of lines the tables of Rich take half a minute.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text

from ko_eval.reports.durations import duration
from ko_eval.runs.status import RunStatus, StatusName, TaskStatus
from ko_eval.types import JsonValue

_STYLES: dict[StatusName, str] = {
    **dict.fromkeys(("done",), "green"),
    **dict.fromkeys(("running", "loading"), "cyan"),
    **dict.fromkeys(("stopped", "silent"), "yellow"),
    **dict.fromkeys(("failed", "dead", "unreadable"), "red"),
}
_HEADINGS = ("Model", "Run", "Done", "Requests/s", "Failed", "Left", "State")
_RIGHT = {"Done", "Requests/s", "Failed", "Left"}
_LONGEST = 300  # letters of an error
_LONGEST_NAME = 60
_MOST_ERRORS = 20

_Row = tuple[str, ...]


def status_table(runs: Sequence[RunStatus], *, all_tasks: bool = False) -> Text:
    """Requests done of all, per second and failed, time left, and state.

    Args:
        all_tasks: also the tasks of finished runs.
    """
    rows: list[tuple[_Row, str]] = [(_HEADINGS, "bold")]
    for run in runs:
        rows.append((_run(run), _STYLES.get(run.state, "")))
        if all_tasks or (run.state != "done" and len(run.tasks) > 1):
            rows += [(_task(task), "") for task in run.tasks]
    widths = [max(cell_len(row[i]) for row, _ in rows) for i in range(len(_HEADINGS))]
    table = Text()
    for number, (row, style) in enumerate(rows):
        line = "  ".join(map(_padded, row[:-1], widths, _HEADINGS))
        table.append(f"{line}  " if row[-1] else line.rstrip(), style if number == 0 else "")
        table.append(row[-1], style)
        table.append("\n" if number < len(rows) - 1 else "")
    return table


def status_notes(runs: Sequence[RunStatus]) -> list[str]:
    """How many runs are in which state, the time left, and what went wrong."""
    states = ", ".join(
        f"{count} {state}" for state, count in Counter(r.state for r in runs).items()
    )
    left = [run.seconds_left for run in runs if run.seconds_left is not None]
    rest = f"; {duration(max(left))} left of what is running" if left else ""
    notes = [f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}: {states}{rest}."]
    wrong = [run for run in runs if run.error and run.state in ("failed", "unreadable", "dead")]
    for run in wrong[:_MOST_ERRORS]:
        lines = [shown(line) for line in (run.error or "").splitlines()]
        first = " ".join(line.strip().removeprefix("error: ") for line in lines)[:_LONGEST]
        notes.append(f"{shown(run.name)}: {first}")
    if len(wrong) > _MOST_ERRORS:
        notes.append(f"… and {len(wrong) - _MOST_ERRORS} more with errors")
    return notes


def status_json(runs: Sequence[RunStatus]) -> list[dict[str, JsonValue]]:
    """The same as values; times in seconds."""
    return [
        {
            "model": run.name,
            "directory": None if run.directory is None else str(run.directory),
            "state": run.state,
            "total": run.total,
            "done": run.done,
            "failed": run.failed,
            "requests_per_second": run.rate,
            "seconds_left": run.seconds_left,
            "seconds_since_update": run.updated,
            "host": run.host,
            "process": run.process,
            "error": run.error,
            "tasks": {
                task.name: {"total": task.total, "done": task.done, "failed": task.failed}
                for task in run.tasks
            },
        }
        for run in runs
    ]


def shown(text: str, longest: int = _LONGEST) -> str:
    """A text from a file in one line, cut to fit; a console makes it safe for a terminal."""
    return " ".join(text[:longest].split())


def _run(run: RunStatus) -> _Row:
    return (
        shown(run.name, _LONGEST_NAME),
        shown(run.directory.name) if run.directory else "–",
        _of(run.done, run.total) if run.tasks else "–",
        "–" if run.rate is None else f"{run.rate:,.1f}",
        str(run.failed) if run.failed else "–",
        duration(run.seconds_left),
        _state(run),
    )


def _task(task: TaskStatus) -> _Row:
    name = f"  {shown(task.name, _LONGEST_NAME)}"
    return ("", name, _of(task.done, task.total), "", str(task.failed or "–"), "", "")


def _of(done: int, total: int) -> str:
    return f"{done:,} / {total:,}"


def _state(run: RunStatus) -> str:
    if run.state in ("silent", "dead") and run.updated is not None:
        return f"{run.state} for {duration(run.updated)}"
    return run.state


def _padded(text: str, width: int, heading: str) -> str:
    room = " " * (width - cell_len(text))
    return room + text if heading in _RIGHT else text + room
