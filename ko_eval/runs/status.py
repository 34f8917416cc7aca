"""How far runs are, read from their directories alone, from any machine that sees them.

`state.json` comes first; a directory without one (of an older version) is judged by
`results.json`. Nothing that is read is trusted: a file that is too large, not a plain file, or not
what it must be makes the run `unreadable`, never an error.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from ko_eval.runs.state import FILE_NAME, RunState

StatusName = Literal[
    "waiting",
    "loading",
    "running",
    "done",
    "stopped",
    "failed",
    "dead",
    "silent",
    "unreadable",
]

# A model of hundreds of gigabytes loads, and a batch of long answers is written, without a word.
SILENT_SECONDS = 1800.0
# A state is a page; a result with every metric and subject of a large suite is below 2 MB.
_LARGEST_STATE = 1_000_000
_LARGEST_RESULT = 50_000_000
_MOST = 10**15  # requests, far more than any run has


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """How far a task is, in distinct requests (samples, where only the result is left)."""

    name: str
    total: int
    done: int
    failed: int


@dataclass(frozen=True, slots=True)
class RunStatus:
    """How far a run is.

    Attributes:
        name: of the model, or of a batch's entry that has no run directory yet.
        directory: of the run; None where there is none yet.
        state: `dead`: its process is gone from this machine; `silent`: it runs elsewhere and
            wrote nothing for half an hour; `stopped`: a signal ended it, and it can go on.
        asked, seconds: requests that the last process asked, and its time since the first.
        host, process: where it runs or ran last.
        updated: seconds since the last sign of life.
        error: what ended it, or why it cannot be read.
    """

    name: str
    directory: Path | None
    state: StatusName
    tasks: tuple[TaskStatus, ...] = ()
    asked: int = 0
    seconds: float = 0.0
    host: str | None = None
    process: int | None = None
    updated: float | None = None
    error: str | None = None

    @property
    def total(self) -> int:
        return sum(task.total for task in self.tasks)

    @property
    def done(self) -> int:
        return sum(task.done for task in self.tasks)

    @property
    def failed(self) -> int:
        """Requests that the engine could not answer."""
        return sum(task.failed for task in self.tasks)

    @property
    def rate(self) -> float | None:
        """Requests per second of the last process; None before its first answer."""
        return self.asked / self.seconds if self.asked and self.seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """At this rate; None for a run that is not going on, or whose rate is not known."""
        if self.state != "running" or self.rate is None:
            return None
        return max(self.total - self.done, 0) / self.rate


def find_runs(root: Path) -> Iterator[RunStatus]:
    """The runs under an output root, a model's folder, or one run directory, sorted by path.

    Symbolic links are not followed. Folders that cannot be read are passed over.
    """
    for directory in _run_directories(root):
        yield run_status(directory)


def run_status(directory: Path) -> RunStatus:
    """How far one run is."""
    name = directory.parent.name
    try:
        content = read_small(directory / FILE_NAME, _LARGEST_STATE)
    except FileNotFoundError:
        return _finished(directory, name)
    except (OSError, ValueError) as error:
        return RunStatus(name, directory, "unreadable", error=f"{FILE_NAME}: {error}")
    try:
        return _judged(directory, RunState.model_validate_json(content))
    except (ValidationError, ValueError) as error:
        problem = _problem(error)
        return RunStatus(name, directory, "unreadable", error=f"{FILE_NAME}: {problem}")


def read_small(path: Path, largest: int) -> bytes:
    """The content of a plain file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no plain file, or larger than so many bytes.
    """
    # A pipe must not be waited for, and a link may lead anywhere.
    opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(opened, "rb") as file:  # noqa: PTH123  # a descriptor
        if not os.path.isfile(opened):  # noqa: PTH113
            raise ValueError("not a plain file")
        content = file.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"larger than {largest:,} bytes")
    return content


def seconds_since(moment: str) -> float:
    """Seconds since a moment in ISO 8601 with its zone; 0 for one in the future.

    Raises:
        ValueError: it is no such text.
    """
    then = datetime.fromisoformat(moment)
    if then.tzinfo is None:
        raise ValueError("a time without its zone")
    return max((datetime.now(UTC) - then).total_seconds(), 0.0)


def is_alive(host: str, process: int) -> bool | None:
    """Whether a process is there; None for one of another machine."""
    if host != socket.gethostname():
        return None
    if process <= 0:
        return False
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _run_directories(root: Path) -> list[Path]:
    if _looks_like_a_run(root):
        return [root]
    found = []
    for model in folders(root):
        if _looks_like_a_run(model):
            found.append(model)
        else:
            found += [run for run in folders(model) if _looks_like_a_run(run)]
    return found


def _looks_like_a_run(directory: Path) -> bool:
    # A run has this file from its first moment on.
    return any(os.path.lexists(directory / name) for name in ("run.json", FILE_NAME))


def folders(directory: Path) -> list[Path]:
    """Folders below one, sorted; no links, and none where it cannot be read."""
    try:
        with os.scandir(directory) as entries:
            return sorted(Path(e.path) for e in entries if e.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _judged(directory: Path, state: RunState) -> RunStatus:
    tasks = tuple(
        TaskStatus(name, task.total, task.done, task.failed) for name, task in state.tasks.items()
    )
    _check_counts(tasks)
    if not (0 <= state.asked <= _MOST and 0 <= state.seconds < float("inf") and state.process > 0):
        raise ValueError("a number that no run can have")
    since = seconds_since(state.updated)
    return RunStatus(
        name=state.model,
        directory=directory,
        state=_state(directory, state, since),
        tasks=tasks,
        asked=state.asked,
        seconds=state.seconds,
        host=state.host,
        process=state.process,
        updated=since,
        error=state.error,
    )


def _state(directory: Path, state: RunState, since: float) -> StatusName:
    match state.state:
        case "done":
            # It was finished once; without its result it must be scored again.
            return "done" if (directory / "results.json").is_file() else "stopped"
        case "stopped":
            return "stopped"
        case "error":
            return "failed"
    alive = is_alive(state.host, state.process)
    if alive is False:
        return "dead"
    if alive is None and since > SILENT_SECONDS:
        return "silent"
    return "loading" if state.state == "loading" else "running"


def _finished(directory: Path, name: str) -> RunStatus:
    """A run that left no state."""
    try:
        content = json.loads(read_small(directory / "results.json", _LARGEST_RESULT))
        tasks = tuple(
            TaskStatus(str(task["name"]), task["n"], task["n"], task["outcomes"].get("failed", 0))
            for task in content["tasks"]
        )
        _check_counts(tasks)
        return RunStatus(str(content["model"]["name"]), directory, "done", tasks)
    except FileNotFoundError:
        return RunStatus(name, directory, "stopped", error=f"neither {FILE_NAME} nor a result")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        problem = _problem(error)
        return RunStatus(name, directory, "unreadable", error=f"results.json: {problem}")


def _check_counts(tasks: Iterable[TaskStatus]) -> None:
    """Raise `ValueError` for numbers of requests that no run can have."""
    for task in tasks:
        for count in (task.total, task.done, task.failed):
            if not isinstance(count, int) or not 0 <= count <= _MOST:
                raise ValueError("a number of requests that no run can have")


def _problem(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        return f"{field}: {first['msg']}" if field else str(first["msg"])
    return str(error) or type(error).__name__
