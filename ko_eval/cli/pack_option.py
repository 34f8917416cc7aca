"""`ko-eval run --pack FILE`: the run's options, completed from the pack."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ko_eval.cli.output import write
from ko_eval.errors import UsageError

if TYPE_CHECKING:
    from ko_eval.runs.plan import RunOptions
    from ko_eval.tasks.packs import Manifest


def ask_no_hub() -> None:
    """Keeps the hub's libraries, which read this when they are imported, and processes that are
    started later from asking it, whatever they would look for."""
    os.environ["HF_HUB_OFFLINE"] = "1"


def is_default(context: typer.Context, parameter: str) -> bool:
    """Whether a parameter was not given on the command line."""
    source = context.get_parameter_source(parameter)
    return source is None or source.name.startswith("DEFAULT")


def with_pack(
    options: RunOptions,
    archive: Path,
    *,
    suite: str | None,
    tasks: Sequence[str] | None,
    data: str | None,
) -> RunOptions:
    """The options with the pack's tasks, data and, where no model is named, its model.

    Args:
        options: the others; its model is empty where none was named.
        suite, tasks, data: as given on the command line, None where they were not.

    Raises:
        KoEvalError: the pack cannot be used, or holds something else than was asked for.
    """
    from ko_eval.runs.pack_archive import unpacked
    from ko_eval.tasks.packs import read_manifest

    folder = unpacked(archive, lambda text: write(text, err=True))
    manifest = read_manifest(folder)
    packed_suite = manifest.suite.name if manifest.suite else None
    for option, given, packed in (
        ("--suite", suite, packed_suite),
        ("--data", data, manifest.data),
        ("--variant", options.variant, manifest.variant),
    ):
        if given not in (None, packed):
            raise UsageError(
                f"{option} {given} was given, but the pack was made with "
                + (f"{option} {packed}" if packed else f"no {option}"),
                where=str(archive),
                hint=f"leave {option} out, or pack again",
            )
    if tasks is not None and not tasks:
        raise UsageError("no task was given", hint="name tasks of the pack, or leave --tasks out")
    for name in tasks or ():
        manifest.task(name)
        if (tasks or ()).count(name) > 1:
            raise UsageError(f"task '{name}' was given twice", hint="name each task once")
    _say_other_version(manifest)
    return dataclasses.replace(
        options,
        model=options.model or _packed_model(folder, manifest, archive, options.revision),
        suite=packed_suite if tasks is None else None,
        tasks=tuple(tasks or ()),
        variant=manifest.variant,
        data=manifest.data,
        pack=folder,
    )


def _packed_model(folder: Path, manifest: Manifest, archive: Path, revision: str | None) -> str:
    from ko_eval.runs.packed import packed_model

    if manifest.model is None:
        raise UsageError(
            "no MODEL was given, and the pack holds none",
            where=str(archive),
            hint="name a model folder, or pack one: ko-eval pack MODEL …",
        )
    if revision not in (None, manifest.model.revision):
        raise UsageError(
            f"--revision {revision} was given, but the pack holds "
            + (f"commit {manifest.model.revision}" if manifest.model.revision else "no commit"),
            where=str(archive),
            hint="leave --revision out, or pack again",
        )
    return str(packed_model(folder))


def _say_other_version(manifest: Manifest) -> None:
    import ko_eval

    if manifest.ko_eval != ko_eval.__version__:
        write(
            f"warning: the pack was made by ko-eval {manifest.ko_eval}; this is "
            f"{ko_eval.__version__}, whose prompts and scores may differ",
            err=True,
        )
