"""A finished run's scores in an experiment tracker: TensorBoard, Weights & Biases or MLflow.

    for one in [tracker("tensorboard:logs"), tracker("wandb:my-team/korean"), tracker("mlflow")]:
        one.send(result, directory)

Sent are the scores with their errors, the average, the index, outcomes, tokens and time, what was
asked (model, suite, data, fingerprint), and, where the tracker keeps files, `results.json`; never a
prompt or a response. (Weights & Biases adds the machine and its packages by itself.) The run is
finished by then: whatever goes wrong here costs no result.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

from ko_eval.errors import RunError, UsageError, first_line, near_miss
from ko_eval.runs.files import safe_name
from ko_eval.runs.result import RunResult
from ko_eval.safe_text import redacted

PROJECT = "ko-eval"
"""Project or experiment where none is named."""


class Tracker(Protocol):
    """Takes finished runs."""

    def send(self, result: RunResult, directory: Path) -> str:
        """Sends a run.

        Returns:
            Where it is to be found, in words.

        Raises:
            RunError: the tracker did not take it.
        """


def tracker(target: str) -> Tracker:
    """The tracker that a text names: `tensorboard:DIR`, `wandb[:PROJECT]` or `mlflow[:URI]`.

    Raises:
        UsageError: it names none, or the tracker's library is not installed.
    """
    name, _, place = target.partition(":")
    if name not in _TRACKERS:
        raise UsageError(
            f"--track cannot be '{redacted(target)}'",
            hint=near_miss(name, _TRACKERS) + "; such as tensorboard:DIR, wandb:PROJECT, mlflow",
        )
    library, make = _TRACKERS[name]
    if importlib.util.find_spec(library) is None:
        raise UsageError(
            f"--track {name} needs the package '{library}'", hint=f"install it: pip install {name}"
        )
    return make(place)


def scalars(result: RunResult) -> dict[str, float]:
    """Every number of a run that a tracker draws, by a name with slashes; finite ones only.

    No name is the beginning of another: some stores make a folder of each part.
    """
    found: dict[str, float | None] = {}
    index = None if result.index is None else result.index.shown
    overall = {"average": result.average, "index": index}
    for name, value in overall.items():
        if value is not None:
            found |= {f"overall/{name}": value.value, f"overall/{name}_stderr": value.stderr}
    if result.index is not None:
        found |= {f"index/{part.name}": part.shown.value for part in result.index.categories}
    if result.cost is not None:
        found["overall/cost"] = result.cost.amount
    for task in result.tasks:
        found |= {
            f"score/{task.name}": task.shown.value,
            f"stderr/{task.name}": task.shown.stderr,
            f"seconds/{task.name}": task.seconds,
            f"completion_tokens/{task.name}": task.tokens.completion,
        }
        found |= {f"metrics/{task.name}/{name}": v.value for name, v in task.metrics.items()}
        found |= {f"outcomes/{task.name}/{name}": n for name, n in task.outcomes.items()}
    return {
        name: float(number)
        for name, number in found.items()
        if number is not None and math.isfinite(number)
    }


def facts(result: RunResult) -> dict[str, str]:
    """What was asked of what, for whoever compares runs in a tracker."""
    given = {
        "model": result.model.name,
        "model_revision": result.model.revision,
        "model_sha256": result.model.sha256,
        "adapter": result.model.adapter,
        "suite": result.suite,
        "tasks": " ".join(task.name for task in result.tasks),
        "data": result.data,
        "limit": result.limit,
        "seed": result.seed,
        "fingerprint": result.fingerprint,
        "engine": result.conditions.get("engine"),
        "dtype": result.conditions.get("dtype"),
        "ko_eval": result.ko_eval,
        "git_revision": result.git_revision,
        "created": result.created,
    }
    return {name: str(value) for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class TensorBoard:
    """Event files, one folder per run; a run that is sent again replaces what it sent before."""

    directory: Path

    def send(self, result: RunResult, directory: Path) -> str:
        writer = import_module("torch.utils.tensorboard").SummaryWriter
        folder = self.directory / f"{safe_name(result.model.name)}--{safe_name(directory.name)}"
        with _refusals("TensorBoard", OSError), writer(str(folder), purge_step=0) as log:
            for name, value in scalars(result).items():
                log.add_scalar(name, value, 0)
            lines = [f"- {name}: `{value}`" for name, value in facts(result).items()]
            log.add_text("run", "\n".join(lines), 0)
        return f"TensorBoard: {folder}"


@dataclass(frozen=True, slots=True)
class WandB:
    """Weights & Biases; a run that is sent again goes on under the same id.

    Where and as whom is for its own settings to say: `wandb login`, or WANDB_MODE=offline.
    """

    entity: str | None
    project: str

    def send(self, result: RunResult, directory: Path) -> str:
        wandb = import_module("wandb")
        with _refusals("Weights & Biases", OSError, wandb.Error):
            log = wandb.init(
                entity=self.entity,
                project=self.project,
                id=_identity(result, directory),
                name=f"{result.model.name} {directory.name}",
                group=result.suite,
                job_type="evaluation",
                config=facts(result),
                resume="allow",
                reinit="create_new",
                # What is printed here is ours, and goes where it should.
                settings=wandb.Settings(console="off", silent=True),
            )
            log.log(scalars(result))
            kept = wandb.Artifact(f"ko-eval-{log.id}", type="evaluation")
            kept.add_file(str(directory / "results.json"))
            log.log_artifact(kept)
            place = log.url or log.dir
            log.finish()
        return f"Weights & Biases: {place}"


@dataclass(frozen=True, slots=True)
class MLflow:
    """An MLflow server or store; each time is a run of its own, tagged with its fingerprint.

    Attributes:
        uri: None for what MLFLOW_TRACKING_URI says, or MLflow's own default.
    """

    uri: str | None

    def send(self, result: RunResult, directory: Path) -> str:
        mlflow = import_module("mlflow")
        entities = import_module("mlflow.entities")
        with _refusals("MLflow", OSError, mlflow.MlflowException):
            client = mlflow.MlflowClient(tracking_uri=self.uri)
            known = client.get_experiment_by_name(PROJECT)
            experiment = known.experiment_id if known else client.create_experiment(PROJECT)
            run = client.create_run(
                experiment,
                run_name=f"{result.model.name} {directory.name}",
                tags={"ko_eval.fingerprint": result.fingerprint},
            )
            now = run.info.start_time
            client.log_batch(
                run.info.run_id,
                metrics=[entities.Metric(k, v, now, 0) for k, v in scalars(result).items()],
                params=[entities.Param(k, v) for k, v in facts(result).items()],
            )
            client.log_artifact(run.info.run_id, str(directory / "results.json"))
            client.set_terminated(run.info.run_id)
        return f"MLflow: run {run.info.run_id} of experiment {PROJECT}"


def _tensorboard(place: str) -> Tracker:
    if not place:
        raise UsageError("--track tensorboard needs a folder", hint="write tensorboard:DIR")
    return TensorBoard(Path(place))


def _wandb(place: str) -> Tracker:
    entity, _, project = place.rpartition("/")
    return WandB(entity or None, project or PROJECT)


def _mlflow(place: str) -> Tracker:
    return MLflow(place or None)


_TRACKERS: Mapping[str, tuple[str, Callable[[str], Tracker]]] = {
    "tensorboard": ("tensorboard", _tensorboard),
    "wandb": ("wandb", _wandb),
    "mlflow": ("mlflow", _mlflow),
}


def _identity(result: RunResult, directory: Path) -> str:
    """The same for a run that is finished again, and another for every other run."""
    return hashlib.sha256(f"{result.model.name}\n{directory.name}".encode()).hexdigest()[:16]


@contextmanager
def _refusals(name: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turns what a tracker's library raises into an error that says what is safe."""
    try:
        yield
    except kinds as error:
        raise RunError(
            f"{name} did not take the scores: {redacted(first_line(error))}",
            hint="the results are on disk; the same command sends them again",
        ) from error
