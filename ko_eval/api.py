"""ko-eval from Python, for notebooks and scripts: `ko-eval run` as one call.

    import ko_eval

    outcome = ko_eval.evaluate("demo", tasks=["ko_gsm8k", "ko_ifeval"], limit=20)
    outcome                        # the table of scores
    outcome.average.value, outcome.index
    outcome.samples("ko_gsm8k")    # one row per sample, as a pandas frame

It is the same run as the command's: the same directory, which the command finds and goes on with.
Warnings go to the logger `ko_eval`; they are in the result as well.
"""

from __future__ import annotations

import dataclasses
import logging
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeGuard, Unpack

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from pydantic import JsonValue as AnyJson

# Before Python 3.12, pydantic needs this one.
from typing_extensions import TypedDict

from ko_eval.cluster.replicas import engine_loader
from ko_eval.engines.base import LikelihoodPath
from ko_eval.engines.encoding import ChatTemplate
from ko_eval.engines.server_options import server_options
from ko_eval.engines.transformers_loading import LoadOptions
from ko_eval.engines.vllm_options import EngineChoice, VllmOptions
from ko_eval.errors import DataError, RunError, Stopped, UsageError, near_miss
from ko_eval.interop.tracking import tracker
from ko_eval.reports.table import result_table
from ko_eval.runs.evaluate import Reporter
from ko_eval.runs.evaluate import evaluate as run
from ko_eval.runs.index import with_index
from ko_eval.runs.plan import RunOptions
from ko_eval.runs.result import Index, RunResult, Value, read_result
from ko_eval.runs.sample_files import read_samples

if TYPE_CHECKING:
    from pandas import DataFrame  # type: ignore[import-untyped]

Positive = Annotated[int, Field(ge=1)]
_WIDTH = 120


class Options(TypedDict, total=False):
    """What `ko-eval run` takes beside the parameters of `evaluate`, under the same names."""

    variant: str | None
    shots: Annotated[int, Field(ge=0)] | None
    allow_fewshot_overlap: bool
    chat_template: ChatTemplate
    engine: EngineChoice
    model_name: str | None
    concurrency: Annotated[int, Field(ge=1, le=1024)] | None
    thinking_tokens: Annotated[int, Field(ge=0)] | None
    request_timeout: Annotated[float, Field(ge=1)] | None
    dtype: str
    device: str
    device_map: str | None
    adapter: str | Path | None
    revision: str | None
    max_length: Annotated[int, Field(ge=16)] | None
    batch_tokens: Positive | None
    batch_rows: Positive | None
    likelihood: LikelihoodPath
    tensor_parallel: Positive
    pipeline_parallel: Positive
    memory_share: float | None
    quantization: str | None
    engine_args: dict[str, AnyJson]
    replicas: Positive | Literal["auto"]
    ray_address: str | None
    seed: int
    trust_remote_code: bool
    allow_pickle: bool


@with_config(ConfigDict(extra="forbid", strict=True))
class _All(Options, total=False):
    """Together with the parameters of `evaluate`."""

    model: str | Path
    tasks: str | list[str | Path] | tuple[str | Path, ...] | None
    suite: str | Path | None
    data: str | Path
    limit: Positive | None
    out: str | Path


_ALL: TypeAdapter[_All] = TypeAdapter(_All)


