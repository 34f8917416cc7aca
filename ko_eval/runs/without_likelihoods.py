"""Tasks for a model that gives no log-likelihoods of given texts: asked in text instead.

Each choice task then takes its variant `generate`, as `--variant generate` would; its score is
another measure, so the result says it in words, in the task's variant and in its protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ko_eval.errors import TaskError, UsageError
from ko_eval.tasks.definition import SuiteDefinition, TaskDefinition
from ko_eval.tasks.registry import merged, validated, variants_of
from ko_eval.types import JsonValue, RequestKind

IN_TEXT = "generate"

ChosenTask = tuple[TaskDefinition, str | None]
"""A task with the variant that it takes."""


def needs_likelihoods(tasks: Sequence[ChosenTask]) -> bool:
    """Whether any of the tasks asks for log-likelihoods."""
    return any(task.request is RequestKind.LOGLIKELIHOOD for task, _ in tasks)


def in_text(
    tasks: Sequence[ChosenTask], suite: SuiteDefinition | None, why: str
) -> tuple[list[ChosenTask], str]:
    """The tasks, none of which asks for log-likelihoods, and a warning that says so.

    Args:
        why: no log-likelihoods are to be had.

    Raises:
        UsageError: the user asked for a variant that needs them.
        TaskError: tasks have no form in text.
    """
    for task, variant in tasks:
        if variant is not None and task.request is RequestKind.LOGLIKELIHOOD:
            raise UsageError(
                f"variant '{variant}' of task '{task.name}' asks for log-likelihoods of given "
                f"texts, and there are none: {why}",
                hint=f"use --variant {IN_TEXT}, or evaluate the model from its folder",
            )
    changed = [task for task, _ in tasks if task.request is RequestKind.LOGLIKELIHOOD]
    without = [task.name for task in changed if IN_TEXT not in variants_of(task)]
    if without:
        raise TaskError(
            f"{', '.join(without)}: asked by log-likelihoods only, and there are none: {why}",
            hint="leave them out with --tasks, or evaluate the model from its folder",
        )
    names = suite.tasks if suite else [task.name for task, _ in tasks]
    chosen = [
        (_changed(task, suite.overrides.get(name, {}) if suite else {}), IN_TEXT)
        if task in changed
        else (task, variant)
        for name, (task, variant) in zip(names, tasks, strict=True)
    ]
    warning = (
        f"no log-likelihoods of given texts ({why}): asked in text instead (variant '{IN_TEXT}'), "
        f"which is another measure: {', '.join(task.name for task in changed)}"
    )
    return chosen, warning


def _changed(task: TaskDefinition, overrides: Mapping[str, JsonValue]) -> TaskDefinition:
    """The task's form in text; what a suite changes stays changed."""
    content = merged(task.model_dump(mode="json"), variants_of(task)[IN_TEXT])
    return validated(TaskDefinition, merged(content, overrides), Path(task.name))
