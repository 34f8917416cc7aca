"""Generation with transformers: greedy or seeded sampling, exact stops, thoughts with a budget.

Where the model's cache is keys and values of all tokens, rows come and go
(`transformers_continuous`). Other models (state-space, hybrid, sliding windows shorter than a
request) answer in static batches, in which finished rows are padded until their batch ends. So do
requests that are long enough to change how all positions of their batch are rotated, each alone.

transformers' own continuous batching was tried (5.19): on the CPU it took far longer than a static
batch, and it knows neither stop strings nor seeds of a single request.
"""

from __future__ import annotations

import inspect
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from transformers import (
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from ko_eval.engines.base import EncodedGenerate
from ko_eval.engines.batching import batches, halving
from ko_eval.engines.growing_rows import EndTest, GrowingRow, most_tokens
from ko_eval.engines.model_settings import Reasoning
from ko_eval.engines.responses import ResponseBuilder, end_token_ids
from ko_eval.engines.transformers_continuous import ContinuousBatch
from ko_eval.engines.transformers_generation_check import UnsuitableModel
from ko_eval.engines.transformers_packed import length_border
from ko_eval.engines.transformers_sampling import generator_of, with_noise
from ko_eval.engines.transformers_scoring import NO_MEMORY
from ko_eval.types import FailedResponse, Response

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def generate_all(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    requests: Sequence[EncodedGenerate],
    reasoning: Reasoning,
    pad_id: int,
    *,
    rows: int,
    room: int,
    warn: Callable[[str], object],
) -> Iterator[tuple[EncodedGenerate, Response, float]]:
    """Each request with its response and its share of the time, as soon as it is finished.

    Args:
        pad_id: any valid token id.
        rows: most rows at once.
        room: tokens whose keys and values fit into memory.
        warn: is told when rows cannot come and go though the model seems made for it.
    """
    end_ids = end_token_ids(tokenizer, model.generation_config.eos_token_id)
    ends = EndTest(ResponseBuilder(tokenizer, reasoning, end_ids))
    grown = _grown(model, ends, requests, pad_id, rows=rows, room=room, warn=warn)
    for row, found in grown:
        response = ends.builder.build(row.request, row.new_ids) if found else None
        yield row.request, response or FailedResponse(NO_MEMORY), row.seconds


def _grown(
    model: PreTrainedModel,
    ends: EndTest,
    requests: Sequence[EncodedGenerate],
    pad_id: int,
    *,
    rows: int,
    room: int,
    warn: Callable[[str], object],
) -> Iterator[tuple[GrowingRow, bool]]:
    """See `ContinuousBatch.run` for what is yielded."""
    border = length_border(model)
    within = [r for r in requests if border is None or most_tokens(r) <= border]
    layers = _key_value_layers(model, max(map(most_tokens, within), default=0))
    # The same object may be asked twice.
    answered: Counter[int] = Counter()
    if layers and within:
        batch = ContinuousBatch(model, ends, pad_id, layers=layers, rows=rows, room=room)
        try:
            for row, found in batch.run(within):
                answered[id(row.request)] += 1
                yield row, found
        except UnsuitableModel as error:
            warn(f"generation falls back to static batches with this model: {error}")
    left = []
    for request in requests:
        if answered[id(request)]:
            answered[id(request)] -= 1
        else:
            left.append(request)
    yield from _static_batches(model, ends, left, pad_id, rows=rows, room=room)


def _key_value_layers(model: PreTrainedModel, longest: int) -> int:
    """Layers of the model's cache if all of them keep every token of a request, else 0."""
    parameters = inspect.signature(model.forward).parameters
    if not {"attention_mask", "position_ids", "past_key_values"} <= parameters.keys():
        return 0
    # Linear biases are made from the mask by ways that differ from model to model.
    if getattr(model.config, "alibi", False):
        return 0
    layers = DynamicCache(config=model.config).layers
    for layer in layers:
        whole = type(layer) is DynamicLayer
        wide = type(layer) is DynamicSlidingWindowLayer and layer.sliding_window >= longest
        if not (whole or wide):
            return 0
    return len(layers)


# --- static batches --------------------------------------------------------------------------


def _static_batches(
    model: PreTrainedModel,
    ends: EndTest,
    requests: Sequence[EncodedGenerate],
    pad_id: int,
    *,
    rows: int,
    room: int,
) -> Iterator[tuple[GrowingRow, bool]]:
    """Longest first, a batch at a time."""
    ordered = sorted(requests, key=most_tokens, reverse=True)
    border = length_border(model)

    def fit(part: Sequence[EncodedGenerate]) -> bool:
        if border is not None and _last_position(part) > border:
            return False
        return len(part) <= rows and len(part) * most_tokens(part[0]) <= room

    def shrink() -> None:
        nonlocal rows
        rows = max(1, rows // 2)

    for batch in batches(ordered, fit):
        started = time.perf_counter()
        grown = halving(batch, lambda part: _static_batch(model, ends, part, pad_id), shrink)
        share = (time.perf_counter() - started) / len(batch)
        for request, row in zip(batch, grown, strict=True):
            found = row or GrowingRow(request)
            found.seconds = share
            yield found, row is not None


def _last_position(batch: Sequence[EncodedGenerate]) -> int:
    """How far a row may come; a finished one goes on until its batch ends."""
    return max(len(r.prompt) for r in batch) + max(map(_most_new, batch))


def _most_new(request: EncodedGenerate) -> int:
    return request.request.max_tokens + request.thinking_tokens


def _static_batch(
    model: PreTrainedModel, ends: EndTest, requests: Sequence[EncodedGenerate], pad_id: int
) -> list[GrowingRow]:
    width = max(len(r.prompt) for r in requests)
    ids = torch.full((len(requests), width), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, encoded in enumerate(requests):
        ids[i, width - len(encoded.prompt) :] = torch.tensor(encoded.prompt)
        mask[i, width - len(encoded.prompt) :] = 1
    rows = [GrowingRow(request) for request in requests]
    processors = LogitsProcessorList()
    if any(r.request.temperature for r in requests):
        processors.append(_Noise(requests, model.device))
    with torch.inference_mode(), _without_defaults(model):
        model.generate(
            ids.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=GenerationConfig(
                do_sample=False,
                max_new_tokens=max(map(_most_new, requests)),
                eos_token_id=sorted(ends.builder.end_ids) or None,
                pad_token_id=pad_id,
            ),
            logits_processor=processors,
            stopping_criteria=StoppingCriteriaList([_RowEnds(ends, rows)]),
        )
    return rows


@contextmanager
def _without_defaults(model: PreTrainedModel) -> Iterator[None]:
    """Within the block, a model fills in no generation settings of its own (penalties, bans)."""
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


class _RowEnds(StoppingCriteria):  # type: ignore[misc]
    """Grows the rows token by token; told the whole batch after every step."""

    def __init__(self, ends: EndTest, rows: Sequence[GrowingRow]) -> None:
        self.ends = ends
        self.rows = rows
        self.done = [False] * len(rows)

    def __call__(
        self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: object
    ) -> torch.Tensor:
        for i, token in enumerate(input_ids[:, -1].tolist()):
            if not self.done[i]:
                self.rows[i].new_ids.append(token)
                self.done[i] = self.ends.finished(self.rows[i])
        return torch.tensor(self.done, device=input_ids.device)


class _Noise(LogitsProcessor):  # type: ignore[misc]
    """Makes greedy search sample."""

    def __init__(self, requests: Sequence[EncodedGenerate], device: torch.device) -> None:
        self.requests = requests
        self.generators = [generator_of(request, device) for request in requests]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        noisy = scores.float().clone()
        for i, (request, generator) in enumerate(zip(self.requests, self.generators, strict=True)):
            if generator is not None:
                noisy[i] = with_noise(scores[i], request, generator)
        return noisy
