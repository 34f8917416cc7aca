"""Log-likelihoods by the packed path where it is proven on the run's first requests, else plain.

Requests are answered in segments: the distinct tokens of a segment are one forest. Segments bound
memory, and what is lost when a run is killed; what they share is computed again in each.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from ko_eval.engines.base import (
    Answer,
    EncodedLoglikelihood,
    EncodedPair,
    LikelihoodPath,
    TokenIds,
)
from ko_eval.engines.batching import halving
from ko_eval.engines.likelihood_answer import likelihood_answer
from ko_eval.engines.likelihood_check import CheckFailed, check, longest_input
from ko_eval.engines.prefix_tree import build_forest
from ko_eval.engines.transformers_likelihood import (
    PairScores,
    input_length,
    keeps_logits,
    plain_scores,
)
from ko_eval.engines.transformers_packed import (
    PackedScorer,
    RowsTooLarge,
    length_border,
    packing_obstacle,
)
from ko_eval.errors import ModelError, first_line
from ko_eval.types import FailedResponse

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NO_MEMORY = "out of memory, even alone in a batch"
# Tokens of a batch of the plain path. On the CPU small batches are as fast and waste less padding.
_PLAIN_TOKENS = {"cpu": 2048, "cuda": 32768}
# Elements of the kept logits of such a batch (batch × positions × vocabulary).
_LOGIT_ELEMENTS = {"cpu": 1 << 26, "cuda": 1 << 28}
# About so many distinct tokens make a segment.
_SEGMENT_TOKENS = 1 << 17


@dataclass(frozen=True, slots=True)
class Finished:
    """A request with the scores of its pairs; None for a pair that does not fit into memory."""

    request: EncodedLoglikelihood
    scores: Sequence[PairScores | None]
    seconds: float


class LikelihoodScorer:
    """Answers log-likelihood requests with one model.

    Args:
        pad_id: any valid token id.
        batch_tokens: most tokens of a packed row or of a plain batch; None picks them.

    Attributes:
        path: the path in use, `packed` or `plain`.
        reason: why it is the plain one; None for the packed one.
        warnings: falls from the packed to the plain path that the user did not ask for.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        pad_id: int,
        *,
        path: LikelihoodPath = "auto",
        batch_tokens: int | None = None,
    ) -> None:
        self.model = model
        self.path: Literal["packed", "plain"] = "packed"
        self.reason: str | None = None
        self.warnings: list[str] = []
        self._pad_id = pad_id
        kind = "cuda" if model.device.type == "cuda" else "cpu"
        self._batch_tokens = batch_tokens or _PLAIN_TOKENS[kind]
        self._logit_elements = _LOGIT_ELEMENTS[kind]
        self._keeps_logits = keeps_logits(model)
        self._vocabulary = int(model.get_input_embeddings().weight.shape[0])
        self._packed = PackedScorer(model, batch_tokens)
        # The longest sequence, in tokens, up to which the packed path is checked.
        self._checked_to = 0
        if path == "plain":
            self.path, self.reason = "plain", "--likelihood plain"

    @property
    def attention(self) -> str:
        """The attention of the path in use."""
        flex = self.path == "packed" and self._packed.attention.flex
        return "flex_attention" if flex else str(self.model.config._attn_implementation)

    def answers(self, requests: Sequence[EncodedLoglikelihood]) -> Iterator[Answer]:
        """Answers as they finish; first decides on the path."""
        if not requests:
            return
        longest = max(longest_input(request) for request in requests)
        self._settle_path(requests, longest)
        rest: Sequence[EncodedLoglikelihood] = requests
        if self.path == "packed":
            answered: set[str] = set()
            try:
                for segment in segments(requests):
                    for finished in self._packed_scores(segment):
                        answered.add(finished.request.key)
                        yield _answer(finished)
            except RowsTooLarge as error:
                self._fall_back(first_line(error))
            except ModelError as error:
                self._fall_back(f"the model fails on packed rows: {error.what}")
            rest = [request for request in requests if request.key not in answered]
        border = length_border(self.model)
        for finished in self._plain_scores(rest, alone=border is not None and longest > border):
            yield _answer(finished)

    def _settle_path(self, requests: Sequence[EncodedLoglikelihood], longest: int) -> None:
        if self.path == "plain":
            return
        if obstacle := packing_obstacle(self.model, longest):
            self._fall_back(obstacle)
        elif longest > self._checked_to:
            try:
                check(self.model, requests, self._pad_id, self._packed.budget.largest)
                self._checked_to = longest
            except CheckFailed as error:
                self._fall_back(str(error))

    def _fall_back(self, reason: str) -> None:
        self.path, self.reason = "plain", reason
        self.warnings.append(
            f"log-likelihoods take the plain path, a row per continuation, slower: {reason}"
        )

    def _packed_scores(self, requests: Sequence[EncodedLoglikelihood]) -> Iterator[Finished]:
        forest = build_forest(pair for request in requests for pair in request.pairs)
        borders, pair = [0], 0
        for request in requests:
            pair += len(request.pairs)
            borders.append(pair)
        starts = forest.scored_start
        last_read = [
            int(forest.scored_read[starts[a] : starts[b]].max()) for a, b in pairwise(borders)
        ]
        waiting = sorted(range(len(requests)), key=lambda i: last_read[i], reverse=True)
        logprobs = np.empty(len(forest.read_token))
        greedy = np.empty(len(forest.read_token), dtype=np.bool_)
        read, seconds = 0, 0.0
        for scores in self._packed.read(forest):
            logprobs[read : scores.end], greedy[read : scores.end] = scores.logprobs, scores.greedy
            read, seconds = scores.end, seconds + scores.seconds
            done = []
            while waiting and last_read[waiting[-1]] < read:
                done.append(waiting.pop())
            for index in done:
                of_request = []
                for pair in range(borders[index], borders[index + 1]):
                    reads = forest.scored_read[starts[pair] : starts[pair + 1]]
                    of_request.append((logprobs[reads], greedy[reads]))
                yield Finished(requests[index], of_request, seconds / len(done))
            if done:
                seconds = 0.0

    def _plain_scores(
        self, requests: Sequence[EncodedLoglikelihood], *, alone: bool
    ) -> Iterator[Finished]:
        """In order of length; a request when all its pairs are done.

        Args:
            alone: one pair at a time, the longest last, since a long one changes what comes with
                it and after it. Otherwise in batches, the longest first.
        """
        if alone:
            # A short one brings the positions back to their state before any long one.
            plain_scores(self.model, [EncodedPair((self._pad_id,), (self._pad_id,))], self._pad_id)
        ordered = sorted(requests, key=longest_input, reverse=True)
        rows = [(request, index) for request in ordered for index in range(len(request.pairs))]
        if alone:
            rows.sort(key=lambda row: input_length(row[0].pairs[row[1]]))
        found: dict[str, dict[int, PairScores | None]] = {}
        spent: dict[str, float] = {}
        for batch in [[row] for row in rows] if alone else self._batches(rows):
            started = time.perf_counter()
            scores = halving(
                [request.pairs[index] for request, index in batch],
                lambda part: plain_scores(self.model, part, self._pad_id),
                self._shrink,
            )
            share = (time.perf_counter() - started) / len(batch)
            for (request, index), score in zip(batch, scores, strict=True):
                of_request = found.setdefault(request.key, {})
                of_request[index] = score
                spent[request.key] = spent.get(request.key, 0.0) + share
                if len(of_request) == len(request.pairs):
                    del found[request.key]
                    in_order = [of_request[i] for i in range(len(request.pairs))]
                    yield Finished(request, in_order, spent.pop(request.key))

    def _batches(
        self, rows: Sequence[tuple[EncodedLoglikelihood, int]]
    ) -> Iterator[list[tuple[EncodedLoglikelihood, int]]]:
        """Consecutive rows that stay within the batch's tokens, and their kept logits in memory."""
        batch: list[tuple[EncodedLoglikelihood, int]] = []
        width = first = 0
        for request, index in rows:
            pair = request.pairs[index]
            start = len(pair.context) - 1 if self._keeps_logits else 0
            wider = max(width, input_length(pair)) if batch else input_length(pair)
            earlier = min(first, start) if batch else start
            count = len(batch) + 1
            kept = count * (wider - earlier) * self._vocabulary
            if batch and (count * wider > self._batch_tokens or kept > self._logit_elements):
                yield batch
                batch, wider, earlier = [], input_length(pair), start
            batch.append((request, index))
            width, first = wider, earlier
        if batch:
            yield batch

    def _shrink(self) -> None:
        """Makes the batches to come smaller, after memory ran out."""
        self._batch_tokens = max(1, self._batch_tokens // 2)
        self._logit_elements = max(1, self._logit_elements // 2)


def segments(
    requests: Sequence[EncodedLoglikelihood], tokens: int = _SEGMENT_TOKENS
) -> Iterator[Sequence[EncodedLoglikelihood]]:
    """Consecutive requests with about so many distinct tokens.

    A context is charged what the context before it does not begin with, so neighbours should be
    alike; they are, when requests come task by task.
    """
    start, charged = 0, 0
    before: TokenIds = ()
    for index, request in enumerate(requests):
        cost = 0
        for pair in request.pairs:
            cost += len(pair.context) - _shared(before, pair.context) + len(pair.continuation)
            before = pair.context
        if charged and charged + cost > tokens:
            yield requests[start:index]
            start, charged = index, 0
        charged += cost
    yield requests[start:]


def _shared(one: TokenIds, other: TokenIds) -> int:
    """How many tokens both begin with."""
    if one is other:
        return len(one)
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _answer(finished: Finished) -> Answer:
    request, seconds = finished.request, finished.seconds
    scores = [score for score in finished.scores if score is not None]
    if len(scores) < len(finished.scores):
        return Answer(request.key, FailedResponse(NO_MEMORY), seconds)
    logprobs, greedy = [score[0] for score in scores], [score[1] for score in scores]
    return likelihood_answer(request, logprobs, greedy, seconds)
