"""Finds and reads task and suite files, by registered name or by path.

task = load_task("ko_gsm8k")
task = load_task("my_task.yaml", variant="cot")
suite = load_suite("leaderboard2")
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar, get_args

from pydantic import BaseModel, ValidationError

from ko_eval.errors import TaskError, near_miss
from ko_eval.resources import shipped
from ko_eval.scorers.registry import create_scorer
from ko_eval.tasks.definition import SuiteDefinition, TaskDefinition
from ko_eval.tasks.variants import builtin_variants
from ko_eval.types import JsonValue
from ko_eval.yaml_files import read_mapping as read_mapping

_Model = TypeVar("_Model", bound=BaseModel)


@functools.cache
def task_names() -> tuple[str, ...]:
    """Names of all registered tasks, sorted."""
    return tuple(sorted(path.stem for path in shipped("tasks").glob("*.yaml")))


def suite_names() -> list[str]:
    """Names of all registered suites, sorted."""
    return sorted(path.stem for path in shipped("configs", "suites").glob("*.yaml"))


def load_task(
    name: str,
    *,
    variant: str | None = None,
    overrides: Mapping[str, JsonValue] | None = None,
    check_scorer: bool = True,
) -> TaskDefinition:
    """A task by registered name or by the path of a YAML file.

    Args:
        variant: one of the task's `variants`, whose fields replace its own.
        overrides: further fields to replace, e.g. from a suite.
        check_scorer: also check that the scorer takes the task; False saves its import.

    Raises:
        TaskError: unknown task or variant, or a definition that is wrong.
    """
    path = _path_of(name, "task", shipped("tasks"), task_names())
    raw = read_mapping(path)
    if variant is not None:
        known = variants_of(validated(TaskDefinition, raw, path))
        if variant not in known:
            raise TaskError(
                f"task '{name}' has no variant '{variant}'",
                where=str(path),
                hint=near_miss(variant, known) if known else "it has no variants",
            )
        raw = merged(raw, known[variant])
    if overrides:
        raw = merged(raw, overrides)
    task = validated(TaskDefinition, raw, path)
    if not check_scorer:
        return task
    check_scorer_of(task, path)
    if variant is None:
        for changes in task.variants.values():
            check_scorer_of(validated(TaskDefinition, merged(raw, changes), path), path)
    return task


def variants_of(task: TaskDefinition) -> dict[str, Mapping[str, JsonValue]]:
    """The changes of each variant of a task, built-in ones included."""
    return {**builtin_variants(task), **task.variants}


def load_suite(name: str) -> SuiteDefinition:
    """A suite by registered name or by the path of a YAML file.

    Raises:
        TaskError: unknown suite, or a definition that is wrong.
    """
    path = _path_of(name, "suite", shipped("configs", "suites"), suite_names())
    return validated(SuiteDefinition, read_mapping(path), path)


def merged(base: Mapping[str, JsonValue], changes: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """`base` with `changes` laid over it; mappings are merged, anything else is replaced."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        # A scorer's parameters belong to that scorer: another scorer replaces the whole entry.
        result[key] = merged(old, value) if both and key != "scorer" else value  # type: ignore[arg-type]
    return result


def _path_of(name: str, what: str, folder: Path, known: Sequence[str]) -> Path:
    if name in known:
        return folder / f"{name}.yaml"
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name)
        if path.is_file():
            return path
        raise TaskError(f"there is no {what} file '{name}'", hint="check the path")
    raise TaskError(
        f"unknown {what} '{name}'",
        hint=near_miss(name, known) + f"; or give the path of a {what} file (.yaml)",
    )


def validated(model: type[_Model], raw: Mapping[str, JsonValue], path: Path) -> _Model:
    """The fields of a file as what they must be.

    Raises:
        TaskError: a field is wrong; it is named with its path and near misses.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        more = error.error_count() - 1
        where = f"{path}, field '{field}'" if field else str(path)
        suffix = f" (and {more} more)" if more else ""
        if first["type"] == "extra_forbidden":
            raise TaskError(
                f"unknown field '{field}'{suffix}",
                where=where,
                hint=_near_field(model, first["loc"]),
            ) from error
        message = first["msg"].removeprefix("Value error, ")
        given = (
            "" if first["type"] in ("missing", "value_error") else f" (given: {first['input']!r})"
        )
        raise TaskError(
            f"{message[:1].lower()}{message[1:]}{given[:200]}{suffix}", where=where
        ) from error


def _near_field(model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    """Near misses among the fields of the (nested) model where an unknown field stands."""
    for part in location[:-1]:
        if isinstance(part, int):
            continue  # a place in the list that was just entered
        field = model.model_fields.get(part)
        inner = _model_in(field.annotation) if field else None
        if inner is None:
            return "see CONTRIBUTING.md for the fields of a task file"
        model = inner
    return near_miss(str(location[-1]), model.model_fields)


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model that a field holds: itself, in a list, or if there is any."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def check_scorer_of(task: TaskDefinition, path: Path) -> None:
    """Checks that a task's scorer exists, and judges what the task asks.

    Args:
        path: names the definition in an error.

    Raises:
        TaskError: it does not.
    """
    try:
        scorer = create_scorer(task.scorer.name, task.scorer.parameters)
    except TaskError as error:
        raise TaskError(error.what, where=f"{path}, field 'scorer'", hint=error.hint) from error
    if scorer.kind is not task.request:
        raise TaskError(
            f"scorer '{task.scorer.name}' judges '{scorer.kind}' requests, the task asks "
            f"'{task.request}'",
            where=f"{path}, field 'request'",
        )
    if task.metric is not None and task.metric not in scorer.metrics:
        raise TaskError(
            f"scorer '{task.scorer.name}' has no metric '{task.metric}'",
            where=f"{path}, field 'metric'",
            hint=near_miss(task.metric, scorer.metrics),
        )
    if task.unconditional is not None and "acc_pmi" not in scorer.metrics:
        raise TaskError(
            f"scorer '{task.scorer.name}' makes no use of 'unconditional'",
            where=f"{path}, field 'unconditional'",
            hint="it belongs to 'choice_likelihood'",
        )
    if task.metric == "acc_pmi" and task.unconditional is None:
        raise TaskError(
            "metric 'acc_pmi' needs the field 'unconditional'",
            where=f"{path}, field 'metric'",
            hint='write unconditional: "" to score each choice without any context',
        )
