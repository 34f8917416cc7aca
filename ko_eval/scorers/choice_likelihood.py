"""`choice_likelihood`: one right choice, the likeliest continuation is the model's answer.

FACTS 3.1: `acc` compares sums of token log-probabilities; `acc_norm` divides each by the length of
the choice text in characters, `acc_bytes` by its UTF-8 bytes (a Hangul syllable is three bytes, so
the two differ where Korean and Latin letters mix). The joining space is not part of a length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ko_eval.errors import DataError
from ko_eval.scorers.base import expect_loglikelihoods, failed_score, mean_shares
from ko_eval.scorers.likelihoods import best, check_choices, check_finite, choosing, per_length
from ko_eval.types import (
    FailedResponse,
    Metric,
    Outcome,
    RequestKind,
    Response,
    Sample,
    SampleScore,
)


def right_choice(sample: Sample) -> int:
    """Index of the right choice.

    Raises:
        DataError: the sample has none.
    """
    if isinstance(sample.target, int) and 0 <= sample.target < len(sample.choices):
        return sample.target
    raise DataError(f"sample '{sample.id}' does not say which choice is right")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceLikelihood:
    """Judges choices by log-likelihood."""

    kind: ClassVar[RequestKind] = RequestKind.LOGLIKELIHOOD
    metrics: ClassVar[tuple[str, ...]] = ("acc", "acc_norm", "acc_bytes")

    def check(self, sample: Sample) -> None:
        check_choices(sample)
        right_choice(sample)

    def gold(self, sample: Sample) -> Response:
        return choosing(right_choice(sample), len(sample.choices))

    def score(self, sample: Sample, response: Response) -> SampleScore:
        if isinstance(response, FailedResponse):
            return failed_score(sample, self.metrics, response)
        sums = expect_loglikelihoods(sample, response, len(sample.choices)).loglikelihoods
        check_finite(sample, sums)
        characters = [len(choice) for choice in sample.choices]
        utf8_bytes = [len(choice.encode()) for choice in sample.choices]
        by_metric = {
            "acc": best(sums),
            "acc_norm": best(per_length(sums, characters)),
            "acc_bytes": best(per_length(sums, utf8_bytes)),
        }
        chosen = {name: by_metric[name] for name in self.metrics}
        right = right_choice(sample)
        return SampleScore(
            id=sample.id,
            metrics={name: float(index == right) for name, index in chosen.items()},
            extracted=sample.choices[chosen.get("acc_norm", chosen["acc"])],
            outcome=Outcome.OK,
            detail={"loglikelihoods": list(sums), "chosen": chosen, "right": right},
        )

    def aggregate(self, scores: Sequence[SampleScore]) -> Mapping[str, Metric]:
        return mean_shares(self.metrics, scores)