def evaluate(
    model: str | Path,
    *,
    tasks: str | Sequence[str | Path] | None = None,
    suite: str | Path | None = None,
    data: str | Path = "bundled",
    limit: int | None = None,
    out: str | Path = "results",
    track: str | Sequence[str] = (),
    reporter: Reporter | None = None,
    **options: Unpack[Options],
) -> Evaluation:
    """Evaluates a model, or goes on where an earlier call or command stopped.

    Args:
        model: a model folder, a Hugging Face id, `demo`, or the URL of a server.
        tasks: names or YAML paths, in place of a suite; a text may name several with commas.
        suite: by default `leaderboard2`.
        data: `bundled`, `hub`, `hub:OWNER/NAME`, or a path.
        limit: first rows of each task.
        out: where run directories go.
        track: who gets the scores: `tensorboard:DIR`, `wandb[:PROJECT]`, `mlflow[:URI]`, or
            several; one that refuses costs a warning.
        reporter: is told how the run goes on; by default the logger `ko_eval` is.
        options: see `Options`, and `ko-eval run --help` for what each one means.

    Raises:
        KoEvalError: something must be changed; the message says what, where and how.
        KeyboardInterrupt: Ctrl-C; every finished response is on disk, and the same call goes on.
    """
    asked = run_options(
        {
            "model": model,
            "tasks": list(tasks) if _is_list(tasks) else tasks,
            "suite": suite,
            "data": data,
            "limit": limit,
            "out": out,
            **options,
        }
    )
    trackers = [tracker(target) for target in _targets(track)]
    reporter = reporter or LoggingReporter()
    try:
        with engine_loader(asked) as load:
            outcome = run(asked, reporter, load)
    except Stopped as stop:
        if stop.signal == signal.SIGINT:
            # As a notebook's stop button, and Python itself, mean it.
            raise KeyboardInterrupt from stop
        raise
    for one in trackers:
        try:
            one.send(outcome.result, outcome.directory)
        except RunError as error:
            reporter.warning(str(error))
    return Evaluation(outcome.result, outcome.directory, outcome.asked, outcome.answered_before)


def read_run(directory: str | Path) -> Evaluation:
    """A finished run, from its files alone.

    Args:
        directory: the run directory.

    Raises:
        DataError: it holds no result that this version can read.
    """
    return Evaluation(with_index(read_result(Path(directory))), Path(directory))


def run_options(given: Mapping[str, object]) -> RunOptions:
    """The options of a run, checked.

    Raises:
        UsageError: one is unknown or of the wrong kind, or both suite and tasks are given.
    """
    try:
        found = dict(_ALL.validate_python(given))
    except ValidationError as error:
        raise _refused(error, given) from error
    if found.get("tasks") is not None and found.get("suite") is not None:
        raise UsageError("'suite' and 'tasks' were both given", hint="give one of them")

    def part(kind: type[Any]) -> dict[str, Any]:
        names = [field.name for field in dataclasses.fields(kind) if field.name in found]
        return {name: found.pop(name) for name in names}

    tasks = _task_names(found.pop("tasks", None))
    suite = found.pop("suite", None)
    adapter = found.pop("adapter", None)
    server = [
        found.pop(name, None)
        for name in ("model_name", "concurrency", "thinking_tokens", "request_timeout")
    ]
    replicas = found.pop("replicas", 1)
    load = LoadOptions(**part(LoadOptions), adapter=None if adapter is None else str(adapter))
    vllm = VllmOptions(**part(VllmOptions))
    return RunOptions(
        model=str(found.pop("model")),
        tasks=tasks,
        suite=None if tasks else str(suite or "leaderboard2"),
        data=str(found.pop("data", "bundled")),
        out=Path(str(found.pop("out", "results"))),
        replicas=0 if replicas == "auto" else int(str(replicas)),
        load=load,
        vllm=vllm,
        server=server_options(*server),  # type: ignore[arg-type]
        **found,  # type: ignore[arg-type]
    )


def _is_list(given: object) -> TypeGuard[Sequence[object]]:
    return isinstance(given, Sequence) and not isinstance(given, str | bytes)


def _targets(track: object) -> list[str]:
    targets = track if _is_list(track) else [track]
    if wrong := [target for target in targets if not isinstance(target, str)]:
        raise UsageError(
            f"option 'track' cannot be {wrong[0]!r:.80}",
            hint="give tensorboard:DIR, wandb[:PROJECT], mlflow[:URI], or a list of them",
        )
    return list(map(str, targets))


def _task_names(given: object) -> tuple[str, ...]:
    if given is None:
        return ()
    names = given.split(",") if isinstance(given, str) else list(given)  # type: ignore[call-overload]
    found = tuple(name for name in (str(one).strip() for one in names) if name)
    if not found:
        raise UsageError("no task was given", hint="name tasks, or leave 'tasks' out for a suite")
    return found


