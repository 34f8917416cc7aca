"""`context_likelihood`: one continuation under several contexts, the best context is the answer.

FACTS 3.3: WinoGrande's partial scoring. The blank is filled with each option; the text after it is
scored. The continuation is the same for all, so length normalisation changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ko_eval.scorers.base import expect_loglikelihoods, failed_score, mean_shares
from ko_eval.scorers.choice_likelihood import right_choice
from ko_eval.scorers.likelihoods import best, check_choices, check_finite, choosing
from ko_eval.types import (
    FailedResponse,
    Metric,
    Outcome,
    RequestKind,
    Response,
    Sample,
    SampleScore,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextLikelihood:
    """Judges contexts by the log-likelihood of what follows."""

    kind: ClassVar[RequestKind] = RequestKind.LOGLIKELIHOOD
    metrics: ClassVar[tuple[str, ...]] = ("acc",)

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
        chosen, right = best(sums), right_choice(sample)
        return SampleScore(
            id=sample.id,
            metrics={"acc": float(chosen == right)},
            extracted=sample.choices[chosen],
            outcome=Outcome.OK,
            detail={"loglikelihoods": list(sums), "chosen": {"acc": chosen}, "right": right},
        )

    def aggregate(self, scores: Sequence[SampleScore]) -> Mapping[str, Metric]:
        return mean_shares(self.metrics, scores)
