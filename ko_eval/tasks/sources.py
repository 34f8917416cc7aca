"""Rows of a benchmark: bundled, from a file or folder, or from the Hugging Face hub.

Every row remembers where it came from, so that an error can name the file and the line; every set
of rows has a content hash, so that a result can say what was evaluated.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ko_eval.errors import DataError, TaskError, first_line
from ko_eval.resources import shipped
from ko_eval.tasks.definition import HubSource, TaskDefinition
from ko_eval.tasks.templates import evaluate
from ko_eval.types import JsonValue

FORMATS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")

_LONE_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

DataLabel = Literal["bundled", "hub", "private"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands in its source, and where that is."""

    values: Mapping[str, JsonValue]
    where: str


@dataclass(frozen=True, slots=True)
class Rows:
    """All rows of one source.

    Attributes:
        label: `bundled`, `hub` or `private`; results show it beside every score.
        source: the file's name, or the dataset's id, configuration and split.
        sha256: of the rows' content in order, independent of the file format.
        revision: the hub commit that was read; None for files.
        columns: entries of the task's column mapping that this source replaces.
        dropped: rows that the source's `keep` left out.
    """

    rows: tuple[Row, ...]
    label: DataLabel
    source: str
    sha256: str
    revision: str | None
    columns: Mapping[str, str]
    dropped: int = 0


def task_rows(task: TaskDefinition, data: str) -> Rows:
    """The rows to evaluate.

    Args:
        data: `bundled`, `hub`, or the path of a file or of a folder with one file per task.

    Raises:
        DataError: there is no such source for this task, or its content is damaged.
    """
    if data == "bundled":
        if task.data.bundled is None:
            raise DataError(
                f"task '{task.name}' has no bundled rows", hint="give --data hub or --data PATH"
            )
        return _from_file(shipped("seeds", task.data.bundled), "bundled")
    if data == "hub":
        if not task.data.hub:
            raise DataError(
                f"task '{task.name}' has no public equivalent on the hub",
                hint="give --data bundled, or --data PATH with your own rows",
            )
        return _from_hub(task.data.hub[0])
    return _from_file(_file_for(task.name, Path(data)), "private")


def fewshot_rows(task: TaskDefinition, data: str) -> Rows | None:
    """The few-shot examples: beside the given data, else from the hub, else bundled; or None."""
    folder = Path(data)
    if data not in ("bundled", "hub") and folder.is_dir():
        for suffix in FORMATS:
            beside = folder / f"{task.name}.fewshot{suffix}"
            if beside.is_file():
                return _from_file(beside, "private")
    if data == "hub" and task.fewshot.hub is not None:
        return _from_hub(task.fewshot.hub)
    if task.fewshot.bundled is not None:
        return _from_file(shipped("seeds", task.fewshot.bundled), "bundled")
    return None


def read_rows(path: Path) -> Iterator[Row]:
    """Rows of a JSON Lines, JSON, CSV, TSV or Parquet file.

    Raises:
        DataError: the file is missing, empty, of another format, or damaged (line named).
    """
    readers = {
        ".jsonl": read_json_lines,
        ".json": _read_json,
        ".csv": _read_csv,
        ".tsv": _read_csv,
        ".parquet": _read_parquet,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"'{path.name}' is of a format that cannot be read",
            where=str(path),
            hint="use one of: " + ", ".join(FORMATS),
        )
    try:
        yield from reader(path)
    except OSError as error:
        raise DataError(
            f"cannot read the data: {error.strerror or error}", where=str(path)
        ) from error


