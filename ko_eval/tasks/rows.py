"""Rows as every source gives them: plain JSON values, with their place, and a hash of them all.

Parquet files and the hub also hold dates, decimals and bytes; each has one JSON form here, so that
a row is the same, and so is its hash, whatever it was read from.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Literal
from uuid import UUID

from ko_eval.errors import DataError
from ko_eval.types import JsonValue

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


def collected(
    rows: tuple[Row, ...],
    label: DataLabel,
    source: str,
    *,
    where: str | None = None,
    revision: str | None = None,
    columns: Mapping[str, str] | None = None,
    dropped: int = 0,
) -> Rows:
    """Rows of a source with their hash.

    Args:
        where: names the source in an error; the default is `source`.

    Raises:
        DataError: there are none.
    """
    if not rows:
        raise DataError("the data is empty", where=where or source, hint="give at least one row")
    return Rows(rows, label, source, content_hash(rows), revision, columns or {}, dropped)


def content_hash(rows: tuple[Row, ...]) -> str:
    """SHA-256 over the rows as canonical JSON."""
    digest = hashlib.sha256()
    for row in rows:
        try:
            line = json.dumps(row.values, ensure_ascii=False, sort_keys=True)
        except RecursionError as error:
            raise DataError("the row is nested too deeply", where=row.where) from error
        digest.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()


def typed_row(values: Mapping[str, object], where: str) -> Row:
    """A row of a typed table, with JSON values only.

    Raises:
        DataError: a cell holds something that has no JSON form; its column is named.
    """
    row: dict[str, JsonValue] = {}
    for column, value in values.items():
        try:
            row[column] = _as_json(value)
        except (TypeError, RecursionError) as error:
            raise DataError(
                f"column '{column}' holds what cannot be written as text: {error}",
                where=where,
                hint="store it as text, numbers, lists or objects, or leave the column out",
            ) from error
    return Row(row, where)


def _as_json(value: object) -> JsonValue:
    """A cell as JSON: dates as ISO text, bytes as their text, a missing number as null.

    Bytes that are no text, such as images, cannot be shown to a model: they become their size and
    hash, so that the content hash still covers them.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return None if math.isnan(value) else value
        case Mapping():
            return {str(key): _as_json(item) for key, item in value.items()}
        case list() | tuple():
            return [_as_json(item) for item in value]
        case bytes():
            return _described(value)
        case date() | time():
            return value.isoformat()
        case UUID():
            return str(value)
        case timedelta():
            return value.total_seconds()
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case _:
            raise TypeError(type(value).__name__)


def _described(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"({len(value)} bytes, SHA-256 {hashlib.sha256(value).hexdigest()})"
