"""The tasks of a finished run once more, from its options: definition, rows, scorer. No model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic import JsonValue as AnyJson

from ko_eval.errors import DataError, KoEvalError, first_line
from ko_eval.runs.plan import RunOptions, load_tasks
from ko_eval.runs.result import RunResult, TaskReport
from ko_eval.runs.without_likelihoods import IN_TEXT, ChosenTask, in_text
from ko_eval.scorers.base import Scorer
from ko_eval.tasks.definition import TaskDefinition
from ko_eval.tasks.prepare import prepare_task
from ko_eval.types import Sample


@dataclass(frozen=True, slots=True)
class TaskAgain:
    """A task as it is now.

    Attributes:
        label: what its rows are.
        shots: few-shot examples in front of each question.
        unchanged: whether its definition and its prompts are those of the run, by their hashes.
    """

    definition: TaskDefinition
    scorer: Scorer
    samples: tuple[Sample, ...]
    label: str
    shots: int
    unchanged: bool


class _Asked(BaseModel):
    """What is looked at of a run's options."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    suite: str | None = None
    tasks: tuple[str, ...] = ()
    variant: str | None = None
    data: str
    limit: int | None = None
    shots: int | None = None
    pack: Path | None = None


def tasks_again(result: RunResult, options: Mapping[str, AnyJson]) -> dict[str, TaskAgain | str]:
    """The run's tasks by name, or why one cannot be had as it was.

    Args:
        options: those of `run.json`.

    Raises:
        KoEvalError: the tasks themselves are not at hand.
    """
    try:
        asked = _Asked.model_validate(options)
    except ValidationError as error:
        raise DataError(f"the options of the run are damaged: {first_line(error)}") from error
    plain = RunOptions(
        model="",
        suite=asked.suite,
        tasks=() if asked.suite else asked.tasks,
        variant=asked.variant,
        data=asked.data,
        pack=asked.pack,
    )
    suite, chosen = load_tasks(plain)
    if _was_in_text(result, chosen):
        chosen, _ = in_text(chosen, suite, "")
    reports = {report.name: report for report in result.tasks}
    layers = result.layers.get("tasks")
    return {
        task.name: _again(
            task, asked, reports[task.name], layers if isinstance(layers, Mapping) else {}
        )
        for task, _ in chosen
        if task.name in reports
    }


def _was_in_text(result: RunResult, chosen: list[ChosenTask]) -> bool:
    """Whether tasks took their form in text because a server gave no log-likelihoods."""
    variants = {task.name: variant for task, variant in chosen}
    return any(
        report.variant == IN_TEXT and variants.get(report.name) is None for report in result.tasks
    )


def _again(
    task: TaskDefinition, asked: _Asked, report: TaskReport, layers: Mapping[str, object]
) -> TaskAgain | str:
    try:
        prepared = prepare_task(
            task,
            asked.data,
            shots=asked.shots,
            limit=asked.limit,
            allow_fewshot_overlap=True,
            pack=asked.pack,
        )
    except KoEvalError as error:
        return error.what
    if prepared.rows.sha256 != report.data.sha256:
        return "the rows at hand are not those of the run"
    layer = layers.get(task.name)
    prompts = layer.get("prompts") if isinstance(layer, Mapping) else None
    unchanged = (
        prepared.definition_hash() == report.definition_sha256
        and prepared.prompts_hash() == prompts
    )
    return TaskAgain(
        definition=task,
        scorer=prepared.scorer,
        samples=prepared.samples,
        label=prepared.rows.label,
        shots=prepared.shots,
        unchanged=unchanged,
    )
