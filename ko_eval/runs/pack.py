"""Everything that a run needs, in one file: for machines without a network.

    made = make_pack(PackOptions(suite="leaderboard2", model="demo", out=Path("pack.tar")))

Tasks are packed as they were resolved and rows as they were read, with their commits and hashes, so
that a run from the pack is the run that the network would have given.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

import ko_eval
from ko_eval.engines.model_folder import ModelFolder, resolve_model, weight_files
from ko_eval.engines.server_options import is_server
from ko_eval.errors import DataError, KoEvalError, ModelError, UsageError
from ko_eval.runs.pack_archive import Content, write_archive
from ko_eval.runs.plan import RunOptions, load_tasks
from ko_eval.runs.provenance import environment
from ko_eval.tasks.definition import SuiteDefinition, TaskDefinition
from ko_eval.tasks.hub_errors import Unreachable
from ko_eval.tasks.packs import (
    LARGEST_MANIFEST,
    LARGEST_ROWS,
    MODEL_FOLDER,
    Manifest,
    PackedModel,
    PackedRows,
    PackedTask,
    fewshot_place,
    parse_manifest,
    rows_place,
)
from ko_eval.tasks.prepare import prepare_task
from ko_eval.tasks.sources import Rows, fewshot_rows

# What a tokenizer or a configuration may be read from; those that the model's fingerprint covers
# are all among them.
_MODEL_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.py", "*.tiktoken", "tokenizer*")
_MOST_NAMED = 8  # missing pieces that an error spells out


@dataclass(frozen=True, slots=True, kw_only=True)
class PackOptions:
    """What is to be packed; as in `RunOptions`, but `model` may be left out."""

    model: str | None = None
    suite: str | None = None
    tasks: tuple[str, ...] = ()
    variant: str | None = None
    data: str = "bundled"
    revision: str | None = None
    allow_pickle: bool = False
    out: Path


@dataclass(frozen=True, slots=True)
class PackMade:
    """A written pack.

    Attributes:
        size: of the file, in bytes.
    """

    manifest: Manifest
    path: Path
    size: int


def make_pack(options: PackOptions, stage: Callable[[str], None] = lambda text: None) -> PackMade:
    """Reads all that the options name, and writes it to `options.out`.

    Args:
        stage: is told what is done now.

    Raises:
        KoEvalError: something is missing or wrong; nothing was written.
    """
    _check(options)
    stage("reading tasks and data")
    suite, definitions = load_tasks(
        RunOptions(
            model=options.model or "",
            suite=options.suite,
            tasks=options.tasks,
            variant=options.variant,
        )
    )
    contents: dict[str, Content] = {}
    missing: list[KoEvalError] = []
    tasks = []
    for definition, variant in definitions:
        try:
            tasks.append(_packed_task(definition, variant, options.data, contents))
        except Unreachable:
            raise  # So it would be with the others, after as long a wait for each.
        except KoEvalError as error:
            missing.append(error)
    folder = None
    if options.model is not None:
        stage(f"reading {options.model}")
        try:
            folder = _model(options, options.model)
            contents |= _model_contents(folder)
        except ModelError as error:
            missing.append(error)
    _check_nothing_missing(missing)
    manifest = _manifest(options, suite, tasks, folder, contents)
    stage(f"writing {options.out}")
    size = write_archive(options.out, _as_bytes(manifest, options), contents)
    return PackMade(manifest, options.out, size)


def _check(options: PackOptions) -> None:
    if options.out.is_dir():
        raise UsageError(
            f"'{options.out}' is a folder", where="option -o", hint="name the file to write"
        )
    if options.model is None and options.revision is not None:
        raise UsageError("--revision was given, but no MODEL", hint="add MODEL, or leave it out")
    if options.model is not None and is_server(options.model):
        raise UsageError(
            "the model of a server cannot be packed",
            hint="leave MODEL out, and name the server with `ko-eval run --pack`",
        )


def _check_nothing_missing(missing: list[KoEvalError]) -> None:
    if not missing:
        return
    if len({error.what for error in missing}) == 1:
        raise missing[0]
    named = "; ".join(error.what for error in missing[:_MOST_NAMED])
    more = len(missing) - _MOST_NAMED
    raise DataError(
        f"{len(missing)} pieces are missing: {named}" + (f"; and {more} more" if more > 0 else ""),
        where=missing[0].where,
        hint="nothing was written; put them right, or pack the others with --tasks",
    )


def _packed_task(
    task: TaskDefinition, variant: str | None, data: str, contents: dict[str, Content]
) -> PackedTask:
    """The task's entry; its rows go to `contents`.

    All examples are packed, whatever the task's own count, so that `--shots` works.
    """
    prepared = prepare_task(task, data, allow_fewshot_overlap=True)
    examples = prepared.fewshot or fewshot_rows(task, data)
    contents[rows_place(task.name)] = _written(prepared.rows)
    if examples is not None:
        contents[fewshot_place(task.name)] = _written(examples)
    return PackedTask(
        variant=variant,
        definition=task,
        rows=_described(prepared.rows),
        fewshot=None if examples is None else _described(examples),
    )


def _written(rows: Rows) -> Content:
    lines = (json.dumps(row.values, ensure_ascii=False) + "\n" for row in rows.rows)
    content = "".join(lines).encode()
    if len(content) > LARGEST_ROWS:
        raise DataError(
            f"the rows of '{rows.source}' take {len(content):,} bytes; a pack holds at most "
            f"{LARGEST_ROWS:,} of each task",
            hint="leave the task out with --tasks",
        )
    return Content.of_bytes(content)


def _described(rows: Rows) -> PackedRows:
    return PackedRows(
        label=rows.label,
        source=rows.source,
        sha256=rows.sha256,
        revision=rows.revision,
        columns=dict(rows.columns),
        dropped=rows.dropped,
        rows=len(rows.rows),
    )


def _model(options: PackOptions, model: str) -> ModelFolder:
    # Packing runs none of the model's code; a run from the pack asks for --trust-remote-code.
    return resolve_model(
        model,
        revision=options.revision,
        trust_remote_code=True,
        allow_pickle=options.allow_pickle,
    )


def _model_contents(folder: ModelFolder) -> dict[str, Content]:
    """Configuration, tokenizer and weights."""
    templates = "additional_chat_templates"
    found = {file for pattern in _MODEL_FILES for file in folder.path.glob(pattern)}
    found.update(weight_files(folder.path), (folder.path / templates).glob("*.jinja"))
    files = sorted(file for file in found if file.is_file())
    for file in files:
        _check_inside(file, folder.path)
    return {
        f"{MODEL_FOLDER}/{file.relative_to(folder.path)}": Content.of_file(file) for file in files
    }


def _check_inside(file: Path, folder: Path) -> None:
    """A pack leaves the machine: links of a downloaded folder must not take other files along.

    The hub's own cache holds a model as links to the folder `blobs` beside its snapshots.
    """
    allowed = [folder]
    if folder.parent.name == "snapshots":
        allowed.append(folder.parent.parent / "blobs")
    target = file.resolve()
    if not any(target.is_relative_to(place.resolve()) for place in allowed):
        raise ModelError(
            f"the model's file '{file.name}' is a link out of its folder, to {target}",
            where=str(folder),
            hint="put the file itself there, and pack again",
        )


def _as_bytes(manifest: Manifest, options: PackOptions) -> bytes:
    """The manifest's JSON, from which a run will read the same manifest again.

    Raises:
        UsageError: it would not, since JSON has no such numbers or it is too long.
    """
    content = (manifest.model_dump_json(indent=1) + "\n").encode()
    if len(content) > LARGEST_MANIFEST:
        raise UsageError(
            f"the definitions take {len(content):,} bytes; a pack holds at most "
            f"{LARGEST_MANIFEST:,}",
            hint="pack fewer tasks at a time",
        )
    if parse_manifest(content, str(options.out)) != manifest:
        raise UsageError(
            "a definition holds numbers that JSON has no form for, such as .inf or .nan",
            hint="write them as text in the task's or suite's YAML",
        )
    return content


def _manifest(
    options: PackOptions,
    suite: SuiteDefinition | None,
    tasks: list[PackedTask],
    folder: ModelFolder | None,
    contents: dict[str, Content],
) -> Manifest:
    """Raises UsageError where a name cannot stand in a pack."""
    try:
        return Manifest(
            ko_eval=ko_eval.__version__,
            environment=environment(),
            data=options.data,
            variant=options.variant,
            suite=suite,
            tasks=tasks,
            model=None
            if folder is None
            else PackedModel(name=folder.name, revision=folder.revision),
            files={place: content.described for place, content in sorted(contents.items())},
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"a name cannot stand in a pack: {str(first['input'])!r:.200}",
            where=".".join(str(part) for part in first["loc"]),
            hint="rename it: letters, digits and . _ - + only, at most 80 characters",
        ) from error
