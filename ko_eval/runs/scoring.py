"""From responses to scores: no model needed, whoever made the responses."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ko_eval.errors import DataError, near_miss
from ko_eval.scorers.base import FORMAT_PAIRS, HasPseudoValues, Scorer, clusters
from ko_eval.stats.composite import weighted_mean
from ko_eval.stats.estimates import scaled
from ko_eval.stats.paired import paired_metric
from ko_eval.tasks.definition import TaskDefinition
from ko_eval.tasks.samples import text_id
from ko_eval.tasks.sources import read_json_lines
from ko_eval.types import (
    FormatLoss,
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
    scores = [
        dataclasses.replace(
            scorer.score(sample, responses[sample.id]),
            cluster=sample.cluster,
            group=_group(task, sample),
        )
        for sample in samples
    ]
    metrics = scorer.aggregate(scores)
    metric = task.metric or scorer.metrics[0]
    if metric not in metrics:
        raise DataError(
            f"the leading metric '{metric}' of task '{task.name}' cannot be computed from these "
            "responses and rows",
            hint="metrics that can be computed: " + ", ".join(metrics),
        )
    counts = Counter(score.outcome for score in scores)
    result = TaskResult(
        task=task.name,
        title=task.title or task.name,
        metric=metric,
        shown=scaled(metrics[metric], task.scale),
        metrics=metrics,
        outcomes={outcome: counts[outcome] for outcome in Outcome},
        n=len(scores),
        groups=_groups(task, scorer, scores, metric),
        format_loss=_format_loss(scorer, metrics, scores, task.scale) if task.format_loss else None,
    )
    return result, scores


def _group(task: TaskDefinition, sample: Sample) -> str | None:
    name = sample.fields.get(task.group) if task.group else None
    return None if name is None else text_id(name)


def _groups(
    task: TaskDefinition, scorer: Scorer, scores: Sequence[SampleScore], metric: str
) -> dict[str, Metric]:
    """The leading metric for each value of the task's `group` field; rows without one are apart."""
    if task.group is None:
        return {}
    members: defaultdict[str, list[SampleScore]] = defaultdict(list)
    for score in scores:
        members[score.group or ""].append(score)
    if set(members) == {""}:
        return {}
    found = {name: scorer.aggregate(members[name]).get(metric) for name in sorted(members)}
    return {name: scaled(value, task.scale) for name, value in found.items() if value is not None}


def _format_loss(
    scorer: Scorer, metrics: Mapping[str, Metric], scores: Sequence[SampleScore], scale: float
) -> FormatLoss | None:
    for published, korean in FORMAT_PAIRS:
        if published not in metrics or korean not in metrics:
            continue
        if metrics[published].n == metrics[korean].n:  # else they are means over other samples
            after, before = metrics[korean], metrics[published]
            together = [s for s in scores if korean in s.metrics and published in s.metrics]
            # As shares of the most, by which the statistics know how large a difference could be.
            most = most_of(published)
            found = paired_metric(
                [value / most for value in _averaged(scorer, published, together)],
                [value / most for value in _averaged(scorer, korean, together)],
                clusters(together),
            )
            found = scaled(found, most)
            value = after.value - before.value
            if not math.isclose(found.value, value, abs_tol=1e-9):
                # Over the same number of samples, but not the same ones.
                found = Metric(value, None, None, None, before.n)
            return FormatLoss(published, korean, scaled(found, scale))
    return None


def _averaged(scorer: Scorer, metric: str, scores: Sequence[SampleScore]) -> Sequence[float]:
    """The values whose mean the metric is."""
    values = scorer.pseudo_values(metric, scores) if isinstance(scorer, HasPseudoValues) else None
    return [score.metrics[metric] for score in scores] if values is None else values


def most_of(metric: str) -> float:
    """The most that a sample is worth in the metric's own unit: 1 for shares."""
    return 100.0 if metric.startswith(("eqbench", "percent_")) else 1.0


