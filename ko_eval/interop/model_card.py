"""Scores for a model's page on the Hugging Face hub, in its two forms, ready to paste or push.

`model-index`: metadata at the top of the model's README (hub-docs, modelcard.md). Any data may
stand there, so each entry says in words what it was measured on, and bundled data are named so.
`eval-results`: `.eval_results/*.yaml` in the model's repository (hub-docs, eval_results.yaml). Such
an entry joins the leaderboard of the dataset that it names, so only tasks that were asked on a
dataset of the hub can have one. Both are made with huggingface_hub's own classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from ko_eval.errors import DataError
from ko_eval.interop.exported_run import (
    ExportedRun,
    data_words,
    hub_dataset,
    interval_words,
    protocol_words,
    shown_text,
)
from ko_eval.interop.harness_metrics import harness_metric
from ko_eval.runs.files import safe_name
from ko_eval.runs.result import TaskReport

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

# Of values in points; more would only be noise on a page.
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class EvalResultFiles:
    """Content of `.eval_results/`.

    Attributes:
        files: name in that folder to YAML, one file per task.
        left_out: why a task has none, by the task's name.
    """

    files: dict[str, str]
    left_out: dict[str, str]


def model_index(run: ExportedRun, *, source_url: str | None = None) -> str:
    """The `model-index` metadata of a run, as YAML for the top of a model's README.

    Args:
        source_url: where the run's files are; the hub asks for it where a source is named.
    """
    from huggingface_hub import ModelCardData

    results = [_entry(run, task, source_url) for task in run.result.tasks]
    if (average := _average(run, source_url)) is not None:
        results.append(average)
    card = ModelCardData(model_name=run.model, eval_results=results)
    return _yaml(card.to_dict())  # type: ignore[no-untyped-call]


def _entry(run: ExportedRun, task: TaskReport, source_url: str | None) -> EvalResult:
    from huggingface_hub import EvalResult

    dataset = hub_dataset(task)
    metric, reading = harness_metric(task.metric)
    name = metric if reading == "none" else f"{metric} ({reading})"
    return EvalResult(
        task_type="text-generation",
        task_name=shown_text(task.title),
        # What is not on the hub has no id there; its label stands in its place.
        dataset_type=dataset.id if dataset else task.data.label,
        dataset_name=f"{shown_text(task.title)} ({data_words(task, limit=run.result.limit)})",
        dataset_config=dataset.config if dataset else shown_text(task.name),
        dataset_split=dataset.split if dataset else None,
        dataset_revision=task.data.revision if dataset else None,
        dataset_args={"num_few_shot": task.shots},
        metric_type=metric,
        metric_value=round(task.shown.value, _DIGITS),
        metric_name=f"{name}, {interval_words(task.shown)}; {protocol_words(task)}",
        source_name=None if source_url is None else "ko-eval",
        source_url=source_url,
    )


def _average(run: ExportedRun, source_url: str | None) -> EvalResult | None:
    """The plain mean, where there are several tasks."""
    from huggingface_hub import EvalResult

    result = run.result
    if result.average is None or len(result.tasks) < 2:
        return None
    labels = " and ".join(sorted({task.data.label for task in result.tasks}))
    suite = shown_text(result.suite or "tasks of ko-eval")
    return EvalResult(
        task_type="text-generation",
        task_name="Average",
        dataset_type=labels,
        dataset_name=f"{suite}: {len(result.tasks)} tasks ({labels} data)",
        dataset_config=suite,
        metric_type="average",
        metric_value=round(result.average.value, _DIGITS),
        metric_name=f"plain mean of the tasks' scores, {interval_words(result.average)}",
        source_name=None if source_url is None else "ko-eval",
        source_url=source_url,
    )


def eval_result_files(run: ExportedRun, *, source_url: str | None = None) -> EvalResultFiles:
    """The entries of a run for `.eval_results/`.

    `task_id` must be one that the dataset's `eval.yaml` lists; the configuration is taken for it,
    `default` where there is none, since a result does not say.

    Raises:
        DataError: no task of the run was asked on a whole dataset of the hub.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    files: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for task in run.result.tasks:
        dataset = hub_dataset(task)
        if dataset is None:
            left_out[task.name] = f"asked on {task.data.label} data, no dataset of the hub"
            continue
        if run.result.limit is not None:
            left_out[task.name] = f"only the first {task.n:,} of its rows were asked"
            continue
        entry = EvalResultEntry(
            dataset_id=dataset.id,
            task_id=dataset.config or "default",
            value=round(task.shown.value, _DIGITS),
            dataset_revision=task.data.revision,
            date=run.result.created,
            source_url=source_url,
            source_name=None if source_url is None else "ko-eval",
            notes=_notes(run, task),
        )
        files[f"ko-eval-{safe_name(task.name)}.yaml"] = _yaml(eval_result_entries_to_yaml([entry]))
    if not files:
        raise DataError(
            "no task of the run was asked on a whole dataset of the hub, whose leaderboard an "
            "entry of .eval_results/ joins",
            where=str(run.directory),
            hint="use --format model-index, which says what was asked; or run with --data hub, "
            "without --limit",
        )
    return EvalResultFiles(files, left_out)


def _notes(run: ExportedRun, task: TaskReport) -> str:
    dropped = f", {task.data.dropped:,} rows left out" if task.data.dropped else ""
    words = (
        f"{shown_text(task.title)}, {task.metric} in points",
        interval_words(task.shown),
        f"{task.n:,} items{dropped}",
        protocol_words(task),
        f"ko-eval {shown_text(run.result.ko_eval)}",
    )
    return "; ".join(words)


def _yaml(content: object) -> str:
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=100)
