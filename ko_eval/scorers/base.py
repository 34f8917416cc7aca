"""What a scorer is: a small, pure object that judges responses to one task.

    scorer = create_scorer("gsm8k", {})
    score = scorer.score(sample, response)
    metrics = scorer.aggregate([score])

Scorers are deterministic, use no network and take bounded time on any text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol, runtime_checkable

from ko_eval.errors import DataError
from ko_eval.stats.estimates import share_metric
from ko_eval.stats.units import Clusters
from ko_eval.types import (
    FailedResponse,
    GenerateResponse,
    LoglikelihoodResponse,
    Metric,
    Outcome,
    RequestKind,
    Response,
    Sample,
    SampleScore,
)


class Scorer(Protocol):
    """Judges the responses to one task.

    Attributes:
        kind: the kind of request whose responses it judges.
        metrics: names of the metrics that `aggregate` returns; the first one leads by default.
    """

    kind: ClassVar[RequestKind]

    @property
    def metrics(self) -> tuple[str, ...]: ...

    def check(self, sample: Sample) -> None:
        """Raise `DataError` when the sample lacks what this scorer needs."""

    def gold(self, sample: Sample) -> Response:
        """A response that deserves full marks; for tests of a task and its data."""

    def score(self, sample: Sample, response: Response) -> SampleScore:
        """Judge one response."""

    def aggregate(self, scores: Sequence[SampleScore]) -> Mapping[str, Metric]:
        """Metrics over all samples, with standard errors and intervals robust to clusters."""


@runtime_checkable
class ChecksTogether(Protocol):
    """A scorer that also has something to say about all samples of a task together."""

    def check_together(self, samples: Sequence[Sample]) -> None:
        """Raise `DataError` when nothing could be judged."""


@runtime_checkable
class HasPseudoValues(Protocol):
    """A scorer some of whose metrics are no plain means over samples."""

    def pseudo_values(self, metric: str, scores: Sequence[SampleScore]) -> Sequence[float] | None:
        """Values whose mean and standard error are the metric's; None where there are none.

        That is the metric plus the influence value of each sample that it covers (delta method).
        """


FORMAT_PAIRS: tuple[tuple[str, str], ...] = (
    ("exact_match_strict", "exact_match_korean"),
    ("eqbench", "eqbench_korean"),
    ("strict_acc_stock", "strict_acc"),
)
"""A metric as published, and the Korean-aware one read from the same response: their difference is
the format loss."""


def failed_score(sample: Sample, metrics: Sequence[str], response: FailedResponse) -> SampleScore:
    """The score of a sample whose engine gave no response: zero, and counted as failed."""
    return SampleScore(
        id=sample.id,
        metrics=dict.fromkeys(metrics, 0.0),
        extracted=None,
        outcome=Outcome.FAILED,
        detail={"reason": response.reason},
    )


def expect_text(sample: Sample, response: Response) -> GenerateResponse:
    """The response as generated text.

    Raises:
        DataError: it holds log-likelihoods.
    """
    if isinstance(response, GenerateResponse):
        return response
    raise DataError(
        f"sample '{sample.id}' needs a generated response, but log-likelihoods were given",
        hint='give {"id": …, "response": "…"} for this task',
    )


def expect_loglikelihoods(
    sample: Sample, response: Response, count: int, *, unconditional: bool = False
) -> LoglikelihoodResponse:
    """The response as `count` log-likelihoods.

    Args:
        unconditional: twice as many are allowed: those without the question follow the others.

    Raises:
        DataError: it holds text, or another number of values.
    """
    if not isinstance(response, LoglikelihoodResponse):
        raise DataError(
            f"sample '{sample.id}' needs log-likelihoods, but text was given",
            hint='give {"id": …, "loglikelihoods": [..]} for this task',
        )
    allowed = (count, 2 * count) if unconditional else (count,)
    if len(response.loglikelihoods) not in allowed:
        raise DataError(
            f"sample '{sample.id}' has {count} choices, but {len(response.loglikelihoods)} "
            "log-likelihoods were given",
        )
    if response.token_counts and (
        len(response.token_counts) != len(response.loglikelihoods) or min(response.token_counts) < 1
    ):
        raise DataError(
            f"sample '{sample.id}': 'token_counts' must be one positive number per log-likelihood"
        )
    return response


def unanswered(response: GenerateResponse) -> Outcome:
    """The outcome of a response without a readable answer: truncated or no answer."""
    return Outcome.TRUNCATED if response.finish_reason == "length" else Outcome.NO_ANSWER


def clusters(scores: Sequence[SampleScore]) -> Clusters:
    """The cluster of each score, as the statistics take them; None where all stand alone."""
    names = [score.cluster for score in scores]
    return None if all(name is None for name in names) else names


def mean_shares(names: Sequence[str], scores: Sequence[SampleScore]) -> dict[str, Metric]:
    """The plain mean over all samples of each named metric; metrics lie in [0, 1]."""
    together = clusters(scores)
    return {
        name: share_metric([score.metrics[name] for score in scores], together) for name in names
    }
