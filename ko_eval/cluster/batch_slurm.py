"""Evaluates the models of a batch on a Slurm cluster: arrays with an element per model.

Models that ask for the same GPUs, time and so on share an array. How each stands is read from its
own file; `squeue` only tells that a job is gone. The output root must be a folder that all nodes
see.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ko_eval.cluster import slurm_queue
from ko_eval.cluster.batch_news import News
from ko_eval.cluster.batch_plan import SlurmSettings
from ko_eval.cluster.batch_record import (
    Job,
    JobRecord,
    last_lines,
    note_lost,
    now,
    take,
)
from ko_eval.cluster.slurm_queue import Queued
from ko_eval.cluster.slurm_script import array_script
from ko_eval.errors import RunError, Stopped, TaskError, near_miss
from ko_eval.runs.files import write_atomically
from ko_eval.runs.status import read_small

_LOOK_SECONDS = 2.0
_ASK_SECONDS = 15.0
_FILE = "slurm.json"
_LARGEST = 10_000_000


class Submission(BaseModel):
    """An array that was handed in; element N evaluates `names[N]`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    array: int
    names: list[str]
    script: str
    submitted: str


class _Submissions(BaseModel):
    """The content of `slurm.json`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    submissions: list[Submission] = []


@dataclass(slots=True)
class SlurmExecutor:
    """Runs models as elements of Slurm arrays.

    Attributes:
        directory: of the batch.
        settings: by the models' names.
        wait: whether to stay until all of them are done.
    """

    batch: str
    directory: Path
    settings: dict[str, SlurmSettings]
    news: News
    wait: bool = True
    _missed: dict[str, int] = field(default_factory=dict)
    _warned: set[str] = field(default_factory=set)

    def most_gpus(self) -> int | None:
        """How many the largest node has.

        Raises:
            UsageError: there is no Slurm here.
            RunError: its controller does not answer.
            TaskError: it has no such partition.
        """
        slurm_queue.check_slurm()
        known = slurm_queue.partitions()
        for settings in self.settings.values():
            if settings.partition and settings.partition not in known:
                raise TaskError(
                    f"Slurm has no partition '{settings.partition}'",
                    where="field 'slurm.partition'",
                    hint=near_miss(settings.partition, known),
                )
        return slurm_queue.most_gpus()

    def run(self, jobs: Sequence[Job]) -> None:
        """Hands in what is not queued yet and, if asked to, waits until all of it ended.

        Raises:
            KoEvalError: Slurm does not take a job; none of them is queued then.
            Stopped: a signal asked to stop waiting; queued jobs go on.
        """
        live = {name: q for name, q in self._live().items() if q.state != "COMPLETING"}
        fresh = [job for job in jobs if job.name not in live]
        for job in jobs:
            if job.name in live:
                self.news.say(f"{job.name}: still in Slurm's queue, not submitted again")
        self._submit(take(self.directory, fresh, self.news.say))
        if not self.wait:
            self.news.say(self._how_to_look(jobs))
            return
        try:
            self._until_ended(jobs)
        except (KeyboardInterrupt, Stopped):
            self.news.say("\nqueued jobs go on without this command\n" + self._how_to_look(jobs))
            raise

    def _submit(self, jobs: Sequence[Job]) -> None:
        alike: dict[str, list[Job]] = defaultdict(list)
        for job in jobs:
            alike[f"{job.gpus} {self.settings[job.name].model_dump_json()}"].append(job)
        scripts = []
        for number, group in enumerate(alike.values()):
            path = self.directory / f"submit-{now().replace(':', '')[:17]}-{number}.sh"
            names = [job.name for job in group]
            settings = self.settings[group[0].name]
            content = array_script(self.batch, self.directory, names, group[0].gpus, settings)
            write_atomically(path, content)
            slurm_queue.check_script(path)
            scripts.append((path, group))
        for path, group in scripts:
            array = slurm_queue.submit(path)
            names = [job.name for job in group]
            self._remember(Submission(array=array, names=names, script=path.name, submitted=now()))
            self.news.say(f"submitted Slurm array {array}: {', '.join(names)}")

    def _until_ended(self, jobs: Sequence[Job]) -> None:
        asked = time.monotonic()
        while True:
            states = self.news.look(jobs)
            open_jobs = [job for job in jobs if not _ended(states.get(job.name))]
            if not open_jobs:
                return
            if time.monotonic() - asked > _ASK_SECONDS:
                asked = time.monotonic()
                if not self._some_are_queued(open_jobs):
                    self.news.look(jobs)
                    return
            time.sleep(_LOOK_SECONDS)

    def _some_are_queued(self, jobs: Sequence[Job]) -> bool:
        """Asks Slurm for jobs; one that it did not know twice has ended without telling us."""
        try:
            live = self._live()
        except RunError as error:
            self._warn(str(error))
            return True
        waited_for = False
        for job in jobs:
            if job.name in live:
                self._missed.pop(job.name, None)
                self._warn_of_held(job, live[job.name])
            else:
                self._missed[job.name] = self._missed.get(job.name, 0) + 1
            if self._missed.get(job.name, 0) < 2:
                waited_for = True
            else:
                path = self._output(job.name)
                note_lost(self.directory, job, last_lines(path)[-2:] if path else ())
        return waited_for

    def _output(self, name: str) -> Path | None:
        """What Slurm kept of what an element's script printed."""
        for submission in reversed(self._submissions()):
            if name in submission.names:
                index = submission.names.index(name)
                return self.directory / f"slurm-{submission.array}_{index}.txt"
        return None

    def _live(self) -> dict[str, Queued]:
        """By name, what Slurm still knows of this batch."""
        places = {
            (submission.array, index): name
            for submission in self._submissions()
            for index, name in enumerate(submission.names)
        }
        if not places:
            return {}
        found = slurm_queue.queued()
        return {places[q.array, q.index]: q for q in found if (q.array, q.index) in places}

    def _submissions(self) -> list[Submission]:
        try:
            content = read_small(self.directory / _FILE, _LARGEST)
            return _Submissions.model_validate_json(content).submissions
        except (OSError, ValueError):
            return []

    def _remember(self, submission: Submission) -> None:
        content = _Submissions(submissions=[*self._submissions(), submission])
        write_atomically(self.directory / _FILE, content.model_dump_json(indent=1) + "\n")

    def _how_to_look(self, jobs: Sequence[Job]) -> str:
        # A model's last submission is the one that counts.
        last = {name: s.array for s in self._submissions() for name in s.names}
        arrays = [str(array) for array in sorted({last[j.name] for j in jobs if j.name in last})]
        return (
            f"  to see them: squeue --job {','.join(arrays)}, or ko-eval status "
            f"{self.directory.parent}\n"
            f"  to end them: scancel {' '.join(arrays)}"
        )

    def _warn_of_held(self, job: Job, element: Queued) -> None:
        held = "Held" in element.reason or element.reason.startswith(("launch", "BadConstraints"))
        if element.state == "PENDING" and held:
            self._warn(
                f"{job.name}: Slurm holds job {element.array}_{element.index} back "
                f"({element.reason}); `scontrol release` lets it go, `scancel` ends it"
            )

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self.news.say(f"warning: {text}")


def _ended(record: JobRecord | None) -> bool:
    return record is not None and record.state in ("done", "failed")
