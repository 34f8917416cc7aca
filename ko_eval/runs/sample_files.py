"""`samples/<task>.jsonl` read back: how each sample of a run was judged. No model needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic import JsonValue as AnyJson

from ko_eval.errors import DataError
from ko_eval.runs.files import safe_name
from ko_eval.types import JsonValue, Outcome

# A line holds what a scorer saw of one response; what is longer is no line of ours.
_LONGEST_LINE = 16 * 2**20  # bytes
_MOST_SAMPLES = 2_000_000
# No metric has such values, of which sums can still be taken.
_Number = Annotated[float, Field(ge=-1e100, le=1e100)]


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """One line of a per-sample file.

    Attributes:
        id: the sample's id, unique in its file.
        metrics: metric name to value; a metric that is not defined for the sample is left out.
        extracted: the answer as the scorer's first metric read it, or None.
        detail: what the scorer saw.
        key: content key of the request, as in the journal; None where nobody asked one.
        group: the value of the task's `group` field (such as the subject), or None.
        cluster: what the sample shares with others (a passage, a twin), or None.
        choice_order: places of the shown options in the row, where they were shuffled, or None.
    """

    id: str
    metrics: Mapping[str, float]
    extracted: str | None
    outcome: Outcome
    detail: Mapping[str, JsonValue]
    key: str | None = None
    group: str | None = None
    cluster: str | None = None
    choice_order: tuple[int, ...] | None = None


class _Line(BaseModel):
    """What must stand in a line; later versions may add more."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    id: str
    metrics: dict[str, _Number | None]
    extracted: str | None
    outcome: Outcome
    detail: dict[str, AnyJson] = {}
    key: str | None = None
    group: str | None = None
    cluster: str | None = None
    choice_order: list[int] | None = Field(default=None, max_length=1000)


def samples_path(run_directory: Path, task: str) -> Path:
    """Where a run's per-sample file of a task lies."""
    return run_directory / "samples" / f"{safe_name(task)}.jsonl"


def read_samples(run_directory: Path, task: str) -> list[SampleRecord]:
    """The samples of one task, in the order of its data.

    Raises:
        DataError: there is no such file, or a line of it is damaged (file and line named).
    """
    return read_sample_file(samples_path(run_directory, task))


def read_sample_file(path: Path) -> list[SampleRecord]:
    """As `read_samples`, from a file of that form, such as `score --samples-out` writes.

    Raises:
        DataError: see `read_samples`.
    """
    records: list[SampleRecord] = []
    places: dict[str, int] = {}
    for number, raw in _lines(path):
        where = f"{path}, line {number}"
        try:
            line = _Line.model_validate_json(raw)
        except ValidationError as error:
            raise DataError(
                f"the line holds no sample of a run: {_problem(error)}",
                where=where,
                hint="the file is derived: the `ko-eval run` command of the run writes it again",
            ) from error
        if line.id in places:
            raise DataError(
                f"the sample '{line.id}' occurs twice (first: line {places[line.id]})", where=where
            )
        places[line.id] = number
        records.append(_record(line))
    if not records:
        raise DataError("the file holds no samples", where=str(path))
    return records


def _problem(error: ValidationError) -> str:
    """What is wrong with the first field that is."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    field = ".".join(map(str, first["loc"]))
    return f"field '{field}': {first['msg']}"[:200] if field else first["msg"][:200]


def _record(line: _Line) -> SampleRecord:
    return SampleRecord(
        id=line.id,
        metrics={name: value for name, value in line.metrics.items() if value is not None},
        extracted=line.extracted,
        outcome=line.outcome,
        detail=line.detail,
        key=line.key,
        group=line.group,
        cluster=line.cluster,
        choice_order=None if line.choice_order is None else tuple(line.choice_order),
    )


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number and content of each line that holds something."""
    try:
        if path.exists() and not path.is_file():
            raise DataError("per-sample scores must be an ordinary file", where=str(path))
        with path.open("rb") as file:
            number = 0
            while raw := file.readline(_LONGEST_LINE + 1):
                number += 1
                if len(raw) > _LONGEST_LINE or number > _MOST_SAMPLES:
                    raise DataError(
                        f"the file is not one of per-sample scores: more than {_MOST_SAMPLES:,} "
                        f"lines, or a line of more than {_LONGEST_LINE:,} bytes",
                        where=f"{path}, line {number}",
                    )
                if stripped := raw.strip():
                    yield number, stripped
    except OSError as error:
        raise DataError(
            f"the per-sample scores cannot be read: {error.strerror or error}",
            where=str(path),
            hint="give a whole run directory, with its samples/ (the `ko-eval run` command of the "
            "run writes them again)",
        ) from error
