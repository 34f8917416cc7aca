"""The files of a batch: what was planned, and how each model stands.

    <out>/batch-<name>/
      batch.json             the plan as it was checked: written by `ko-eval batch` alone
      slurm.json, *.sh       what was submitted, where Slurm is used
      <model's name>/
        job.json             its state: written by whoever runs it, who holds `lock`
        log.txt              what its runs printed

All JSON files are replaced whole, so that a reader never sees half of one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ko_eval.errors import DataError, RunError
from ko_eval.runs.files import write_atomically
from ko_eval.runs.holding import held
from ko_eval.runs.status import read_small

# A part of a path, and a word of a script: what a plan may call a model or itself.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
JobState = Literal["waiting", "running", "stopped", "failed", "done"]

BATCH_FILE, JOB_FILE, LOG_FILE = "batch.json", "job.json", "log.txt"
_LARGEST = 20_000_000  # bytes; a plan of a thousand models is below 2 MB
_TAIL_BYTES = 20_000
_TAIL_LINES = 5
# Bars and colours of other programs in a log; of a sequence that is cut off, the rest stays.
_ESCAPE = re.compile(r"\x1b\[[0-9;?]{0,32}[A-Za-z]")


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Job(_Part):
    """A model of a checked plan.

    Attributes:
        key: hash of the model, everything it is asked and how: a finished job with the same key is
            not run again.
        commands: arguments of `ko-eval`, one list per run, paths made absolute.
        slurm: settings as in the plan.
    """

    name: Name
    model: str
    gpus: int
    key: str
    commands: list[list[str]]
    requeues: int = 0


class BatchRecord(_Part):
    """The content of `batch.json`."""

    version: Literal[1] = 1
    name: Name
    plan: str
    on: str
    out: str
    folder: str = Field(description="that the command was started in, and runs are")
    ko_eval: str
    host: str
    created: str
    jobs: list[Job]


class JobRecord(_Part):
    """The content of `job.json`.

    Attributes:
        process, host: of the program that watches over the runs.
        run_processes: `host:process` of its runs, the one in hand or the last one at the end.
        updated: rewritten every few seconds while it lives.
        results: the run directories of the runs that ended well.
        error: the last lines of what went wrong.
        environment: versions, GPUs, and the ids that a cluster gave.
    """

    name: str
    key: str
    state: JobState
    attempts: int = 0
    process: int | None = None
    host: str | None = None
    started: str | None = None
    updated: str = ""
    exit_code: int | None = None
    error: list[str] = []
    results: list[str] = []
    run_processes: list[str] = []
    environment: dict[str, str] = {}


def now() -> str:
    """This moment in UTC, as records have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read_batch(directory: Path) -> BatchRecord:
    """The record of a batch.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    path = directory / BATCH_FILE
    try:
        return BatchRecord.model_validate_json(read_small(path, _LARGEST))
    except (OSError, ValueError) as error:
        raise DataError(
            "the record of the batch cannot be read",
            where=str(path),
            hint="run `ko-eval batch` with its plan again",
        ) from error


def write_batch(directory: Path, record: BatchRecord) -> None:
    """Writes `batch.json`.

    Raises:
        RunError: there is no room or no right to write.
    """
    write_atomically(directory / BATCH_FILE, record.model_dump_json(indent=1) + "\n")


def read_job(directory: Path, name: str) -> JobRecord | None:
    """The state of a model; None where there is none that can be read."""
    try:
        return JobRecord.model_validate_json(read_small(directory / name / JOB_FILE, _LARGEST))
    except (OSError, ValueError):
        return None


def write_job(directory: Path, record: JobRecord) -> JobRecord:
    """Writes a model's state, with the time of now, and returns it.

    Raises:
        RunError: there is no room or no right to write.
    """
    record = record.model_copy(update={"updated": now()})
    path = directory / record.name / JOB_FILE
    write_atomically(path, record.model_dump_json(indent=1) + "\n")
    return record


def take(directory: Path, jobs: Sequence[Job], say: Callable[[str], None]) -> list[Job]:
    """Notes models as waiting before they are handed over to whoever runs them, and returns them.

    One that another process is at, such as one left over from a batch that was killed, is told and
    left to it.

    Raises:
        RunError: none could be taken.
    """
    taken: list[Job] = []
    problem: RunError | None = None
    for job in jobs:
        try:
            mark_waiting(directory, job)
        except RunError as error:
            problem = error
            say(f"{job.name}: left alone: {error.what}")
        else:
            taken.append(job)
    if problem is not None and not taken:
        raise problem
    return taken


def mark_waiting(directory: Path, job: Job) -> None:
    """Notes that a model will be run.

    Raises:
        RunError: another process is at it, or there is no room or no right to write.
    """
    with held(directory / job.name):
        before = read_job(directory, job.name)
        write_job(
            directory,
            JobRecord(
                name=job.name,
                key=job.key,
                state="waiting",
                attempts=before.attempts if before and before.key == job.key else 0,
                run_processes=before.run_processes if before else [],
            ),
        )


def note_lost(directory: Path, job: Job, more: Sequence[str] = ()) -> None:
    """A model whose process ended without saying how has failed.

    Args:
        more: lines on what is known of it.
    """
    record = read_job(directory, job.name)
    if record is None or record.key != job.key or record.state not in ("waiting", "running"):
        return
    error = [
        "error: the process that ran it is gone without a word: killed, out of memory, node lost",
        *more,
        *last_lines(directory / job.name / LOG_FILE)[-3:],
    ]
    write_job(directory, record.model_copy(update={"state": "failed", "error": error}))


def is_done(record: JobRecord | None, job: Job) -> bool:
    """Whether a model's results are there, of exactly what is asked now."""
    return (
        record is not None
        and record.state == "done"
        and record.key == job.key
        and len(record.results) == len(job.commands)
        and all((Path(run) / "results.json").is_file() for run in record.results)
    )


def last_lines(log: Path, start: int = 0) -> list[str]:
    """The end of a log, without what only a terminal understands: the last error message, or else
    the last few lines.

    Args:
        start: bytes at the beginning that belong to earlier attempts.
    """
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(start, size - _TAIL_BYTES))
            text = file.read(_TAIL_BYTES).decode(errors="replace")
    except OSError:
        return []
    plain = _ESCAPE.sub("", text.replace("\r", "\n"))
    lines = [line.rstrip()[:300] for line in plain.split("\n") if line.strip()]
    errors = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    return lines[errors[-1] :][:_TAIL_LINES] if errors else lines[-_TAIL_LINES:]
