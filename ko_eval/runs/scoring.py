"""From responses to scores: no model needed, whoever made the responses."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ko_eval.errors import DataError, near_miss
from ko_eval.scorers.base import Scorer
from ko_eval.stats.estimates import scaled
from ko_eval.tasks.definition import TaskDefinition
from ko_eval.tasks.samples import text_id
from ko_eval.tasks.sources import read_json_lines
from ko_eval.types import (
    GenerateResponse,
    JsonValue,
    LoglikelihoodResponse,
    Metric,
    Outcome,
    Response,
    Sample,
    SampleScore,
    TaskResult,
)


def score_task(
    task: TaskDefinition,
    scorer: Scorer,
    samples: Sequence[Sample],
    responses: Mapping[str, Response],
) -> tuple[TaskResult, list[SampleScore]]:
    """Judges all samples of a task.

    Args:
        responses: by sample id; one for every sample.
    """
    scores = [scorer.score(sample, responses[sample.id]) for sample in samples]
    metrics = scorer.aggregate(scores)
    metric = task.metric or scorer.metrics[0]
    counts = Counter(score.outcome for score in scores)
    result = TaskResult(
        task=task.name,
        title=task.title or task.name,
        metric=metric,
        shown=scaled(metrics[metric], task.scale),
        metrics=metrics,
        outcomes={outcome: counts[outcome] for outcome in Outcome},
        n=len(scores),
    )
    return result, scores


def average(shown: Sequence[Metric]) -> Metric:
    """The plain mean of the shown values of independent tasks.

    Tasks have different items, so their errors are independent: the standard error is √Σse² / k,
    and the interval adds the tasks' distances to their own limits in squares (MOVER: Zou and
    Donner 2008), so that it stays honest where a task is all right or all wrong.
    """
    count = len(shown)
    value = sum(metric.value for metric in shown) / count
    down = [m.value - m.low for m in shown if m.low is not None]
    up = [m.high - m.value for m in shown if m.high is not None]
    errors = [m.stderr for m in shown if m.stderr is not None]
    if min(len(down), len(up), len(errors)) < count:
        return Metric(value, None, None, None, count)
    return Metric(
        value=value,
        stderr=math.hypot(*errors) / count,
        low=value - math.hypot(*down) / count,
        high=value + math.hypot(*up) / count,
        n=count,
    )


def read_responses(path: Path, samples: Sequence[Sample]) -> dict[str, Response]:
    """Responses made elsewhere, by sample id.

    Each row holds `id` and either `response` (text) or `loglikelihoods` (numbers).

    Raises:
        DataError: a row is damaged; an id is missing, surplus or given twice (named).
    """
    if not path.is_file():
        raise DataError(f"there is no response file '{path}'", hint="check the path")
    known = {sample.id for sample in samples}
    responses: dict[str, Response] = {}
    for row in read_json_lines(path):
        if "id" not in row.values:
            raise DataError(
                "the row has no 'id'", where=row.where, hint='{"id": …, "response": "…"}'
            )
        name = text_id(row.values["id"])
        if name in responses:
            raise DataError(f"the id '{name}' is answered twice", where=row.where)
        if name not in known:
            raise DataError(
                f"the id '{name}' is not in the data",
                where=row.where,
                hint="does --data name the rows that were asked? "
                + near_miss(name, sorted(known)[:20]),
            )
        responses[name] = _as_response(row.values, row.where)
    missing = [sample.id for sample in samples if sample.id not in responses]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(samples)} ids have no response, first: "
            + ", ".join(f"'{name}'" for name in missing[:3]),
            where=str(path),
            hint="give one response per row of the data",
        )
    return responses


def _as_response(values: Mapping[str, JsonValue], where: str) -> Response:
    text, numbers = values.get("response"), values.get("loglikelihoods")
    if isinstance(text, str):
        return GenerateResponse(text=text)
    if isinstance(numbers, list):
        try:
            return LoglikelihoodResponse(tuple(float(str(number)) for number in numbers))
        except ValueError as error:
            raise DataError(
                f"'loglikelihoods' must be numbers, not {numbers!r}"[:200], where=where
            ) from error
    raise DataError(
        "the row has neither 'response' (a text) nor 'loglikelihoods' (a list of numbers)",
        where=where,
    )


def sample_line(score: SampleScore, **more: JsonValue) -> str:
    """One line of a per-sample file: id, metric values, extracted answer, outcome, detail."""
    content = {
        "id": score.id,
        "metrics": dict(score.metrics),
        "extracted": score.extracted,
        "outcome": score.outcome.value,
        "detail": dict(score.detail),
        **more,
    }
    return json.dumps(content, ensure_ascii=False)


def metric_fields(metric: Metric) -> dict[str, float | int | None]:
    """A metric as a mapping."""
    return dataclasses.asdict(metric)
