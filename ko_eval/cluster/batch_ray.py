"""Evaluates the models of a batch on a Ray cluster: a task per model, with the GPUs it asks for.

The output root must be a folder that every node sees, and ko-eval installed on each of them. A
model whose node is lost is started again on another and goes on from its journal.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ko_eval.cluster.batch_local import runner_command
from ko_eval.cluster.batch_news import News
from ko_eval.cluster.batch_record import Job, note_lost, take
from ko_eval.cluster.ray_session import nodes
from ko_eval.errors import Stopped, first_line

_RESTARTS = 3
_LOOK_SECONDS = 0.2
_STOP_SECONDS = 30.0


def _watched(directory: str, name: str) -> int:
    """Runs on a node: evaluates a model, and stops it when Ray cancels the task."""
    with subprocess.Popen(
        runner_command(Path(directory), name),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            # In short waits: Ray's way to cancel a task interrupts no wait for a process.
            while process.poll() is None:
                time.sleep(_LOOK_SECONDS)
            return process.returncode
        except BaseException:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
            raise


@dataclass(slots=True)
class RayExecutor:
    """Runs models as Ray tasks, within a `ray_session`."""

    directory: Path
    news: News

    def most_gpus(self) -> int | None:
        """How many the node with most of them has."""
        return max((node.gpus for node in nodes()), default=0)

    def run(self, jobs: Sequence[Job]) -> None:
        """Runs models to their end, well or not.

        Raises:
            Stopped: a signal asked for it; the models were told as well.
        """
        import ray

        jobs = take(self.directory, jobs, self.news.say)
        watched = ray.remote(_watched)
        waiting = [
            watched.options(
                num_gpus=job.gpus, num_cpus=1, max_retries=_RESTARTS, name=f"ko-eval {job.name}"
            ).remote(str(self.directory), job.name)
            for job in jobs
        ]
        try:
            while waiting:
                # In short waits, between which a signal is heard.
                finished, waiting = ray.wait(waiting, num_returns=1, timeout=1.0)
                for one in finished:
                    self._take(one)
                self.news.look(jobs)
        except KeyboardInterrupt:
            _stop(waiting, signal.SIGINT)
        except Stopped as stop:
            _stop(waiting, stop.signal)
        for job in jobs:
            note_lost(self.directory, job)

    def _take(self, one: Any) -> None:
        import ray

        try:
            ray.get(one)
        except ray.exceptions.RayError as error:
            self.news.say(f"warning: a Ray task was lost: {first_line(error)}")


def _stop(waiting: Sequence[Any], number: int) -> NoReturn:
    import ray

    for one in waiting:
        ray.cancel(one, force=False)
    if waiting:
        ray.wait(list(waiting), num_returns=len(waiting), timeout=_STOP_SECONDS)
    raise Stopped(number)
