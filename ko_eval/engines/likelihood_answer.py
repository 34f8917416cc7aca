"""From the scores of a request's tokens to its answer; the same for every engine that scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ko_eval.engines.base import Answer, EncodedLoglikelihood
from ko_eval.engines.prefix_tree import BoolArray, FloatArray
from ko_eval.types import FailedResponse, LoglikelihoodResponse

NOT_A_NUMBER = "the log-likelihood is not a number; try --dtype float32 or bfloat16"


def likelihood_answer(
    request: EncodedLoglikelihood,
    logprobs: Sequence[FloatArray],
    greedy: Sequence[BoolArray] | None,
    seconds: float,
) -> Answer:
    """The answer to a request.

    Args:
        logprobs: of each pair, the natural log-probabilities of its continuation's tokens.
        greedy: of each pair, which of them are the most likely ones; None when it is not known.
    """
    # One after the other, so that a sum does not depend on how it was batched.
    values = tuple(float(sum(of_pair.tolist())) for of_pair in logprobs)
    broken = any(math.isnan(value) or value == math.inf for value in values)
    if broken or max(values) == -math.inf:
        return Answer(request.key, FailedResponse(NOT_A_NUMBER), seconds)
    response = LoglikelihoodResponse(
        loglikelihoods=values,
        token_counts=tuple(len(pair.continuation) for pair in request.pairs),
        context_tokens=sum(len(pair.context) for pair in request.pairs),
        truncated_tokens=request.truncated_tokens,
        greedy=tuple(bool(of_pair.all()) for of_pair in greedy or ()),
    )
    return Answer(request.key, response, seconds)
