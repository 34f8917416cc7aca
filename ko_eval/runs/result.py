"""The result schema: what `results.json` holds. Published as `docs/results.schema.json`.

Fields are only ever added within a major `schema_version`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ko_eval.errors import DataError
from ko_eval.tasks.definition import Fact
from ko_eval.types import Metric

SCHEMA_VERSION = "1.4"

_LARGEST = 100_000_000  # bytes; a result with every subject of a large suite is below 2 MB

# No count of a result is larger, tokens included, nor any time in seconds.
_MOST = 10**15


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Value(_Part):
    """A value with its uncertainty."""

    value: float
    stderr: float | None = Field(description="standard error; null when n < 2")
    low: float | None = Field(description="lower end of the 95 % interval")
    high: float | None = Field(description="upper end of the 95 % interval")
    n: int

    @classmethod
    def of(cls, metric: Metric) -> Value:
        """A metric as the result schema holds it."""
        return cls(
            value=metric.value,
            stderr=metric.stderr,
            low=metric.low,
            high=metric.high,
            n=metric.n,
        )

    def metric(self) -> Metric:
        """The value as the statistics take it."""
        return Metric(self.value, self.stderr, self.low, self.high, self.n)


class DataUsed(_Part):
    """The rows that were evaluated, or that the few-shot examples came from."""

    label: Literal["bundled", "hub", "private"]
    source: str
    sha256: str = Field(description="of the rows' content in order")
    revision: str | None = Field(description="commit on the hub")
    dropped: int = Field(
        default=0,
        description="rows that the source's filter left out; the first results, which do not say, "
        "had no filter",
    )


class Tokens(_Part):
    """Tokens of all requests of a task."""

    prompt: int = Field(description="fed before what was scored or generated")
    completion: int = Field(description="scored or generated, thinking included")
    thinking: int = Field(description="0 also where a server does not tell")


class Cost(_Part):
    """What a server's answers cost, by the prices in `configs/models/`."""

    amount: float = Field(
        description="of the answers: without attempts that failed, and for likelihoods without the "
        "requests that count a context's tokens"
    )
    currency: str
    input_per_million: float = Field(description="price of a million tokens read")
    output_per_million: float = Field(description="price of a million tokens written")


class Usage(_Part):
    """What a task asked for, and what was written; equal requests are asked once."""

    requests: int = Field(description="those that differ")
    sequences: int = Field(description="texts read: one per choice, one per prompt")
    tokens_asked: int = Field(description="tokens to read if each sequence were read alone")
    tokens_distinct: int = Field(
        description="tokens to read when those that stand alike are read once"
    )
    tokens_most: int = Field(description="most tokens that the requests allow to be written")
    tokens_written: int = Field(description="tokens generated, thinking included")


class FormatLoss(_Part):
    """What is lost because the published way of reading answers fails on Korean text."""

    published: str = Field(description="the metric as published")
    korean: str = Field(description="the Korean-aware metric, from the same responses")
    shown: Value = Field(description="Korean-aware minus published, on the board's scale")


class Levels(_Part):
    """What a score of a task means, on the board's scale."""

    chance: float = Field(description="what answering without reading the question earns")
    best: float = Field(description="what always choosing the best answer earns")


class TaskReport(_Part):
    """One task."""

    name: str
    title: str
    board_key: str | None
    category: str
    variant: str | None
    metric: str = Field(description="the leading metric")
    shown: Value = Field(description="the leading metric on the board's scale")
    metrics: dict[str, Value]
    groups: dict[str, Value] = Field(
        default={}, description="the shown value per subject or other group"
    )
    format_loss: FormatLoss | None = None
    levels: Levels | None = Field(
        default=None,
        description="of the leading metric, computed on the rows; null for tasks without options "
        "and in results before 1.4",
    )
    n: int
    outcomes: dict[str, int] = Field(description="sum to n")
    shots: int
    chat_template: bool
    data: DataUsed
    fewshot: DataUsed | None
    truncated: int = Field(description="requests whose context was cut on the left")
    tokens: Tokens
    usage: Usage | None = Field(
        default=None, description="null in results before 1.2, and of servers"
    )
    seconds: float = Field(description="time of the engine, all sessions of the run together")
    definition_sha256: str = Field(
        default="unknown",
        description="of the task definition as used; `unknown` in the first results",
    )
    protocol: dict[str, Fact]
    notes: list[str]


class ModelUsed(_Part):
    """The model."""

    name: str
    type: str
    revision: str | None
    sha256: str = Field(
        description="of configuration, tokenizer and weights; `unknown` behind a server"
    )
    adapter: str | None
    template_sha256: str | None
    max_length: int = Field(description="window in tokens; 0 where a server does not tell")


LevelsSource = Literal["computed", "known", "inferred", "assumed"]


