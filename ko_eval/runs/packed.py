"""A run from a pack: its tasks, and its model under the name that it had."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ko_eval.engines.model_folder import ModelFolder
from ko_eval.tasks.definition import SuiteDefinition, TaskDefinition
from ko_eval.tasks.packs import MODEL_FOLDER, read_manifest


def packed_tasks(
    pack: Path, names: Sequence[str]
) -> tuple[SuiteDefinition | None, list[tuple[TaskDefinition, str | None]]]:
    """The suite and its tasks, or the named tasks alone; each with the variant it takes.

    Args:
        pack: folder of an unpacked pack.
        names: of tasks; none for all that were packed.

    Raises:
        DataError: a task is not in the pack.
    """
    manifest = read_manifest(pack)
    chosen = [manifest.task(name) for name in names] if names else manifest.tasks
    suite = None if names else manifest.suite
    return suite, [(task.definition, task.variant) for task in chosen]


def as_packed(folder: ModelFolder, pack: Path | None) -> ModelFolder:
    """The folder, with name and commit as they were where it was packed; others as they are."""
    if pack is None or folder.path != packed_model(pack).resolve():
        return folder
    model = read_manifest(pack).model
    if model is None:
        return folder
    return dataclasses.replace(folder, name=model.name, revision=model.revision)


def packed_model(pack: Path) -> Path:
    """Where a pack's model lies."""
    return pack / MODEL_FOLDER
