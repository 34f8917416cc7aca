"""What an export writes of: a finished run's result, its samples, questions and responses.

Everything comes from the files of the run directory; what they do not hold is left out of exports.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from ko_eval.errors import DataError
from ko_eval.runs.journal_reading import journal_path, read_journal
from ko_eval.runs.result import RunResult, TaskReport, Value, read_result
from ko_eval.safe_text import redacted, visible
from ko_eval.types import Response

# A dataset's id: "owner/name" or "name"; no path of a file system.
_HUB_ID = re.compile(r"[\w-][\w.-]{0,95}(?:/[\w-][\w.-]{0,95})?", re.ASCII)
# What a result calls a source of several configurations: "first and 7 more".
_SEVERAL = re.compile(r" and \d{1,9} more$")

LABELS = {
    "bundled": "bundled items of ko-eval, never comparable with the board",
    "hub": "public data",
    "private": "private data",
}
"""The label of a task's data in words, as exports show it."""


@dataclass(frozen=True, slots=True)
class ExportedRun:
    """A finished run.

    Attributes:
        directory: its directory; the samples lie in it.
    """

    directory: Path
    result: RunResult

    @property
    def model(self) -> str:
        """The model's name, safe to show and to paste."""
        return shown_text(self.result.model.name)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset of the hub.

    Attributes:
        config, split: None where there is none, or where rows of several were asked.
    """

    id: str
    config: str | None
    split: str | None


def open_run(path: Path) -> ExportedRun:
    """A run by its directory, or by the `results.json` in it.

    Raises:
        DataError: there is no result, or it is not one.
    """
    result = read_result(path)
    if not result.tasks:
        raise DataError("the result holds no task", where=str(path))
    try:
        json.dumps(result.model_dump(), default=str, allow_nan=False)
    except ValueError as error:
        raise DataError("a score of the result is no finite number", where=str(path)) from error
    return ExportedRun(path if path.is_dir() else path.parent, result)


def hub_dataset(task: TaskReport) -> Dataset | None:
    """The dataset of the hub that a task was asked on, or None."""
    # "OWNER/NAME / CONFIGURATION / SPLIT", or without the one in the middle.
    path, *rest = task.data.source.split(" / ")
    if task.data.label != "hub" or not _HUB_ID.fullmatch(path):
        return None
    *middle, split = rest or [""]
    config = shown_text(" / ".join(middle))
    return Dataset(path, None if _SEVERAL.search(config) else config or None, split or None)


def shown_text(text: str) -> str:
    """A text of a result on one line, without secrets and without what acts on a terminal."""
    return visible(redacted(" ".join(text.split())))[:500]


def data_words(task: TaskReport, *, limit: int | None) -> str:
    """What a task was asked on: label, source and number of items."""
    items = f"{task.n:,} items" if limit is None else f"the first {task.n:,} items"
    return f"{LABELS[task.data.label]}: {shown_text(task.data.source)}, {items}"


def interval_words(shown: Value) -> str:
    """The interval of a value, or that there is none."""
    if shown.low is None or shown.high is None:
        return "no interval"
    return f"95 % interval {shown.low:.2f} to {shown.high:.2f}"


def protocol_words(task: TaskReport) -> str:
    """How a task was asked, and which of its facts nobody published."""
    assumed = [name for name, fact in task.protocol.items() if fact.status == "assumed"]
    words = [f"{task.shots}-shot", f"chat template {'on' if task.chat_template else 'off'}"]
    if task.variant:
        words.append(f"variant {shown_text(task.variant)}")
    if assumed:
        words.append("assumed: " + ", ".join(shown_text(name) for name in assumed))
    return "; ".join(words)


def responses_of(run: ExportedRun, task: str) -> dict[str, Response]:
    """The journal's responses of a task by key, without failed ones; empty where there is none.

    Raises:
        DataError: the file cannot be read.
    """
    path = journal_path(run.directory, task)
    if not path.exists():
        return {}
    found = read_journal(path, run.result.fingerprint)
    return {key: entry.response for key, entry in found.entries.items()}
