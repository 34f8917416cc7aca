"""How far a batch is, or any folder of runs: read from files alone, from any machine that sees
them. Runs come from their own directories, and what has no directory yet from the batch's record.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from ko_eval.cluster.batch_record import BATCH_FILE, Job, JobRecord, read_batch, read_job
from ko_eval.errors import DataError
from ko_eval.runs.status import (
    RunStatus,
    StatusName,
    find_runs,
    folders,
    is_alive,
    seconds_since,
)

# Whoever watches over a run writes every ten seconds, even when the model says nothing.
_BEAT_LOST_SECONDS = 300.0


def read_status(root: Path) -> list[RunStatus]:
    """The runs under an output root (or one run), sorted by place, and the models of its batches
    that have none yet; of a batch's folder, its models in the order of the plan.

    Raises:
        DataError: there is no such folder, or it cannot be read.
    """
    if not root.is_dir():
        raise DataError(
            f"there is no folder '{root}'", hint="give the output root of a run or batch (--out)"
        )
    if not os.access(root, os.R_OK | os.X_OK):
        raise DataError(f"the folder '{root}' cannot be read", hint="ask its owner for the right")
    if (root / BATCH_FILE).is_file():
        found = _Found(list(find_runs(root.parent)))
        return [run for _, run in found.of_batch(root)]
    found = _Found(list(find_runs(root)))
    without: list[RunStatus] = []
    for directory in _batches(root):
        for index, run in found.of_batch(directory):
            if index is None:
                without.append(run)
            else:
                found.runs[index] = run
    return [*found.runs, *without]


class _Found:
    """Runs that were found, and how a batch knows them."""

    def __init__(self, runs: list[RunStatus]) -> None:
        self.runs = runs
        self._by_process = {f"{run.host}:{run.process}": i for i, run in enumerate(runs)}
        self._by_place = {r.directory.parts[-2:]: i for i, r in enumerate(runs) if r.directory}

    def of_batch(self, directory: Path) -> Iterator[tuple[int | None, RunStatus]]:
        """The models of a batch: each of their runs with its index, or what stands for one."""
        try:
            jobs = read_batch(directory).jobs
        except DataError as error:
            yield None, RunStatus(directory.name, directory, "unreadable", error=error.what)
            return
        for job in jobs:
            record = read_job(directory, job.name)
            mine = self._indices(record)
            for index in mine:
                yield index, _joined(self.runs[index], job, record)
            if not mine:
                yield None, _without_run(job, record)

    def _indices(self, record: JobRecord | None) -> list[int]:
        """Which runs are a model's: by the place that they named in the end, or by process."""
        if record is None:
            return []
        found = {self._by_place.get(Path(result).parts[-2:]) for result in record.results}
        found |= {self._by_process.get(process) for process in record.run_processes}
        return sorted(index for index in found if index is not None)


def _batches(root: Path) -> Iterator[Path]:
    for directory in folders(root):
        if directory.name.startswith("batch-") and os.path.lexists(directory / BATCH_FILE):
            yield directory


def _joined(run: RunStatus, job: Job, record: JobRecord | None) -> RunStatus:
    """A run as the batch knows it: by its name there, and judged by whoever watches over it."""
    run = dataclasses.replace(run, name=job.name)
    if record is None or run.state == "done" or run.state == "unreadable":
        return run
    current = bool(record.run_processes) and (
        f"{run.host}:{run.process}" == record.run_processes[-1]
    )
    if record.state in ("waiting", "failed") and (current or not record.results):
        error = "\n".join(record.error) or run.error
        return dataclasses.replace(run, state=record.state, error=error)
    if record.state == "running":
        watched = _watched(record)
        if watched == "loading" and not current:
            # The next process has not found its place yet.
            return dataclasses.replace(run, state="loading", error=None)
        if watched == "loading" and run.state == "silent":
            return dataclasses.replace(run, state="running")
        if watched == "silent" and run.state in ("loading", "running"):
            return dataclasses.replace(run, state="silent")
    return run


def _without_run(job: Job, record: JobRecord | None) -> RunStatus:
    if record is None or record.key != job.key:
        return RunStatus(job.name, None, "waiting")
    state: StatusName
    match record.state:
        case "running":
            state = _watched(record)
        case "done":
            state = "stopped"  # its results were there once
        case _:
            state = record.state
    return RunStatus(job.name, None, state, host=record.host, error="\n".join(record.error) or None)


def _watched(record: JobRecord) -> StatusName:
    """Whether somebody watches over a model that is said to be running."""
    alive = is_alive(record.host or "", record.process or 0) if record.process else False
    if alive is False:
        return "dead"
    try:
        silent = seconds_since(record.updated) > _BEAT_LOST_SECONDS
    except ValueError:
        silent = True
    return "silent" if alive is None and silent else "loading"
