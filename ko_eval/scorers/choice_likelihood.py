"""`choice_likelihood`: one right choice, the likeliest continuation is the model's answer.

FACTS 3.1: `acc` compares sums of token log-probabilities; `acc_norm` divides each by the length of
the choice text in characters, `acc_bytes` by its UTF-8 bytes (a Hangul syllable is three bytes, so
the two differ where Korean and Latin letters mix), `acc_tokens` by its tokens, which depend on the
model. The joining space is not part of a length. `acc_pmi` subtracts the sum that the choice has
without the question (pointwise mutual information; Holtzman et al. 2021, "Surface Form
Competition"), so that a choice does not win by being common; the task field `unconditional` asks
for it. `brier` and `ece` say how well the probabilities of the choices, the softmax of their sums,
match what is right (see `ko_eval.stats.calibration`); for both, lower is better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ko_eval.errors import DataError
from ko_eval.scorers.base import clusters, expect_loglikelihoods, failed_score
from ko_eval.scorers.likelihoods import (
    best,
    check_choices,
    check_finite,
    choosing,
    per_length,
    softmax,
)
from ko_eval.stats.calibration import brier_score, calibration_error
from ko_eval.stats.estimates import scaled, share_metric
from ko_eval.types import (
    FailedResponse,
    JsonValue,
    LoglikelihoodResponse,
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
    """Judges choices by log-likelihood.

    `acc_tokens` is given where the responses say how many tokens each choice has, `acc_pmi` where
    they hold the sums without the question as well, after the others.
    """

    kind: ClassVar[RequestKind] = RequestKind.LOGLIKELIHOOD
    metrics: ClassVar[tuple[str, ...]] = (
        *("acc", "acc_norm", "acc_bytes", "acc_tokens", "acc_pmi"),
        *("brier", "ece"),
    )

    def check(self, sample: Sample) -> None:
        check_choices(sample)
        right_choice(sample)

    def gold(self, sample: Sample) -> Response:
        return choosing(right_choice(sample), len(sample.choices))

    def score(self, sample: Sample, response: Response) -> SampleScore:
        if isinstance(response, FailedResponse):
            return failed_score(sample, _accuracies(self.metrics), response)
        count = len(sample.choices)
        given = expect_loglikelihoods(
            sample, response, count, unconditional="acc_pmi" in self.metrics
        )
        check_finite(sample, given.loglikelihoods)
        sums = given.loglikelihoods[:count]
        by_metric = _chosen(sample, given)
        chosen = {name: by_metric[name] for name in self.metrics if name in by_metric}
        right = right_choice(sample)
        probabilities = softmax(sums)
        detail: dict[str, JsonValue] = {
            "loglikelihoods": list(sums),
            "chosen": chosen,
            "right": right,
            "confidence": max(probabilities),
        }
        if without_question := given.loglikelihoods[count:]:
            detail["unconditional"] = list(without_question)
        return SampleScore(
            id=sample.id,
            metrics={
                **{name: float(index == right) for name, index in chosen.items()},
                "brier": brier_score(probabilities, right),
            },
            extracted=sample.choices[chosen.get("acc_norm", chosen["acc"])],
            outcome=Outcome.OK,
            detail=detail,
        )

    def aggregate(self, scores: Sequence[SampleScore]) -> Mapping[str, Metric]:
        """Accuracies count a failed sample as wrong; calibration is that of the answered ones."""
        answered = [score for score in scores if score.outcome is not Outcome.FAILED]
        metrics = {
            name: share_metric([score.metrics.get(name, 0.0) for score in scores], clusters(scores))
            for name in _accuracies(self.metrics)
            if all(name in score.metrics for score in answered)
        }
        if answered:
            # From 0 to 2: twice a value from 0 to 1.
            halves = [score.metrics["brier"] / 2 for score in answered]
            metrics["brier"] = scaled(share_metric(halves, clusters(answered)), 2)
            metrics["ece"] = calibration_error(
                confidences=[float(str(score.detail["confidence"])) for score in answered],
                hits=[score.metrics["acc"] for score in answered],
                clusters=clusters(answered),
            )
        return metrics


def _accuracies(metrics: Sequence[str]) -> list[str]:
    return [name for name in metrics if name.startswith("acc")]


def _chosen(sample: Sample, given: LoglikelihoodResponse) -> dict[str, int]:
    """The choice that each accuracy takes for the model's answer."""
    count = len(sample.choices)
    sums, without_question = given.loglikelihoods[:count], given.loglikelihoods[count:]
    chosen = {
        "acc": best(sums),
        "acc_norm": best(per_length(sums, [len(choice) for choice in sample.choices])),
        "acc_bytes": best(per_length(sums, [len(choice.encode()) for choice in sample.choices])),
    }
    if given.token_counts:
        chosen["acc_tokens"] = best(per_length(sums, given.token_counts[:count]))
    if without_question:
        pairs = zip(sums, without_question, strict=True)
        chosen["acc_pmi"] = best([_information(total, alone) for total, alone in pairs])
    return chosen


def _information(total: float, alone: float) -> float:
    """Pointwise mutual information of a choice and its question; an impossible choice stays so."""
    return total if math.isinf(total) else total - alone
