"""`eq_bench`: four emotion ratings against reference ratings (EQ-Bench v2, FACTS 3.5).

A question's score is 100 minus the scaled differences and may be negative. Two parsers read the
same response. The board-compatible one takes pairs of the form `word: digits`, exactly four, with
exactly the reference's names; later duplicates overwrite. It cannot read a name with a space, which
Korean names of emotions often have. The Korean-aware one (`eqbench_korean`) reads each of the
reference's names with a number from 0 to 10, in the forms of `korean.answers.ratings`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from ko_eval.errors import DataError
from ko_eval.korean.answers.ratings import extract_ratings
from ko_eval.scorers.base import clusters, expect_text, failed_score, unanswered
from ko_eval.scorers.cells import parsed_or_none
from ko_eval.stats.estimates import mean_metric, scaled, share_metric
from ko_eval.types import (
    FailedResponse,
    GenerateResponse,
    Metric,
    Outcome,
    RequestKind,
    Response,
    Sample,
    SampleScore,
)

# The part of the reference's `(\w+):\s+(\d+)` (eq_bench/utils.py) after the word.
_AFTER_WORD = re.compile(r":\s+(\d+)")
# Reference: an answer of random ratings scores 0 on average with this factor.
_ADJUSTMENT = 0.7477
# What answers of one kind earn on average: 100 if all are right, −79 on the public English
# questions if everything is rated 10.
_SPAN = (-100.0, 100.0)
# The original calls a result invalid under this share of parseable answers (FACTS 3.5).
_VALID_FROM_PERCENT = 83.0
_NAMES = ("eqbench", "percent_parseable", "eqbench_korean", "percent_parseable_korean")


def scaled_difference(distance: float, boundary: Literal["<=5", "<5"] = "<=5") -> float:
    """What a rating that misses by `distance` costs, before the adjustment factor.

    Args:
        distance: absolute difference of two ratings, 0 to 10.
        boundary: whether a distance of exactly 5 lies on the curve (`<=5`, the reference harness)
            or costs 5.0 (`<5`, the published English scores).
    """
    on_curve = distance <= 5 if boundary == "<=5" else distance < 5
    if distance == 0:
        return 0.0
    if on_curve:
        return 6.5 / (1 + math.pow(math.e, -1.2 * (distance - 4)))
    return distance


def reference_ratings(sample: Sample) -> dict[str, float]:
    """Emotion to reference rating, in the order of the data.

    The field `reference_answer_fullscale` may be an object, JSON, or a Python literal in a string.

    Raises:
        DataError: it is not four named ratings.
    """
    found = parsed_or_none(sample.fields.get("reference_answer_fullscale"))
    given = found if isinstance(found, Mapping) else {}
    try:
        ratings = {
            str(given[f"emotion{i}"]): float(str(given[f"emotion{i}_score"])) for i in range(1, 5)
        }
    except (KeyError, ValueError):
        ratings = {}
    if len(ratings) != 4 or not all(math.isfinite(value) for value in ratings.values()):
        raise DataError(
            f"sample '{sample.id}' needs 'reference_answer_fullscale' with emotion1 … emotion4 "
            "(all different) and emotion1_score … emotion4_score"
        )
    return ratings


def word_number_pairs(text: str) -> list[tuple[str, str]]:
    r"""What the reference's `(\w+):\s+(\d+)` finds: one word, so "마음이 놓임: 7" gives "놓임".

    Matched from the colon backwards: the pattern itself takes quadratic time on long words.
    """
    pairs: list[tuple[str, str]] = []
    end_of_last = 0
    for found in _AFTER_WORD.finditer(text):
        start = found.start()
        while start > end_of_last and (text[start - 1].isalnum() or text[start - 1] == "_"):
            start -= 1
        if start < found.start():
            pairs.append((text[start : found.start()], found.group(1)))
            end_of_last = found.end()
    return pairs


def parsed_ratings(text: str, names: Sequence[str]) -> dict[str, float] | None:
    """The four ratings as the reference parses them, or None when it cannot."""
    found = dict(word_number_pairs(text))
    if set(found) != set(names):
        return None
    return {name: _as_float(number) for name, number in found.items()}


def _as_float(digits: str) -> float:
    # Squares and cubes of more digits would overflow; such a rating is as wrong as any huge one.
    return float(digits) if len(digits) < 50 else 1e50


@dataclass(frozen=True, slots=True, kw_only=True)
class EqBench:
    """Judges four emotion ratings.

    Attributes:
        boundary: see `scaled_difference`.
        reading: which of the two readings decides the outcome of a sample and its extracted answer.
        unparseable: `zero` counts an unreadable answer as 0 and averages over all (the reference);
            `exclude` averages over readable answers (the original), which calls a result under
            83 % readable answers invalid: `valid` is then 0.
    """

    boundary: Literal["<=5", "<5"] = "<=5"
    unparseable: Literal["zero", "exclude"] = "zero"
    reading: Literal["published", "korean"] = "published"
    kind: ClassVar[RequestKind] = RequestKind.GENERATE

    @property
    def metrics(self) -> tuple[str, ...]:
        return (*_NAMES, "valid") if self.unparseable == "exclude" else _NAMES

    def check(self, sample: Sample) -> None:
        reference_ratings(sample)

    def gold(self, sample: Sample) -> Response:
        """The reference ratings, one `name: number` line each."""
        lines = (f"{name}: {value:g}" for name, value in reference_ratings(sample).items())
        return GenerateResponse(text="\n".join(lines), finish_reason="stop")

    def score(self, sample: Sample, response: Response) -> SampleScore:
        if isinstance(response, FailedResponse):
            return failed_score(sample, _NAMES, response)
        answer = expect_text(sample, response)
        reference = reference_ratings(sample)
        names = tuple(reference)
        board = parsed_ratings(answer.text, names)
        korean = extract_ratings(answer.text, names)
        read = board if self.reading == "published" else korean
        return SampleScore(
            id=sample.id,
            metrics={
                "eqbench": self._points(board, reference),
                "percent_parseable": 0.0 if board is None else 100.0,
                "eqbench_korean": self._points(korean, reference),
                "percent_parseable_korean": 0.0 if korean is None else 100.0,
            },
            extracted=None if read is None else _listed(read),
            outcome=unanswered(answer) if read is None else Outcome.OK,
            detail={"ratings": board, "ratings_korean": korean, "reference": reference},
        )

    def aggregate(self, scores: Sequence[SampleScore]) -> Mapping[str, Metric]:
        metrics: dict[str, Metric] = {}
        for points, parseable in (_NAMES[:2], _NAMES[2:]):
            read = [score.metrics[parseable] / 100 for score in scores]
            counted = [
                score
                for score, readable in zip(scores, read, strict=True)
                if readable or self.unparseable == "zero"
            ]
            # Where no answer counts there is no mean: a value of nothing, over 0 samples.
            nothing = Metric(0.0, None, None, None, 0)
            values = [score.metrics[points] for score in counted]
            metrics[points] = (
                mean_metric(values, clusters(counted), span=_SPAN)
                if counted or not scores
                else nothing
            )
            metrics[parseable] = scaled(share_metric(read, clusters(scores)), 100)
        if self.unparseable == "exclude":
            parseable = _NAMES[1] if self.reading == "published" else _NAMES[3]
            valid = metrics[parseable].value >= _VALID_FROM_PERCENT
            # A verdict on the run and no estimate: it has no error.
            metrics["valid"] = Metric(float(valid), None, None, None, len(scores))
        return metrics

    def _points(self, ratings: Mapping[str, float] | None, reference: Mapping[str, float]) -> float:
        """A question's score on the scale of 100; 0 for an answer that cannot be read."""
        if ratings is None:
            return 0.0
        cost = sum(
            scaled_difference(abs(ratings[name] - value), self.boundary)
            for name, value in reference.items()
        )
        return (10 - cost * _ADJUSTMENT) * 10


def _listed(ratings: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in ratings.items())
