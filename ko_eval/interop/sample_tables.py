"""Per-sample scores as a table: Parquet for `datasets`, pandas and the like, and CSV.

One row per sample and metric, so that tasks with different metrics fit in one table and tables of
several runs can be put together. Values are in the metric's own unit.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ko_eval.interop.exported_run import ExportedRun
from ko_eval.interop.harness_metrics import value_key
from ko_eval.runs.files import disk_errors
from ko_eval.runs.result import TaskReport
from ko_eval.runs.sample_files import SampleRecord, read_samples

if TYPE_CHECKING:
    import pyarrow as pa

Cell = str | float | bool | int | None

COLUMNS: dict[str, str] = {
    "model": "string",
    "model_revision": "string",
    "run": "string",
    "suite": "string",
    "task": "string",
    "variant": "string",
    "board_key": "string",
    "data_label": "string",
    "data_sha256": "string",
    "sample": "string",
    "place": "int64",
    "group": "string",
    "cluster": "string",
    "outcome": "string",
    "extracted": "string",
    "metric": "string",
    "harness_metric": "string",
    "leading": "bool",
    "value": "double",
}
"""Columns and their types in Parquet. `run` is the fingerprint; `place` is the sample's, from 0;
`leading` is true for the task's leading metric: its score is the mean of these values, unless it is
pooled, as over instructions."""

# What a spreadsheet would run as a formula: "=1+1", "@SUM(…)", "+cmd|…"; not "-3.5" or "+12".
_FORMULA = re.compile(r"[=@\t\r]|[+-](?![\d.,]{0,400}$)")


def rows(run: ExportedRun, task: TaskReport) -> Iterator[dict[str, Cell]]:
    """The rows of a task, samples in the order of the data.

    Raises:
        DataError: the per-sample file is missing or damaged.
    """
    of_task: dict[str, Cell] = {
        "model": run.model,
        "model_revision": run.result.model.revision,
        "run": run.result.fingerprint,
        "suite": run.result.suite,
        "task": task.name,
        "variant": task.variant,
        "board_key": task.board_key,
        "data_label": task.data.label,
        "data_sha256": task.data.sha256,
    }
    for place, record in enumerate(read_samples(run.directory, task.name)):
        of_sample = of_task | _sample(place, record)
        for name, value in record.metrics.items():
            yield of_sample | {
                "metric": name,
                "harness_metric": value_key(name),
                "leading": name == task.metric,
                "value": value if math.isfinite(value) else None,
            }


def _sample(place: int, record: SampleRecord) -> dict[str, Cell]:
    return {
        "sample": record.id,
        "place": place,
        "group": record.group,
        "cluster": record.cluster,
        "outcome": record.outcome.value,
        "extracted": record.extracted,
    }


def write_parquet(run: ExportedRun, path: Path) -> None:
    """Writes one Parquet file, a row group per task.

    Raises:
        DataError: a per-sample file is missing or damaged.
        RunError: the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in COLUMNS.items()])
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)
            with pq.ParquetWriter(temporary, schema) as writer:
                for task in run.result.tasks:
                    writer.write_table(_table(run, task, schema))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _table(run: ExportedRun, task: TaskReport, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_pylist([_encodable(row) for row in rows(run, task)], schema=schema)


def csv_text(run: ExportedRun) -> str:
    """The same rows as CSV with a header.

    A text that a spreadsheet would take for a formula gets an apostrophe in front.

    Raises:
        DataError: a per-sample file is missing or damaged.
    """
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, fieldnames=list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    for task in run.result.tasks:
        for row in rows(run, task):
            writer.writerow({name: _plain(value) for name, value in _encodable(row).items()})
    return out.getvalue()


def _plain(value: Cell) -> Cell:
    if isinstance(value, str) and _FORMULA.match(value):
        return "'" + value
    return value


def _encodable(row: dict[str, Cell]) -> dict[str, Cell]:
    """The row without halves of surrogate pairs, which neither format can hold."""
    return {
        name: value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
        for name, value in row.items()
    }
