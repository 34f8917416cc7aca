"""`state.json`: how far a run is, for whoever looks at its directory from elsewhere.

Derived, written every few seconds and at every end that a program sees. After a kill it is as old
as that; nothing that resumes a run reads it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ko_eval.errors import RunError
from ko_eval.runs.files import write_atomically

StateName = Literal["loading", "asking", "stopped", "error", "done"]

FILE_NAME = "state.json"
_EVERY_SECONDS = 2.0


class TaskState(BaseModel):
    """How far a task is, in distinct requests."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    total: int
    done: int
    failed: int


class RunState(BaseModel):
    """The content of `state.json`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    state: StateName
    model: str
    process: int
    host: str
    started: str
    updated: str
    asked: int
    """Requests that this process asked."""
    seconds: float
    """Since this process began to ask."""
    tasks: dict[str, TaskState]
    error: str | None = None


@dataclass(slots=True)
class StateWriter:
    """Keeps the state of one call's work on a run directory.

    Attributes:
        totals, done, failed: requests by task.
    """

    directory: Path
    model: str
    totals: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    asked: int = 0
    _started: str = field(default_factory=lambda: _now())
    _asking_since: float | None = None
    _written: float = 0.0

    def task(self, name: str, done: int, total: int) -> None:
        """A task with what was answered before."""
        self.totals[name], self.done[name], self.failed[name] = total, done, 0

    def answered(self, name: str, asked: int) -> None:
        """One request of a task was answered, the so many-th of this call."""
        self.done[name] += 1
        self.asked = asked
        if time.monotonic() - self._written > _EVERY_SECONDS:
            self.write("asking")

    def write(self, state: StateName, error: str | None = None) -> None:
        """Writes the file; without room or right, the journal says so, and this stays silent."""
        now = time.monotonic()
        if state == "asking" and self._asking_since is None:
            self._asking_since = now
        self._written = now
        content = RunState(
            state=state,
            model=self.model,
            process=os.getpid(),
            host=socket.gethostname(),
            started=self._started,
            updated=_now(),
            asked=self.asked,
            seconds=round(now - self._asking_since, 1) if self._asking_since else 0.0,
            tasks={
                name: TaskState(total=total, done=self.done[name], failed=self.failed[name])
                for name, total in self.totals.items()
            },
            error=error,
        )
        with contextlib.suppress(RunError):
            write_atomically(self.directory / FILE_NAME, content.model_dump_json() + "\n")


def read_state(directory: Path) -> RunState | None:
    """The state of a run; None where the directory holds none that can be read."""
    try:
        return RunState.model_validate_json((directory / FILE_NAME).read_bytes())
    except (OSError, ValidationError):
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