class IndexTask(_Part):
    """One task's part in an index."""

    name: str
    category: str
    metric: str = Field(description="that counts in the index")
    measured: Value = Field(description="the metric on the board's scale")
    levels: Levels
    levels_are: LevelsSource = Field(
        description="computed on the rows of this run, or as the index's definition states them"
    )
    corrected: Value = Field(description="0 at chance, 100 at best; not cut at 0")
    weight: float = Field(description="share of the index; those of all tasks sum to 1")


class IndexCategory(_Part):
    """One category of an index."""

    name: str
    tasks: list[str]
    shown: Value = Field(description="weighted mean of its tasks, corrected for chance")
    weight: float = Field(description="share of the index; those of all categories sum to 1")


class Index(_Part):
    """A composite of all tasks: corrected for chance and weighted by category."""

    name: str = Field(description="of the suite that defines it")
    definition_sha256: str = Field(description="indices of other definitions are incomparable")
    shown: Value = Field(description="0 for a model that guesses, 100 for a perfect one")
    plain_average: Value = Field(
        description="plain mean of the same tasks by the published metrics, nothing corrected"
    )
    categories: list[IndexCategory]
    tasks: list[IndexTask]


class RunResult(_Part):
    """A finished run."""

    schema_version: str = SCHEMA_VERSION
    ko_eval: str
    git_revision: str | None
    created: str
    model: ModelUsed
    suite: str | None
    suite_protocol: dict[str, Fact]
    data: str
    limit: int | None
    seed: int
    fingerprint: str
    layers: Mapping[str, object] = Field(
        description="hashes of what the fingerprint covers; `details` holds finer parts of the "
        "same, and what judges the responses, and is not covered"
    )
    conditions: Mapping[str, object] = Field(description="engine, device, dtype and the like")
    environment: dict[str, str] = Field(description="versions when the model was last asked")
    average: Value | None = Field(description="plain mean of the shown values")
    index: Index | None = Field(
        default=None, description="null unless all of its tasks were run, and before 1.4"
    )
    cost: Cost | None = Field(default=None, description="null without a price")
    tasks: list[TaskReport]
    warnings: list[str]

    @property
    def failed(self) -> int:
        """Samples that the engine could not answer."""
        return sum(task.outcomes.get("failed", 0) for task in self.tasks)


def read_result(path: Path) -> RunResult:
    """The result of a finished run.

    Args:
        path: the run directory, or its `results.json`.

    Raises:
        DataError: there is no such file, or it holds no result that this version can read.
    """
    file = path / "results.json" if path.is_dir() else path
    ours = _version_numbers(SCHEMA_VERSION)
    try:
        if file.exists() and not file.is_file():
            raise DataError("a result must be an ordinary file", where=str(file))
        if file.stat().st_size > _LARGEST:
            raise DataError(f"a result is not larger than {_LARGEST:,} bytes", where=str(file))
        content = file.read_bytes()
        version = _Versioned.model_validate_json(content).schema_version
        if _version_numbers(version)[0] != ours[0]:
            raise DataError(
                f"the result's schema version is {version}; this version of ko-eval reads "
                f"{ours[0]}.x",
                where=str(file),
            )
        # Within a major version fields are only added: ours are all there.
        later = _version_numbers(version) > ours
        result = RunResult.model_validate_json(content, extra="ignore" if later else None)
        _check_counts(result, file)
        return result
    except OSError as error:
        raise DataError(
            f"there is no result at '{path}'",
            hint="give a run directory that holds results.json",
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(
            f"the file holds no result of a run: {place}: {first['msg'][:1].lower()}"
            f"{first['msg'][1:]}",
            where=str(file),
            hint="give a run directory, or its results.json",
        ) from error


def _check_counts(result: RunResult, file: Path) -> None:
    """Raise `DataError` for counts and times that no run has, and nothing can compute with."""
    names = Counter(task.name for task in result.tasks)
    if twice := [name for name, count in names.items() if count > 1]:
        raise DataError(
            f"the result is not that of a run: task '{twice[0]}' stands in it twice",
            where=str(file),
        )
    for task in result.tasks:
        counts = {"n": task.n, **task.outcomes, **task.tokens.model_dump()}
        if task.usage is not None:
            counts |= task.usage.model_dump()
        wrong = [
            name
            for name, count in {**counts, "seconds": task.seconds}.items()
            if not 0 <= count <= _MOST or (name in task.outcomes and count > task.n)
        ]
        if wrong:
            raise DataError(
                f"the result is not that of a run: task '{task.name}' has an impossible "
                f"'{wrong[0]}'",
                where=str(file),
            )


class _Versioned(BaseModel):
    """All that is looked at before it is known how to read the rest."""

    schema_version: str = Field(pattern=r"^[0-9]{1,9}\.[0-9]{1,9}$")


def _version_numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def main() -> None:
    """Writes the JSON Schema to stdout."""
    import json
    import sys

    sys.stdout.write(json.dumps(RunResult.model_json_schema(), indent=2) + "\n")


if __name__ == "__main__":
    main()
