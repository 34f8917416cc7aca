"""`run.json`: what was asked, and every session that asked a model for it.

Written first, before any request; a session is added when an engine is loaded. A run that was
stopped and continued elsewhere shows both machines.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel
from pydantic import JsonValue as AnyJson

import ko_eval
from ko_eval.runs.files import write_atomically
from ko_eval.runs.plan import RunPlan
from ko_eval.runs.provenance import environment, git_revision
from ko_eval.safe_text import redacted
from ko_eval.types import JsonValue


@dataclass(frozen=True, slots=True)
class Session:
    """One time that an engine was loaded for a run.

    Attributes:
        conditions: engine, device, dtype and the like, as the engine reports them.
        warnings: what the engine had to say about its answers.
    """

    started: str
    environment: dict[str, str]
    git_revision: str | None
    conditions: dict[str, JsonValue]
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The content of `run.json`."""

    path: Path
    created: str
    content: dict[str, JsonValue]
    sessions: tuple[Session, ...]

    def with_session(self, conditions: dict[str, JsonValue]) -> RunRecord:
        """The record with one more session, written to disk.

        Raises:
            RunError: it cannot be written.
        """
        session = Session(_now(), environment(), git_revision(), conditions)
        record = dataclasses.replace(self, sessions=(*self.sessions, session))
        record.write()
        return record

    def with_conditions(
        self, conditions: dict[str, JsonValue], warnings: Sequence[str]
    ) -> RunRecord:
        """The record with the last session as it turned out, written to disk.

        Raises:
            RunError: it cannot be written.
        """
        last = dataclasses.replace(
            self.sessions[-1], conditions=conditions, warnings=tuple(warnings)
        )
        record = dataclasses.replace(self, sessions=(*self.sessions[:-1], last))
        record.write()
        return record

    def write(self) -> None:
        """Writes `run.json`, whole or not at all."""
        content = {
            "created": self.created,
            **self.content,
            "sessions": [dataclasses.asdict(session) for session in self.sessions],
        }
        write_atomically(
            self.path, json.dumps(content, ensure_ascii=False, indent=2, default=str) + "\n"
        )

    def differences(self) -> list[str]:
        """What differed between sessions, named: `torch`, `device`, …"""
        seen: dict[str, set[str]] = {}
        for session in self.sessions:
            facts = {**session.environment, **session.conditions, "git": session.git_revision}
            for name, value in facts.items():
                seen.setdefault(name, set()).add(str(value))
        return sorted(name for name, values in seen.items() if len(values) > 1)


class _FoundSession(BaseModel):
    started: str
    environment: dict[str, str]
    git_revision: str | None
    conditions: dict[str, AnyJson]
    warnings: list[str] = []


class _Found(BaseModel):
    """What is read back from `run.json`."""

    created: str
    options: dict[str, AnyJson]
    sessions: list[_FoundSession]


def open_record(plan: RunPlan, directory: Path) -> RunRecord:
    """The run's record: read back when the run goes on, else written anew.

    Raises:
        RunError: it cannot be written.
    """
    path = directory / "run.json"
    content: dict[str, JsonValue] = {
        "ko_eval": ko_eval.__version__,
        "fingerprint": plan.fingerprint,
        "layers": plan.layers,
        # A server's address may hold a password.
        "options": json.loads(redacted(json.dumps(dataclasses.asdict(plan.options), default=str))),
    }
    try:
        found = _Found.model_validate_json(path.read_bytes() if path.is_file() else b"")
        sessions = tuple(Session(**session.model_dump()) for session in found.sessions)
        record = RunRecord(path, found.created, content, sessions)
        if found.options != content["options"]:
            record.write()  # The same requests, asked for or judged in another way.
        return record
    except (OSError, ValueError):
        # New, or damaged: nothing in it is beyond writing again.
        record = RunRecord(path, _now(), content, ())
        record.write()
        return record


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
