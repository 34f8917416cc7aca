"""Evaluates the models of a batch on this machine: as many at once as its GPUs allow."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from ko_eval.cluster.batch_news import News
from ko_eval.cluster.batch_record import LOG_FILE, Job, note_lost, take
from ko_eval.errors import Stopped

# A run that is told to stop takes five seconds at most, and a little to leave.
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.1
_TELL_SECONDS = 1.0


def visible_gpus() -> list[str]:
    """The GPUs of this machine as CUDA_VISIBLE_DEVICES would name them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [part.strip() for part in named.split(",") if part.strip() not in ("", "-1")]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def runner_command(directory: Path, name: str) -> list[str]:
    """The command that evaluates one model of a batch."""
    return [sys.executable, "-P", "-m", "ko_eval.cluster.batch_job", str(directory), name]


@dataclass(slots=True)
class _Started:
    job: Job
    gpus: list[str]
    process: subprocess.Popen[bytes]


@dataclass(slots=True)
class LocalExecutor:
    """Runs models as processes of this machine.

    Attributes:
        parallel: most models at a time; None for as many as have their GPUs, and one where a model
            uses none.
    """

    directory: Path
    news: News
    parallel: int | None
    gpus: list[str] = field(default_factory=visible_gpus)
    _running: list[_Started] = field(default_factory=list)
    _free: list[str] = field(default_factory=list)
    _told: float = 0.0

    def most_gpus(self) -> int | None:
        """How many one model can have."""
        return len(self.gpus)

    def run(self, jobs: Sequence[Job]) -> None:
        """Runs models to their end, well or not; those that need most GPUs first.

        Raises:
            Stopped: a signal asked for it; every model has stopped as well.
        """
        self._free = list(self.gpus)
        jobs = take(self.directory, jobs, self.news.say)
        waiting = sorted(jobs, key=lambda job: -job.gpus)
        try:
            while waiting or self._running:
                for job in [job for job in waiting if self._fits(job)]:
                    if self._fits(job):
                        waiting.remove(job)
                        self._start(job)
                time.sleep(_POLL_SECONDS)
                self._collect()
                self._tell(jobs)
        except KeyboardInterrupt:
            self._stop(signal.SIGINT)
        except Stopped as stop:
            self._stop(stop.signal)

    def _fits(self, job: Job) -> bool:
        if self.parallel is not None and len(self._running) >= self.parallel:
            return False
        if job.gpus:
            return job.gpus <= len(self._free)
        return self.parallel is not None or not any(s.job.gpus == 0 for s in self._running)

    def _start(self, job: Job) -> None:
        mine, self._free = self._free[: job.gpus], self._free[job.gpus :]
        folder = self.directory / job.name
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LOG_FILE).open("ab") as log:
            process = subprocess.Popen(
                runner_command(self.directory, job.name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": ",".join(mine)},
                start_new_session=True,  # Ctrl-C is for us, who pass it on once
            )
        self._running.append(_Started(job, mine, process))

    def _collect(self) -> None:
        for started in [s for s in self._running if s.process.poll() is not None]:
            self._running.remove(started)
            self._free += started.gpus
            note_lost(self.directory, started.job)
            self._told = 0.0

    def _tell(self, jobs: Sequence[Job]) -> None:
        if time.monotonic() - self._told > _TELL_SECONDS:
            self.news.look(jobs)
            self._told = time.monotonic()

    def _stop(self, number: int) -> NoReturn:
        """Lets every model finish what it has in hand; a second signal ends them at once."""
        for started in self._running:
            with suppress(ProcessLookupError):
                started.process.terminate()
        until = time.monotonic() + _STOP_SECONDS
        try:
            while self._running and time.monotonic() < until:
                time.sleep(_POLL_SECONDS)
                self._collect()
        finally:
            for started in self._running:
                with suppress(ProcessLookupError):
                    os.killpg(started.process.pid, signal.SIGKILL)
                started.process.wait()
        raise Stopped(number)