def _refused(error: ValidationError, given: Mapping[str, object]) -> UsageError:
    """What is wrong with the first option that is."""
    first = error.errors()[0]
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        known = sorted({*_All.__annotations__, *Options.__annotations__})
        return UsageError(f"there is no option '{name}'", hint=near_miss(name, known))
    message = f"{first['msg'][:1].lower()}{first['msg'][1:]}"
    return UsageError(
        f"option '{name}' cannot be {given.get(name)!r:.80}: {message}",
        hint="`ko-eval run --help` lists what each option takes",
    )


class LoggingReporter:
    """Tells the logger `ko_eval` how a run goes on."""

    def __init__(self) -> None:
        self._logger = logging.getLogger("ko_eval")

    def stage(self, text: str) -> None:
        self._logger.info(text)

    def warning(self, text: str) -> None:
        self._logger.warning(text)

    def task(self, name: str, done: int, total: int) -> None:
        self._logger.info("%s: %d of %d requests are answered", name, done, total)

    def answered(self, name: str, tokens: int) -> None:
        """Nothing: a line per request is too much for a log."""


@dataclass(frozen=True, slots=True, repr=False)
class Evaluation:
    """A finished run; shown as its table of scores.

    Attributes:
        result: all of it, as in `results.json`.
        directory: where everything lies.
        asked, answered_before: requests that this call asked the model, and that it found answered.
    """

    result: RunResult
    directory: Path
    asked: int = 0
    answered_before: int = 0

    @property
    def average(self) -> Value | None:
        """The plain mean of the shown values."""
        return self.result.average

    @property
    def index(self) -> Index | None:
        """The composite of all tasks; None unless they were all run."""
        return self.result.index

    @property
    def scores(self) -> dict[str, Value]:
        """Each task's shown value, on the board's scale."""
        return {task.name: task.shown for task in self.result.tasks}

    @property
    def warnings(self) -> list[str]:
        """What the user should know of the run."""
        return self.result.warnings

    def frame(self) -> DataFrame:
        """One row per task: metric, score, standard error, interval, n and the outcomes."""
        from pandas import DataFrame

        rows = {
            task.name: {
                "title": task.title,
                "metric": task.metric,
                "score": task.shown.value,
                "stderr": task.shown.stderr,
                "low": task.shown.low,
                "high": task.shown.high,
                "n": task.n,
                **task.outcomes,
            }
            for task in self.result.tasks
        }
        return DataFrame.from_dict(rows, orient="index").rename_axis("task")

    def samples(self, task: str) -> DataFrame:
        """One row per sample of a task: outcome, extracted answer, every metric, group, cluster.

        Raises:
            DataError: the run has no such task, or its per-sample file is damaged.
        """
        from pandas import DataFrame

        if task not in self.scores:
            raise DataError(f"the run has no task '{task}'", hint=near_miss(task, self.scores))
        rows = [
            {
                "id": record.id,
                "outcome": record.outcome.value,
                "extracted": record.extracted,
                **record.metrics,
                "group": record.group,
                "cluster": record.cluster,
                "detail": record.detail,
            }
            for record in read_samples(self.directory, task)
        ]
        return DataFrame.from_records(rows, index="id")

    def __repr__(self) -> str:
        from io import StringIO

        from rich.console import Console

        text = StringIO()
        console = Console(file=text, width=_WIDTH, color_system=None, legacy_windows=False)
        console.print(result_table(self.result))
        return f"{text.getvalue()}{self.directory}"

    def _repr_mimebundle_(
        self, include: Sequence[str] = (), exclude: Sequence[str] = (), **more: object
    ) -> dict[str, str]:
        """The table for a notebook; the library escapes what the texts are made of."""
        shown = result_table(self.result)._repr_mimebundle_(include, exclude)
        return {**shown, "text/plain": repr(self)}
