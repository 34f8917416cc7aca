"""A run in the reference harness's layout: `results_DATE.json` and `samples_TASK_DATE.jsonl`.

The layout is that of lm-evaluation-harness 0.4.13 (`result_schema.py`, `EvaluationTracker`), with
the board's task keys and metric names where a task has them. What the files of a run do not say is
left out, never made up; what only we know stands under `ko_eval` and in a task's `metadata`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from ko_eval.errors import DataError
from ko_eval.interop.exported_run import ExportedRun, hub_dataset, shown_text
from ko_eval.interop.harness_metrics import (
    LOWER_IS_BETTER,
    harness_metric,
    stderr_key,
    value_key,
)
from ko_eval.interop.lm_eval_export_samples import sample_lines
from ko_eval.runs.files import disk_errors, safe_name
from ko_eval.runs.result import RunResult, TaskReport
from ko_eval.types import JsonValue

# Characters of a version's hash; enough to tell definitions apart.
_VERSION_LENGTH = 12


def write_lm_eval(run: ExportedRun, folder: Path) -> list[Path]:
    """Writes the files, in a folder named after the model as the harness names it.

    Returns:
        The result file, then the sample files in the order of the tasks.

    Raises:
        DataError: a file of the run is damaged.
        RunError: the files cannot be written.
    """
    keys = task_keys(run.result)
    date = _file_date(run)
    target = folder / _sanitized(run.model)
    content = json.dumps(results_content(run), ensure_ascii=False, indent=2, allow_nan=False)
    lines: dict[Path, Iterable[str]] = {target / f"results_{date}.json": [content]}
    for task in run.result.tasks:
        path = target / f"samples_{safe_name(keys[task.name])}_{date}.jsonl"
        lines[path] = sample_lines(run, task)
    _write_all(lines)
    return list(lines)


def _write_all(lines: Mapping[Path, Iterable[str]]) -> None:
    """Writes all files or none: half an export would look like a whole one.

    Line by line, since prompts stand in the logs once per choice.
    """
    temporary = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in lines}
    try:
        for path, content in lines.items():
            with disk_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary[path].unlink(missing_ok=True)
                with temporary[path].open("x", encoding="utf-8", errors="backslashreplace") as file:
                    file.writelines(f"{line}\n" for line in content)
        for path, written in temporary.items():
            with disk_errors(path):
                written.replace(path)
    finally:
        for written in temporary.values():
            with suppress(OSError):  # the folder could not be made
                written.unlink()


def task_keys(result: RunResult) -> dict[str, str]:
    """By the task's name, its key: the board's, unless another task of the run has it already."""
    keys: dict[str, str] = {}
    for task in result.tasks:
        wanted = task.board_key or task.name
        keys[task.name] = task.name if wanted in keys.values() else wanted
    return keys


def results_content(run: ExportedRun) -> dict[str, JsonValue]:
    """The content of `results_DATE.json`.

    Raises:
        DataError: the result's date is none.
    """
    result = run.result
    tasks = {key: _task(result, name) for name, key in task_keys(result).items()}
    return {
        "results": {key: _values(task) for key, task in tasks.items()},
        "group_subtasks": {key: [] for key in tasks},
        "configs": {key: _configuration(key, task) for key, task in tasks.items()},
        "versions": {key: _version(task) for key, task in tasks.items()},
        "n-shot": {key: task.shots for key, task in tasks.items()},
        "higher_is_better": {key: _directions(task) for key, task in tasks.items()},
        "n-samples": {key: _counts(task, result.limit) for key, task in tasks.items()},
        "config": _run_configuration(result),
        # The board's own files name the model here.
        "config_general": _without_unknown(
            model_name=run.model,
            model_sha=result.model.revision,
            model_dtype=result.conditions.get("dtype"),
        ),
        **_without_unknown(git_hash=result.git_revision),
        "date": _created(run).timestamp(),
        **_without_unknown(
            transformers_version=result.environment.get("transformers"),
            max_length=result.model.max_length or None,
        ),
        "model_source": "ko-eval",
        "model_name": run.model,
        "model_name_sanitized": _sanitized(run.model),
        **_without_unknown(chat_template_sha=_template(result)),
        "ko_eval": _ours(result),
    }


def _task(result: RunResult, name: str) -> TaskReport:
    return next(task for task in result.tasks if task.name == name)


def _values(task: TaskReport) -> dict[str, JsonValue]:
    """Values and standard errors; the alias tells bundled data from others in every table."""
    variant = f", {shown_text(task.variant)}" if task.variant else ""
    values: dict[str, JsonValue] = {
        "alias": f"{shown_text(task.title)} ({task.data.label} data{variant})",
        "sample_len": task.n,
    }
    for name, metric in task.metrics.items():
        values[value_key(name)] = metric.value
        if metric.stderr is not None:
            values[stderr_key(name)] = metric.stderr
    return values


def _configuration(key: str, task: TaskReport) -> dict[str, JsonValue]:
    dataset = hub_dataset(task)
    return {
        "task": key,
        "task_alias": shown_text(task.title),
        **_without_unknown(
            dataset_path=dataset and dataset.id,
            dataset_name=dataset and dataset.config,
            test_split=dataset and dataset.split,
        ),
        "num_fewshot": task.shots,
        "metric_list": [
            {"metric": metric, "higher_is_better": better}
            for metric, better in _directions(task).items()
        ],
        "metadata": {
            "version": _version(task),
            "ko_eval_task": task.name,
            **_without_unknown(variant=task.variant),
            "data_label": task.data.label,
            "data_source": shown_text(task.data.source),
            "data_sha256": task.data.sha256,
            **_without_unknown(data_revision=task.data.revision),
            "chat_template": task.chat_template,
            "leading_metric": value_key(task.metric),
            "our_metrics": {value_key(name): name for name in task.metrics},
            "assumed": [name for name, fact in task.protocol.items() if fact.status == "assumed"],
            "outcomes": dict(task.outcomes),
        },
    }


def _version(task: TaskReport) -> str:
    """A task's version is the hash of its definition, as used."""
    return task.definition_sha256[:_VERSION_LENGTH]


