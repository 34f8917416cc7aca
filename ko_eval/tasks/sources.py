"""Rows of a benchmark: bundled, from a file or folder, or from the Hugging Face hub.

Every row remembers where it came from, so that an error can name the file and the line; every set
of rows has a content hash, so that a result can say what was evaluated.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

from ko_eval.bounds import parsed_json
from ko_eval.errors import DataError, near_miss
from ko_eval.resources import shipped
from ko_eval.tasks.definition import HubSource, TaskDefinition
from ko_eval.tasks.hub import hub_rows
from ko_eval.tasks.rows import DataLabel, Row, Rows, collected, typed_row
from ko_eval.types import JsonValue

__all__ = ["FORMATS", "Row", "Rows", "fewshot_rows", "read_json_lines", "read_rows", "task_rows"]

FORMATS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")

# Of a Parquet file, which may hold as many equal rows as it likes in a few bytes.
_MOST_ROWS = 10_000_000

_LONE_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def task_rows(task: TaskDefinition, data: str) -> Rows:
    """The rows to evaluate.

    Args:
        data: `bundled`, `hub`, `hub:OWNER/NAME` for one of several public equivalents, or the path
            of a file or of a folder with one file per task.

    Raises:
        DataError: there is no such source for this task, or its content is damaged.
    """
    if data == "bundled":
        if task.data.bundled is None:
            raise DataError(
                f"task '{task.name}' has no bundled rows", hint="give --data hub or --data PATH"
            )
        return _from_file(shipped("seeds", task.data.bundled), "bundled")
    if _is_hub(data):
        return hub_rows(_equivalent(task, data.partition(":")[2]))
    return _from_file(_file_for(task.name, Path(data)), "private")


def fewshot_rows(task: TaskDefinition, data: str) -> Rows | None:
    """The few-shot examples: beside the given data, else from the hub, else bundled; or None."""
    folder = Path(data)
    if data != "bundled" and not _is_hub(data) and folder.is_dir():
        for suffix in FORMATS:
            beside = folder / f"{task.name}.fewshot{suffix}"
            if beside.is_file():
                return _from_file(beside, "private")
    if _is_hub(data) and task.fewshot.hub is not None:
        return hub_rows(task.fewshot.hub)
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


def _is_hub(data: str) -> bool:
    return data == "hub" or data.startswith("hub:")


def _equivalent(task: TaskDefinition, path: str) -> HubSource:
    """The task's public equivalent of that path; the first one where no path is given."""
    if not task.data.hub:
        raise DataError(
            f"task '{task.name}' has no public equivalent on the hub",
            hint="give --data bundled, or --data PATH with your own rows",
        )
    for source in task.data.hub:
        if path in ("", source.path):
            return source
    raise DataError(
        f"task '{task.name}' has no public equivalent '{path}'",
        where="option --data",
        hint=near_miss(path, {source.path for source in task.data.hub}),
    )


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
    return collected(tuple(read_rows(path)), label, path.name, where=str(path))


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
        parsed = parsed_json(text)
    except ValueError as error:
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
        count = pyarrow.parquet.read_metadata(path).num_rows
        if count > _MOST_ROWS:
            raise DataError(
                f"the file has {count:,} rows, of which at most {_MOST_ROWS:,} can be read",
                where=str(path),
            )
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, ValueError) as error:
        raise DataError(f"not a readable Parquet file: {error}", where=str(path)) from error
    for number, row in enumerate(rows, start=1):
        yield typed_row(row, f"{path}, row {number}")
