"""Evaluates one model of a batch, wherever a batch puts it:

    python -m ko_eval.cluster.batch_job BATCH_DIRECTORY NAME

Starts `ko-eval run` once per suite, writes what it prints to the model's log, keeps its state on
disk, and passes on a request to stop. Exit codes: that of the run that ended it; 75 where another
process is at this model already.
"""

from __future__ import annotations

import os
import platform
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import BinaryIO

import ko_eval
from ko_eval.cluster.batch_record import (
    LOG_FILE,
    BatchRecord,
    Job,
    JobRecord,
    is_done,
    last_lines,
    now,
    read_batch,
    read_job,
    write_job,
)
from ko_eval.cluster.slurm_requeue import element, requeue
from ko_eval.errors import KoEvalError, RunError
from ko_eval.runs.holding import held
from ko_eval.runs.status import find_runs

BUSY = 75
_MOST_PROCESSES = 50  # that are remembered
_BEAT_SECONDS = 10.0
# Slurm tells a whole job to end, so a run has heard it as well; a second signal would end it at
# once. It is passed on when a run that heard it would have ended.
_SLURM_TELLS_ALL_SECONDS = 8.0
_STOPPED = {128 + signal.SIGINT, 128 + signal.SIGTERM}
_SAMPLES_FAILED = 1
_NO_RESULT = 70  # EX_SOFTWARE: it ended well, but left no results


class Watch:
    """Watches over the runs of one model.

    Attributes:
        told: the signal that asked to stop; None as long as there was none.
    """

    def __init__(self, directory: Path, batch: BatchRecord, job: Job) -> None:
        self.directory = directory
        self.batch = batch
        self.job = job
        self.told: int | None = None
        self._pass_on_at: float | None = None
        self._child: subprocess.Popen[bytes] | None = None
        before = read_job(directory, job.name)
        self.record = JobRecord(
            name=job.name,
            key=job.key,
            state="running",
            attempts=1 + (before.attempts if before and before.key == job.key else 0),
            process=os.getpid(),
            host=socket.gethostname(),
            started=now(),
            run_processes=before.run_processes if before else [],
            environment=_environment(),
        )

    def run(self) -> int:
        """Runs what the model is asked, and returns the exit code."""
        # Workers of Ray have children reaped unseen, and processes that they start inherit it: a
        # run that failed would seem to have ended with 0.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, self._received)
        self._note()
        log = self.directory / self.job.name / LOG_FILE
        final = 0
        error: list[str] = []
        with log.open("ab") as file:
            for command in self.job.commands:
                start = file.seek(0, os.SEEK_END)
                code = self._one(command, file)
                if code == 0 and (directory := self._result_directory()):
                    self._note(results=[*self.record.results, str(directory)])
                    continue
                final = code or _NO_RESULT
                error = _last_words(final, log, start)
                # Samples that fail again and again are no reason to leave the other suites out.
                if final != _SAMPLES_FAILED:
                    break
        self._note_end(final, error)
        return final

    def _note_end(self, code: int, error: list[str]) -> None:
        if code == 0:
            self._note(state="done", exit_code=0)
        elif code in _STOPPED:
            self._note(state="stopped", exit_code=code)
        else:
            self._note(state="failed", exit_code=code, error=error)

    def _one(self, command: list[str], log: BinaryIO) -> int:
        if self._must_stop():
            return 128 + signal.SIGTERM
        folder = Path(self.batch.folder)
        log.write(f"== {now()} ko-eval {shlex.join(command)}\n".encode())
        log.flush()
        # -P: nothing is imported from the folder that the command happens to run in.
        with subprocess.Popen(
            [sys.executable, "-P", "-m", "ko_eval.cli.main", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder if folder.is_dir() else self.directory,
        ) as child:
            self._child = child
            if self._must_stop():
                self._pass_on()
            processes = [*self.record.run_processes, f"{self.record.host}:{child.pid}"]
            self._note(run_processes=processes[-_MOST_PROCESSES:])
            code = self._ended(child)
            self._child = None
        return 128 - code if code < 0 else code

    def _ended(self, child: subprocess.Popen[bytes]) -> int:
        while True:
            beat = time.monotonic() + _BEAT_SECONDS
            while time.monotonic() < beat:
                try:
                    return child.wait(timeout=0.2)
                except subprocess.TimeoutExpired:
                    pass
                if self._pass_on_at is not None and time.monotonic() > self._pass_on_at:
                    self._pass_on()
            self._note()

    def _result_directory(self) -> Path | None:
        """The run directory of the run that just ended; what it prints is not exact enough, since
        secrets and letters that a terminal obeys are left out of it."""
        last = self.record.run_processes[-1]
        found = [
            run
            for run in find_runs(Path(self.batch.out))
            if f"{run.host}:{run.process}" == last and run.state == "done"
        ]
        # An older run can have had a process of the same number.
        newest = min(found, key=lambda run: run.updated or 0.0, default=None)
        return None if newest is None else newest.directory

    def _received(self, number: int, frame: FrameType | None) -> None:
        if self.told is not None:
            return
        self.told = number
        from_slurm = element() is not None and number == signal.SIGTERM
        self._pass_on_at = time.monotonic() + (_SLURM_TELLS_ALL_SECONDS if from_slurm else 0.0)

    def _pass_on(self) -> None:
        self._pass_on_at = None
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)

    def _must_stop(self) -> bool:
        return self.told is not None

    def _note(self, **changes: object) -> None:
        """Writes the state; a disk without room ends the run itself, and is told there."""
        self.record = self.record.model_copy(update=changes)
        try:
            write_job(self.directory, self.record)
        except RunError as error:
            sys.stderr.write(f"warning: {error}\n")


def _environment() -> dict[str, str]:
    """Versions, and what a cluster says of itself; no other variable, since some are secret."""
    told = {
        name: value
        for name, value in os.environ.items()
        if name in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
        or name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID")
        or name in ("SLURM_RESTART_COUNT", "SLURM_JOB_PARTITION", "SLURM_JOB_NODELIST")
    }
    versions = {"ko-eval": ko_eval.__version__, "python": platform.python_version()}
    return {**versions, "platform": platform.platform(), **told}


def _last_words(code: int, log: Path, start: int) -> list[str]:
    error = last_lines(log, start) or ["it ended without a word"]
    if code == 128 + signal.SIGKILL:
        error.append("it was killed; a machine without enough memory does that")
    return error


def run_job(directory: Path, name: str) -> int:
    """Evaluates a model of a batch, and returns the exit code.

    Raises:
        DataError: there is no such batch.
    """
    batch = read_batch(directory)
    job = next((job for job in batch.jobs if job.name == name), None)
    if job is None:
        sys.stderr.write(f"error: the batch has no model '{name}'\n  where: {directory}\n")
        return 2
    try:
        with held(directory / name):
            if is_done(read_job(directory, name), job):
                return 0  # by another process, since this one was queued
            watch = Watch(directory, batch, job)
            code = watch.run()
            if watch.told == signal.SIGUSR1 and watch.record.state == "stopped":
                return requeue(directory, watch.record, job.requeues)
            return code
    except RunError as error:
        sys.stderr.write(f"error: {error}\n")
        return BUSY


def main() -> None:
    """Entry point."""
    if len(sys.argv) != 3:
        raise SystemExit("usage: python -m ko_eval.cluster.batch_job BATCH_DIRECTORY NAME")
    try:
        code = run_job(Path(sys.argv[1]), sys.argv[2])
    except KoEvalError as error:
        sys.stderr.write(f"error: {error}\n")
        code = error.exit_code
    raise SystemExit(code)


if __name__ == "__main__":
    main()