def average(shown: Sequence[Metric]) -> Metric:
    """The plain mean of the shown values of independent tasks; see `weighted_mean`."""
    return weighted_mean(shown, [1.0] * len(shown))


@dataclass(frozen=True, slots=True)
class GivenResponse:
    """A response made elsewhere.

    Attributes:
        id: the sample's id.
        where: file and line.
    """

    id: str
    response: Response
    where: str


def read_responses(path: Path) -> Iterator[GivenResponse]:
    """Responses made elsewhere, as they stand in a JSON Lines file.

    Each row holds `id` and either `response` (text) or `loglikelihoods` (numbers, one per choice;
    those without the question may follow, for `acc_pmi`), the latter optionally with
    `token_counts`, for `acc_tokens`.

    Raises:
        DataError: a row is damaged.
    """
    for row in read_json_lines(path):
        if "id" not in row.values:
            raise DataError(
                "the row has no 'id'", where=row.where, hint='{"id": …, "response": "…"}'
            )
        response = _as_response(row.values, row.where)
        yield GivenResponse(text_id(row.values["id"]), response, row.where)


def by_sample(
    given: Iterable[GivenResponse], samples: Sequence[Sample], where: str
) -> dict[str, Response]:
    """Responses by sample id, exactly one for each.

    Args:
        where: names their source in an error.

    Raises:
        DataError: an id is missing, surplus or given twice (named).
    """
    known = {sample.id for sample in samples}
    responses: dict[str, Response] = {}
    for one in given:
        if one.id in responses:
            raise DataError(f"the id '{one.id}' is answered twice", where=one.where)
        if one.id not in known:
            raise DataError(
                f"the id '{one.id}' is not in the data",
                where=one.where,
                hint="does --data name the rows that were asked? "
                + near_miss(one.id, sorted(known)[:20]),
            )
        responses[one.id] = one.response
    missing = [sample.id for sample in samples if sample.id not in responses]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(samples)} ids have no response, first: "
            + ", ".join(f"'{name}'" for name in missing[:3]),
            where=where,
            hint="give one response per row of the data",
        )
    return responses


def _as_response(values: Mapping[str, JsonValue], where: str) -> Response:
    text, numbers = values.get("response"), values.get("loglikelihoods")
    if isinstance(text, str):
        return GenerateResponse(text=text)
    if isinstance(numbers, list):
        counts = values.get("token_counts") or []
        return LoglikelihoodResponse(
            loglikelihoods=_numbers("loglikelihoods", numbers, where),
            token_counts=_counts(counts, where),
        )
    raise DataError(
        "the row has neither 'response' (a text) nor 'loglikelihoods' (a list of numbers)",
        where=where,
    )


def _numbers(name: str, values: JsonValue, where: str) -> tuple[float, ...]:
    try:
        if not isinstance(values, list):
            raise ValueError
        return tuple(float(str(value)) for value in values)
    except ValueError as error:
        raise DataError(f"'{name}' must be numbers, not {values!r}"[:200], where=where) from error


def _counts(values: JsonValue, where: str) -> tuple[int, ...]:
    numbers = _numbers("token_counts", values, where)
    if not all(1 <= number <= 1e9 and number.is_integer() for number in numbers):
        raise DataError(
            f"'token_counts' must be whole numbers from 1, not {values!r}"[:200], where=where
        )
    return tuple(int(number) for number in numbers)


def sample_line(score: SampleScore, **more: JsonValue) -> str:
    """One line of a per-sample file: a score's fields, those without a cluster or group null."""
    content = {
        "id": score.id,
        "metrics": dict(score.metrics),
        "extracted": score.extracted,
        "outcome": score.outcome.value,
        "detail": dict(score.detail),
        "cluster": score.cluster,
        "group": score.group,
        **more,
    }
    return json.dumps(_finite(content), ensure_ascii=False, allow_nan=False)


def _finite(value: JsonValue) -> JsonValue:
    """The value with null for what JSON has no number for, such as minus infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def metric_fields(metric: Metric) -> dict[str, float | int | None]:
    """A metric as a mapping."""
    return dataclasses.asdict(metric)
