"""`ko-eval batch`: checks a plan, runs what is missing of it, and says how each model ended."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import ko_eval
from ko_eval.cluster.batch_check import PlanCheck, RunArguments, Where, name_of
from ko_eval.cluster.batch_news import News, Say
from ko_eval.cluster.batch_plan import BatchPlan, read_plan
from ko_eval.cluster.batch_record import (
    BatchRecord,
    Job,
    JobRecord,
    is_done,
    now,
    read_job,
    write_batch,
)
from ko_eval.errors import UsageError
from ko_eval.runs.holding import held


class Executor(Protocol):
    """A place where models are evaluated."""

    def most_gpus(self) -> int | None:
        """How many GPUs one model can have; None where that is not known.

        Raises:
            KoEvalError: the place cannot be used.
        """

    def run(self, jobs: Sequence[Job]) -> None:
        """Runs models to their end, well or not, and leaves their states on disk.

        Raises:
            Stopped: a signal asked for it.
        """


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What the user asked for.

    Attributes:
        ray_address: of a Ray cluster; only for `ray`.
        wait: with Slurm, whether to stay until all models are done.
    """

    plan: Path
    on: Where = "local"
    ray_address: str | None = None
    wait: bool = True


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """How a batch stands when the command ends.

    Attributes:
        records: by name; a model without one was not begun.
    """

    directory: Path
    jobs: tuple[Job, ...]
    records: dict[str, JobRecord]

    @property
    def failed(self) -> list[JobRecord]:
        """Models that failed, in the order of the plan."""
        return [r for j in self.jobs if (r := self.records.get(j.name)) and r.state == "failed"]

    @property
    def unfinished(self) -> list[str]:
        """Names of all models that are not done."""
        return [job.name for job in self.jobs if not is_done(self.records.get(job.name), job)]


def batch_directory(plan: BatchPlan) -> Path:
    """Where a plan's batch keeps its files, as an absolute path."""
    return Path(plan.out).resolve() / f"batch-{plan.name}"


def check_batch(options: BatchOptions, arguments: RunArguments, say: Say) -> list[Job]:
    """What a plan would run; nothing is started.

    Raises:
        KoEvalError: something must be changed.
    """
    plan = read_plan(options.plan)
    with _executor(options, plan, News(batch_directory(plan), say)) as executor:
        return PlanCheck(plan, options.plan, arguments, options.on, executor.most_gpus()).jobs()


def run_batch(options: BatchOptions, arguments: RunArguments, say: Say) -> BatchOutcome:
    """Runs what is missing of a plan.

    Raises:
        KoEvalError: something must be changed; nothing was started.
        Stopped: a signal asked for it; what is finished is kept.
    """
    plan = read_plan(options.plan)
    directory = batch_directory(plan)
    news = News(directory, say)
    with _executor(options, plan, news) as executor:
        jobs = PlanCheck(plan, options.plan, arguments, options.on, executor.most_gpus()).jobs()
        with held(directory, say):
            write_batch(directory, _record(options, plan, jobs))
            missing = [job for job in jobs if not is_done(read_job(directory, job.name), job)]
            say(f"{len(jobs)} models, {len(jobs) - len(missing)} of them done before: {directory}")
            if missing:
                executor.run(missing)
            news.look(missing)
        found = {job.name: read_job(directory, job.name) for job in jobs}
        records = {j.name: r for j in jobs if (r := found[j.name]) and r.key == j.key}
        return BatchOutcome(directory, tuple(jobs), records)


def _record(options: BatchOptions, plan: BatchPlan, jobs: list[Job]) -> BatchRecord:
    return BatchRecord(
        name=plan.name,
        plan=str(options.plan.resolve()),
        on=options.on,
        out=str(Path(plan.out).resolve()),
        folder=str(Path.cwd()),
        ko_eval=ko_eval.__version__,
        host=socket.gethostname(),
        created=now(),
        jobs=jobs,
    )


@contextmanager
def _executor(options: BatchOptions, plan: BatchPlan, news: News) -> Iterator[Executor]:
    if options.ray_address is not None and options.on != "ray":
        raise UsageError("--ray-address was given", hint="it belongs to --on ray")
    if not options.wait and options.on != "slurm":
        raise UsageError("--no-wait was given", hint="it belongs to --on slurm")
    directory = news.directory
    match options.on:
        case "local":
            from ko_eval.cluster.batch_local import LocalExecutor

            yield LocalExecutor(directory, news, plan.parallel)
        case "ray":
            from ko_eval.cluster.batch_local import visible_gpus
            from ko_eval.cluster.batch_ray import RayExecutor
            from ko_eval.cluster.ray_session import check_installed, ray_session

            check_installed()
            gpus = 0 if options.ray_address else len(visible_gpus())
            with ray_session(options.ray_address, cpus=plan.parallel or 1, gpus=gpus):
                yield RayExecutor(directory, news)
        case "slurm":
            from ko_eval.cluster.batch_slurm import SlurmExecutor

            settings = {name_of(entry): plan.slurm_of(entry) for entry in plan.models}
            yield SlurmExecutor(plan.name, directory, settings, news, options.wait)
