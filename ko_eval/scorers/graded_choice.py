"""`graded_choice`: every choice carries a credit in [0, 1]; the score is the chosen one's credit.

FACTS 3.8: the form of Ko-Harmlessness and Ko-Helpfulness is inferred from published values that
are multiples of thirds. `credit` chooses by the sum of log-probabilities, `credit_norm` by the sum
per character of the choice text.
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
    JsonValue,
    Metric,
    Outcome,
    RequestKind,
    Response,
    Sample,
    SampleScore,
)


def credits(sample: Sample) -> list[float]:
    """The credit of each choice.

    Raises:
        DataError: they are missing, not numbers in [0, 1], or not as many as the choices.
    """
    given: JsonValue = sample.fields.get("credits")
    if not isinstance(given, list) or len(given) != len(sample.choices):
        raise DataError(
            f"sample '{sample.id}' needs a list 'credits' with one number per choice "
            f"({len(sample.choices)})"
        )
    numbers = [float(x) for x in given if isinstance(x, int | float) and 0 <= x <= 1]
    if len(numbers) != len(given):
        raise DataError(f"sample '{sample.id}' has a credit that is not a number from 0 to 1")
    return numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedChoice:
    """Judges choices by the credit of the likeliest one."""

    kind: ClassVar[RequestKind] = RequestKind.LOGLIKELIHOOD
    metrics: ClassVar[tuple[str, ...]] = ("credit_norm", "credit")

    def check(self, sample: Sample) -> None:
        check_choices(sample)
        credits(sample)

    def gold(self, sample: Sample) -> Response:
        return choosing(best(credits(sample)), len(sample.choices))

    def score(self, sample: Sample, response: Response) -> SampleScore:
        if isinstance(response, FailedResponse):
            return failed_score(sample, self.metrics, response)
        sums = expect_loglikelihoods(sample, response, len(sample.choices)).loglikelihoods
        check_finite(sample, sums)
        lengths = [len(choice) for choice in sample.choices]
        chosen = {"credit_norm": best(per_length(sums, lengths)), "credit": best(sums)}
        worth = credits(sample)
        return SampleScore(
            id=sample.id,
            metrics={name: worth[index] for name, index in chosen.items()},
            extracted=sample.choices[chosen["credit_norm"]],
            outcome=Outcome.OK,
            detail={"loglikelihoods": list(sums), "chosen": chosen, "credits": worth},
        )

    def aggregate(self, scores: Sequence[SampleScore]) -> Mapping[str, Metric]:
        return mean_shares(self.metrics, scores)