def _file_for(name: str, path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise DataError(
            f"there is no data at '{path}'",
            hint="give 'bundled', 'hub', a file, or a folder with one file per task",
        )
    for suffix in FORMATS:
        if (path / f"{name}{suffix}").is_file():
            return path / f"{name}{suffix}"
    raise DataError(
        f"the data folder holds no rows for task '{name}'",
        where=str(path),
        hint=f"put them in {name}.jsonl (or {', '.join(FORMATS[1:])})",
    )


def _from_file(path: Path, label: DataLabel) -> Rows:
    return _rows(tuple(read_rows(path)), label, path.name, str(path), None, {})


def _rows(
    rows: tuple[Row, ...],
    label: DataLabel,
    source: str,
    where: str,
    revision: str | None,
    columns: Mapping[str, str],
    dropped: int = 0,
) -> Rows:
    if not rows:
        raise DataError("the data is empty", where=where, hint="give at least one row")
    return Rows(rows, label, source, content_hash(rows), revision, columns, dropped)


def content_hash(rows: tuple[Row, ...]) -> str:
    """SHA-256 over the rows as canonical JSON."""
    digest = hashlib.sha256()
    for row in rows:
        line = json.dumps(row.values, ensure_ascii=False, sort_keys=True, default=str)
        digest.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()


def _decoded(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"the text is not UTF-8 (byte {error.start} of it)",
            where=where,
            hint="save the file as UTF-8; Korean files from Excel are often CP949",
        ) from error


def _as_row(value: JsonValue, where: str) -> Row:
    if not isinstance(value, dict):
        raise DataError(
            f"a row must be an object with named columns, not {type(value).__name__}", where=where
        )
    return Row(value, where)


def _parsed(text: str, where: str) -> JsonValue:
    try:
        parsed: JsonValue = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"not valid JSON: {error}", where=where, hint="a torn line? write the file again"
        ) from error
    # "\ud83d" alone is valid JSON, but no text: it can be neither encoded nor shown.
    if _LONE_SURROGATE.search(text):
        try:
            json.dumps(parsed, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise DataError(
                "the text holds half of a surrogate pair", where=where, hint="write it as UTF-8"
            ) from error
    return parsed


def read_json_lines(path: Path) -> Iterator[Row]:
    """Rows of a JSON Lines file, whatever its name; see `read_rows`."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            where = f"{path}, line {number}"
            if text := _decoded(raw, where).strip():
                yield _as_row(_parsed(text, where), where)


def _read_json(path: Path) -> Iterator[Row]:
    content = _parsed(_decoded(path.read_bytes(), str(path)), str(path))
    if isinstance(content, dict) and all(isinstance(row, dict) for row in content.values()):
        for key, row in content.items():
            yield _as_row({"id": key, **row}, f"{path}, key '{key}'")
        return
    if not isinstance(content, list):
        raise DataError("the file must hold a list of rows", where=str(path))
    for number, row in enumerate(content, start=1):
        where = f"{path}, row {number}"
        yield _as_row(row, where)


def _read_csv(path: Path) -> Iterator[Row]:
    text = _decoded(path.read_bytes(), str(path))
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    csv.field_size_limit(10_000_000)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for values in reader:
            where = f"{path}, line {reader.line_num}"
            if None in values or None in values.values():
                raise DataError(
                    f"the row has not as many cells as the header ({len(reader.fieldnames or [])})",
                    where=where,
                )
            yield Row(dict(values), where)
    except csv.Error as error:
        raise DataError(
            f"not valid CSV: {error}", where=f"{path}, line {reader.line_num}"
        ) from error


def _read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except pyarrow.ArrowException as error:
        raise DataError(f"not a readable Parquet file: {error}", where=str(path)) from error
    for number, row in enumerate(rows, start=1):
        yield Row(row, f"{path}, row {number}")


def _from_hub(source: HubSource) -> Rows:
    # Imported here: `datasets` takes most of a second, and only hub data needs it.
    import datasets
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    # The HTTP library's own base error: it is raised bare when nothing answers.
    connection_error: type[Exception] = HfHubHTTPError.__bases__[0]

    name = " / ".join(part for part in (source.path, source.name, source.split) if part)
    revision = source.revision
    try:
        if revision is None and not Path(source.path).exists():
            revision = huggingface_hub.HfApi().dataset_info(source.path).sha
        table = datasets.load_dataset(
            source.path, source.name, split=source.split, revision=revision
        )
    except (
        *(connection_error, OfflineModeIsEnabled, datasets.exceptions.DatasetsError),
        *(OSError, ValueError, RuntimeError),
    ) as error:
        raise DataError(
            f"cannot load '{name}' from the hub: {first_line(error)}",
            where=f"dataset {source.path}",
            hint="check the network and HF_TOKEN (gated data must be requested on its page), "
            "or use --data bundled or --data PATH",
        ) from error
    rows = tuple(Row(row, f"{name}, row {i}") for i, row in enumerate(table, start=1))
    kept = tuple(row for row in rows if _is_kept(source, row))
    dropped = len(rows) - len(kept)
    return _rows(kept, "hub", name, name, revision, source.columns, dropped)


def _is_kept(source: HubSource, row: Row) -> bool:
    if source.keep is None:
        return True
    try:
        return bool(evaluate(source.keep, {**row.values, "row": row.values}, where=row.where))
    except TaskError as error:
        raise DataError(error.what, where=f"{row.where}, 'keep'", hint=error.hint) from error
