"""`choice_text`: an option read from generated text (multiple choice by generation).

The model was shown the options under the letters A, B, C, … and answered in its own words. Which
option it named is read by `ko_eval.korean.answers.labels`, whose docstring states the policy; a
response that names none, or two, is no answer and scores 0. What a named option is worth is the
same as in the task's likelihood form, so that the two forms can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from ko_eval.errors import DataError
from ko_eval.korean.answers.labels import extract_label
from ko_eval.scorers.base import clusters, expect_text, failed_score, mean_shares, unanswered
from ko_eval.scorers.choice_likelihood import right_choice
from ko_eval.scorers.graded_choice import credits
from ko_eval.scorers.likelihoods import best, check_choices
from ko_eval.scorers.social_value import check_opinion, shared_by, shared_most
from ko_eval.stats.estimates import share_metric
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

OPTION_LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""What options are called when a model is shown them and answers in text."""

_UNREAD = (Outcome.NO_ANSWER, Outcome.TRUNCATED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceText:
    """Judges the option that a text names.

    Attributes:
        worth: what an option is worth: 1 if it is the right one (`answer`), its credit
            (`credits`), or the people who share it (`distribution`).
    """

    worth: Literal["answer", "credits", "distribution"] = "answer"
    kind: ClassVar[RequestKind] = RequestKind.GENERATE

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of the worth, then `no_answer`, the share of responses without an option."""
        return (*self._worth_metrics, "no_answer")

    def check(self, sample: Sample) -> None:
        check_choices(sample)
        if len(sample.choices) > len(OPTION_LABELS):
            raise DataError(
                f"sample '{sample.id}' has {len(sample.choices)} options; there are letters for "
                f"{len(OPTION_LABELS)}"
            )
        match self.worth:
            case "answer":
                right_choice(sample)
            case "credits":
                credits(sample)
            case "distribution":
                check_opinion(sample)

    def gold(self, sample: Sample) -> Response:
        match self.worth:
            case "answer":
                place = right_choice(sample)
            case "credits":
                place = best(credits(sample))
            case "distribution":
                place = shared_most(sample)
        return GenerateResponse(text=f"정답: ({OPTION_LABELS[place]})", finish_reason="stop")

    def score(self, sample: Sample, response: Response) -> SampleScore:
        if isinstance(response, FailedResponse):
            return failed_score(sample, self._worth_metrics, response)
        answer = expect_text(sample, response)
        labels = OPTION_LABELS[: len(sample.choices)]
        chosen = extract_label(answer.text, sample.choices, labels)
        return SampleScore(
            id=sample.id,
            metrics=dict.fromkeys(self._worth_metrics, 0.0)
            if chosen is None
            else self._values(sample, chosen),
            extracted=None if chosen is None else labels[chosen],
            outcome=unanswered(answer) if chosen is None else Outcome.OK,
            detail={"chosen": chosen},
        )

    def aggregate(self, scores: Sequence[SampleScore]) -> Mapping[str, Metric]:
        unread = [float(score.outcome in _UNREAD) for score in scores]
        no_answer = share_metric(unread, clusters(scores))
        return {**mean_shares(self._worth_metrics, scores), "no_answer": no_answer}

    @property
    def _worth_metrics(self) -> tuple[str, ...]:
        return {
            "answer": ("acc",),
            "credits": ("credit",),
            "distribution": ("a_sva", "sva", "n_sva"),
        }[self.worth]

    def _values(self, sample: Sample, chosen: int) -> dict[str, float]:
        match self.worth:
            case "answer":
                return {"acc": float(chosen == right_choice(sample))}
            case "credits":
                return {"credit": credits(sample)[chosen]}
            case "distribution":
                return shared_by(sample, chosen)[0]
