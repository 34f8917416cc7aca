"""Holds the packed path against the plain one on the first requests of a run.

In float32 both must agree within 1e-4 nats per token. In lower precision both are rounded, each in
its own way, so both are held against the same weights computed in float32: the packed path's mean
error per token must not be larger than the plain path's. Since the mean is over few tokens, twice
the plain error counts as not larger; a wrong mask or position is off by far more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ko_eval.engines.attention_choice import AttentionChoice
from ko_eval.engines.base import EncodedLoglikelihood, EncodedPair
from ko_eval.engines.float32_reference import in_float32
from ko_eval.engines.prefix_tree import FloatArray, IntArray, build_forest
from ko_eval.engines.transformers_likelihood import input_length, plain_scores
from ko_eval.engines.transformers_packed import PackedScorer
from ko_eval.errors import first_line

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TOLERANCE = 1e-4
"""Nats per token, in float32."""
_NOT_LARGER = 2.0
# Below this, in nats per token, errors are of no account in lower precision.
_SLACK = 2e-3
# Tokens after which no more requests are added to the sample, and the fewest requests of it.
_SAMPLE_TOKENS = 4096
_FEWEST = 2
# Short rows into which the sample is cut, so that cached paths are a part of the check.
_ROWS = 3


class CheckFailed(Exception):
    """Why a model's packed path is not to be used, in words."""


def check(
    model: PreTrainedModel, requests: Sequence[EncodedLoglikelihood], pad_id: int, row_tokens: int
) -> None:
    """Asks some requests both ways.

    Args:
        row_tokens: of the longest rows to come; the sample is also fed among others in such a row,
            since some faults show only there.

    Raises:
        CheckFailed: the packed path differs by more than it may, or the model fails on it.
    """
    sample = check_sample(requests)
    try:
        plain = _plain_logprobs(model, sample, pad_id)
        among_others = packed_logprobs(model, sample, others(requests, row_tokens), row_tokens)
        alone = packed_logprobs(model, sample)
    # A model's own code may raise anything when it is asked in a way it does not know.
    except Exception as error:
        raise CheckFailed(
            f"the first requests could not be asked both ways: {first_line(error)}"
        ) from error
    exact = None if model.dtype == torch.float32 else _exact_logprobs(model, sample, pad_id)
    counts = np.array([len(pair.continuation) for pair in sample])
    for packed in (alone, among_others):
        if exact is None:
            _compare(packed, plain, counts)
        else:
            _compare_errors(packed, plain, exact)


def check_sample(requests: Sequence[EncodedLoglikelihood]) -> list[EncodedPair]:
    """Pairs to check: of the longest request, of its neighbour, and of some spread over the run."""
    longest = max(range(len(requests)), key=lambda i: longest_input(requests[i]))
    spread = range(0, len(requests), max(1, len(requests) // 6))
    order = dict.fromkeys([longest, (longest + 1) % len(requests), *spread])
    pairs: list[EncodedPair] = []
    for count, index in enumerate(order):
        if count >= _FEWEST and sum(input_length(pair) for pair in pairs) > _SAMPLE_TOKENS:
            break
        of_request = requests[index].pairs
        pairs.extend(of_request if len(of_request) == 1 else (of_request[0], of_request[-1]))
    return pairs


def others(requests: Sequence[EncodedLoglikelihood], tokens: int) -> list[EncodedPair]:
    """Pairs of the run that fill a row of so many tokens, as far as there are as many."""
    count = 8
    while True:
        pairs = [pair for request in requests[:count] for pair in request.pairs]
        if count >= len(requests) or build_forest(pairs).tokens_distinct >= tokens:
            return pairs
        count *= 2


def packed_logprobs(
    model: PreTrainedModel,
    pairs: Sequence[EncodedPair],
    among: Sequence[EncodedPair] = (),
    row_tokens: int | None = None,
) -> FloatArray:
    """Of each scored token, pair by pair, its log-probability by the packed path.

    Args:
        among: pairs that are fed as well.
        row_tokens: of a row; None cuts everything into a few rows.
    """
    forest = build_forest([*pairs, *among])
    scorer = PackedScorer(model, row_tokens or -(-forest.tokens_distinct // _ROWS))
    scorer.attention = AttentionChoice(tried=False)
    reads = np.concatenate([scores.logprobs for scores in scorer.read(forest)])
    return reads[forest.scored_read[: forest.scored_start[len(pairs)]]]


def longest_input(request: EncodedLoglikelihood) -> int:
    """Tokens that the longest pair of a request feeds."""
    return max(input_length(pair) for pair in request.pairs)


def _compare(packed: FloatArray, plain: FloatArray, counts: IntArray) -> None:
    # The same infinity on both sides is no difference, nor is no number.
    same = (packed == plain) | (np.isnan(packed) & np.isnan(plain))
    gaps = np.subtract(packed, plain, out=np.zeros(len(packed)), where=~same)
    worst = float(np.max(np.abs(np.add.reduceat(gaps, np.cumsum(counts) - counts)) / counts))
    if not worst <= TOLERANCE:
        raise CheckFailed(
            f"the packed path differs by {worst:.1e} nats per token from the plain one, over "
            f"{TOLERANCE:.0e}"
        )


def _compare_errors(packed: FloatArray, plain: FloatArray, exact: FloatArray) -> None:
    error, plain_error = (float(np.mean(np.abs(one - exact))) for one in (packed, plain))
    if not error <= _NOT_LARGER * plain_error + _SLACK:
        raise CheckFailed(
            f"the packed path is off by {error:.1e} nats per token against float32, the plain one "
            f"by {plain_error:.1e}"
        )


def _exact_logprobs(
    model: PreTrainedModel, pairs: Sequence[EncodedPair], pad_id: int
) -> FloatArray:
    try:
        with in_float32(model):
            return _plain_logprobs(model, pairs, pad_id)
    # As above: the model's own code runs with other types than it expects.
    except Exception as error:
        raise CheckFailed(f"no float32 to check against: {first_line(error)}") from error


def _plain_logprobs(
    model: PreTrainedModel, pairs: Sequence[EncodedPair], pad_id: int
) -> FloatArray:
    return np.concatenate([plain_scores(model, [pair], pad_id)[0][0] for pair in pairs])
