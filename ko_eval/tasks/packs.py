"""What a pack says about itself, and the tasks and rows that are read from it.

A pack carries a run to a machine without a network (`ko-eval pack`, `ko-eval run --pack`). Anyone
may have written it, so its manifest is checked like every file that users write, and rows count
only with the hash that the manifest gives them. Labels and commits are what its maker says.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    ValidationError,
    model_validator,
)

from ko_eval.errors import DataError, near_miss
from ko_eval.tasks.definition import Name, Sha256, SuiteDefinition, TaskDefinition
from ko_eval.tasks.registry import check_scorer_of
from ko_eval.tasks.rows import DataLabel, Rows, content_hash
from ko_eval.tasks.sources import read_json_lines

FORM: Final = 1
"""Of the manifest; another number is another layout."""

MANIFEST = "manifest.json"
MODEL_FOLDER = "model"
LARGEST_MANIFEST = 2 << 20
"""Bytes; the manifest of 45 tasks has 300,000."""
LARGEST_ROWS = 1 << 30
"""Bytes of one task's rows, which are read into memory."""

# Words that are shown: no control characters, and no marks that turn the direction of writing.
Line = Annotated[str, StringConstraints(pattern=r"^\P{C}*$", max_length=1000)]

# The only places in a pack besides the manifest. No part of a name begins with a dot, so that none
# leads out of its folder; 100 bytes are what a tar header holds.
Place = Annotated[
    str,
    StringConstraints(
        pattern=r"^(?:(?:rows|fewshot)/[A-Za-z0-9][A-Za-z0-9_.-]*\.jsonl"
        r"|model/(?:additional_chat_templates/)?[A-Za-z0-9_][A-Za-z0-9_.+-]*)$",
        max_length=100,
    ),
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PackedFile(_Part):
    """A file of the pack: its size in bytes, and the hash of its content."""

    size: NonNegativeInt
    sha256: Sha256


class PackedRows(_Part):
    """Rows as they were read, with what `Rows` says of them."""

    label: DataLabel
    source: Line
    sha256: Sha256
    revision: Line | None
    columns: dict[str, str]
    dropped: NonNegativeInt
    rows: PositiveInt


class PackedTask(_Part):
    """A task with its variant and the suite's changes already in its definition."""

    variant: Line | None
    definition: TaskDefinition
    rows: PackedRows
    fewshot: PackedRows | None


class PackedModel(_Part):
    """The model's name, as results show it, and its commit on the hub."""

    name: Annotated[Line, StringConstraints(pattern=r"^[^/]+(?:/[^/]+)?$")]
    revision: Line | None


class Manifest(_Part):
    """The first file of a pack.

    Attributes:
        environment: versions where it was packed.
        data: as `--data` was given; results show it.
        files: all others, by their places.
    """

    form: Literal[1] = FORM
    ko_eval: Line
    environment: dict[Line, Line]
    data: Line
    variant: Line | None
    suite: SuiteDefinition | None
    tasks: Annotated[list[PackedTask], Field(min_length=1, max_length=1000)]
    model: PackedModel | None
    files: Annotated[dict[Place, PackedFile], Field(max_length=10_000)]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        names = [task.definition.name for task in self.tasks]
        if len(set(names)) < len(names):
            raise ValueError("a task is in it twice")
        if self.suite is not None and len(self.suite.tasks) != len(names):
            raise ValueError("its tasks are not those of its suite")
        wanted = {rows_place(name) for name in names}
        wanted |= {fewshot_place(task.definition.name) for task in self.tasks if task.fewshot}
        of_model = {place for place in self.files if place.startswith(f"{MODEL_FOLDER}/")}
        if wanted != set(self.files) - of_model or bool(of_model) != (self.model is not None):
            raise ValueError("its files are not those of its tasks and model")
        if any(self.files[place].size > LARGEST_ROWS for place in wanted):
            raise ValueError(f"rows of more than {LARGEST_ROWS} bytes")
        return self

    def task(self, name: str) -> PackedTask:
        """The packed task of that name.

        Raises:
            DataError: it is not among them; near misses are offered.
        """
        for task in self.tasks:
            if task.definition.name == name:
                return task
        known = [task.definition.name for task in self.tasks]
        raise DataError(f"the pack holds no task '{name}'", hint=near_miss(name, known))


class _OfAnyForm(BaseModel):
    """All that is looked at before it is known how to read the rest."""

    form: int
    ko_eval: Line = "another version"


def rows_place(task: Name) -> str:
    """Where a task's rows lie in a pack."""
    return f"rows/{task}.jsonl"


def fewshot_place(task: Name) -> str:
    """Where a task's few-shot examples lie in a pack."""
    return f"fewshot/{task}.jsonl"


def parse_manifest(content: bytes, where: str) -> Manifest:
    """A manifest, with all that can be wrong in it checked.

    Args:
        where: names the pack in an error.

    Raises:
        DataError: it is damaged, of another form, or says what cannot be.
        TaskError: a task's scorer does not take it.
    """
    again = "pack again with `ko-eval pack`, and copy the whole file"
    try:
        found = _OfAnyForm.model_validate_json(content)
        if found.form != FORM:
            raise DataError(
                f"the pack's manifest is of form {found.form}; this version of ko-eval reads "
                f"form {FORM}",
                where=where,
                hint=f"use the ko-eval that made it ({found.ko_eval}), or pack again with this one",
            )
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f"the pack's manifest cannot be used: {first['msg'].removeprefix('Value error, ')}"
            + (f" (field {field!r:.200})" if field else ""),
            where=where,
            hint=again,
        ) from error
    for task in manifest.tasks:
        check_scorer_of(task.definition, Path(f"{where}, task {task.definition.name}"))
    return manifest


@functools.lru_cache(maxsize=4)
def read_manifest(folder: Path) -> Manifest:
    """The manifest of an unpacked pack, whose folder never changes.

    Raises:
        DataError: it cannot be read.
    """
    path = folder / MANIFEST
    try:
        return parse_manifest(path.read_bytes(), str(path))
    except OSError as error:
        raise _gone(path, error) from error


def packed_rows(folder: Path, task: str) -> Rows:
    """The rows of a packed task.

    Raises:
        DataError: it is not in the pack, or its rows are not those that were packed.
    """
    return _rows(folder / rows_place(task), read_manifest(folder).task(task).rows)


def packed_fewshot(folder: Path, task: str) -> Rows | None:
    """The few-shot examples of a packed task; None when it had none.

    Raises:
        DataError: it is not in the pack, or its examples are not those that were packed.
    """
    packed = read_manifest(folder).task(task).fewshot
    return None if packed is None else _rows(folder / fewshot_place(task), packed)


def _rows(path: Path, packed: PackedRows) -> Rows:
    try:
        rows = tuple(read_json_lines(path))
    except OSError as error:
        raise _gone(path, error) from error
    sha256 = content_hash(rows)
    if (sha256, len(rows)) != (packed.sha256, packed.rows):
        raise DataError(
            f"the rows of '{packed.source}' are not those that its manifest names: SHA-256 "
            f"{sha256}, not {packed.sha256}",
            where=str(path),
            hint="pack again with `ko-eval pack`",
        )
    return Rows(
        rows,
        packed.label,
        packed.source,
        sha256,
        packed.revision,
        packed.columns,
        packed.dropped,
    )


def _gone(path: Path, error: OSError) -> DataError:
    return DataError(
        f"a file of the unpacked pack cannot be read: {error.strerror or error}",
        where=str(path),
        hint="run the same command again: what is missing is unpacked anew",
    )