def _directions(task: TaskReport) -> dict[str, bool]:
    return {harness_metric(name)[0]: name not in LOWER_IS_BETTER for name in task.metrics}


def _counts(task: TaskReport, limit: int | None) -> dict[str, JsonValue]:
    """How many rows there were is only known where all were asked."""
    return {**({} if limit is not None else {"original": task.n}), "effective": task.n}


def _run_configuration(result: RunResult) -> dict[str, JsonValue]:
    model = result.model
    return {
        "model": "ko-eval",
        "model_args": _without_unknown(
            pretrained=shown_text(model.name),
            revision=model.revision,
            peft=model.adapter and shown_text(model.adapter),
            dtype=result.conditions.get("dtype"),
        ),
        **_without_unknown(
            model_num_parameters=result.conditions.get("parameters"),
            model_dtype=result.conditions.get("dtype"),
            model_revision=model.revision,
            device=result.conditions.get("device"),
        ),
        "limit": result.limit,
        "random_seed": result.seed,
    }


def _ours(result: RunResult) -> dict[str, JsonValue]:
    """What the harness has no place for."""
    return {
        "version": result.ko_eval,
        "schema_version": result.schema_version,
        **_without_unknown(suite=result.suite and shown_text(result.suite)),
        "data": result.data if result.data in ("bundled", "hub") else "private",
        "fingerprint": result.fingerprint,
        "stderr": "as in the run's result: items that share a cluster count as one",
        "engine_seconds": sum(task.seconds for task in result.tasks),
        **({} if result.average is None else {"average": result.average.model_dump()}),
    }


def _without_unknown(**values: object) -> dict[str, JsonValue]:
    """The values that are known: texts, numbers and truths; anything else is not passed on."""
    return {
        name: shown_text(value) if isinstance(value, str) else value
        for name, value in values.items()
        if isinstance(value, str | int | float)
    }


def _template(result: RunResult) -> str | None:
    """The hash of the chat template, where one was used."""
    used = any(task.chat_template for task in result.tasks)
    return result.model.template_sha256 if used else None


def _created(run: ExportedRun) -> datetime:
    try:
        created = datetime.fromisoformat(run.result.created)
        return (created if created.tzinfo else created.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise DataError(
            "the result does not say when the run was made: 'created' is no date",
            where=str(run.directory / "results.json"),
        ) from error


def _file_date(run: ExportedRun) -> str:
    """The date as the harness writes it in file names: colons are dashes."""
    return _created(run).replace(tzinfo=None).isoformat().replace(":", "-")


def _sanitized(model: str) -> str:
    """The model's folder, as the harness names it; no name leads out of the folder above it."""
    flat = re.sub(r"[\"<>:/|\\?*\[\]\s]+", "__", model)
    return flat.encode()[:200].decode(errors="ignore").lstrip(".") or "__"
