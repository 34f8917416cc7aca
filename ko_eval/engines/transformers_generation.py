"""Generation in static batches: greedy or seeded sampling, exact stops, thoughts with a budget.

A row ends at an end token, at a stop string (also across token borders), or at its own limit;
finished rows are padded until their batch ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    TopPLogitsWarper,
)

from ko_eval.engines.base import EncodedGenerate
from ko_eval.engines.model_settings import Reasoning
from ko_eval.engines.thinking import cut_at_stop, split_thinking
from ko_eval.types import FinishReason, GenerateResponse

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


# Tokens on top of a mark's bytes that are looked through for it; they cover a character that is
# cut at the window's edge, and white space in front of a thought.
_SLACK = 8


@dataclass(slots=True)
class _Row:
    """What is known of one row while it grows.

    Attributes:
        thought: `unknown` until the first text shows whether the response begins with a thought.
        answer_start: new tokens before the answer.
        end: new tokens when the row was finished, or None.
    """

    request: EncodedGenerate
    thought: str
    answer_start: int = 0
    end: int | None = None
    tail: int = field(init=False)

    def __post_init__(self) -> None:
        # Every token but a special one is at least one byte of text, so a mark of n bytes lies
        # within the last n tokens.
        marks = [*self.request.request.stop, ""]
        self.tail = max(len(mark.encode()) for mark in marks) + _SLACK


class _RowEnds(StoppingCriteria):  # type: ignore[misc]
    """Ends each row at its stop string or limit; told the whole batch after every step."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        rows: Sequence[_Row],
        reasoning: Reasoning,
        prompt_width: int,
    ) -> None:
        self.tokenizer = tokenizer
        self.rows = rows
        self.reasoning = reasoning
        self.prompt_width = prompt_width
        marks = max(len(reasoning.start.encode()), len(reasoning.end.encode()))
        self.window = max(marks + _SLACK, *(row.tail for row in rows))

    def __call__(
        self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: object
    ) -> torch.Tensor:
        count = input_ids.shape[1] - self.prompt_width
        # Only the last tokens can hold something new.
        start = max(self.prompt_width, input_ids.shape[1] - self.window)
        for row, ids in zip(self.rows, input_ids[:, start:].tolist(), strict=True):
            if row.end is None and self._finished(row, ids, count):
                row.end = count
        done = [row.end is not None for row in self.rows]
        return torch.tensor(done, device=input_ids.device)

    def _finished(self, row: _Row, ids: list[int], count: int) -> bool:
        request = row.request.request
        if row.thought in ("unknown", "open"):
            self._follow_thought(row, ids, count)
        if row.thought == "open":
            return count >= (row.request.thinking_tokens or request.max_tokens)
        written = count - row.answer_start
        if written >= request.max_tokens:
            return True
        if not request.stop or not written:
            return False
        text = self._text(ids[-min(row.tail, written) :])
        return any(mark in text for mark in request.stop)

    def _follow_thought(self, row: _Row, ids: list[int], count: int) -> None:
        start, end = self.reasoning.start, self.reasoning.end
        if row.thought == "unknown":
            text = self._text(ids).lstrip()
            if text.startswith(start):
                row.thought = "open"
            elif not start.startswith(text) or count >= self.window:
                row.thought = "none"
        elif end in self._text(ids[-(len(end.encode()) + _SLACK) :]):
            row.thought = "closed"
            row.answer_start = count

    def _text(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, clean_up_tokenization_spaces=False))


class _SeededSampling(LogitsProcessor):  # type: ignore[misc]
    """Makes greedy search sample: adds Gumbel noise from one generator per row.

    The highest of (logit / temperature + Gumbel noise) is distributed as a sample of the softmax
    (Gumbel 1954), and a row's draw does not depend on its neighbours in the batch.
    """

    def __init__(self, requests: Sequence[EncodedGenerate], device: torch.device) -> None:
        self.requests = requests
        self.generators = [torch.Generator(device).manual_seed(r.seed) for r in requests]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        sampled = []
        for row, encoded, generator in zip(scores, self.requests, self.generators, strict=True):
            request = encoded.request
            if request.temperature == 0:
                sampled.append(row)
                continue
            kept = row.float() / request.temperature
            if request.top_p < 1:
                kept = TopPLogitsWarper(request.top_p)(input_ids, kept.unsqueeze(0)).squeeze(0)
            uniform = torch.rand(row.shape, generator=generator, device=row.device)
            sampled.append(kept - torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7))))
        return torch.stack([row.float() for row in sampled])


def generate_batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    requests: Sequence[EncodedGenerate],
    reasoning: Reasoning,
    pad_id: int,
) -> list[GenerateResponse]:
    """Answers a batch, in order."""
    width = max(len(r.prompt) for r in requests)
    ids = torch.full((len(requests), width), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, encoded in enumerate(requests):
        ids[i, width - len(encoded.prompt) :] = torch.tensor(encoded.prompt)
        mask[i, width - len(encoded.prompt) :] = 1
    rows = [_Row(r, "open" if r.starts_in_thought else "unknown") for r in requests]
    end_ids = end_token_ids(model, tokenizer)
    processors = LogitsProcessorList()
    if any(r.request.temperature for r in requests):
        processors.append(_SeededSampling(requests, model.device))
    with torch.inference_mode():
        output = model.generate(
            ids.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=GenerationConfig(
                do_sample=False,
                max_new_tokens=max(r.request.max_tokens + r.thinking_tokens for r in requests),
                eos_token_id=end_ids or None,
                pad_token_id=pad_id,
            ),
            logits_processor=processors,
            stopping_criteria=StoppingCriteriaList([_RowEnds(tokenizer, rows, reasoning, width)]),
        )
    return [
        _response(tokenizer, row, new_ids, end_ids, reasoning)
        for row, new_ids in zip(rows, output[:, width:].tolist(), strict=True)
    ]


def end_token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids that end a response: the model's and the tokenizer's."""
    given = model.generation_config.eos_token_id
    ids = list(given) if isinstance(given, list | tuple) else [given]
    ids.append(tokenizer.eos_token_id)
    return sorted({i for i in ids if isinstance(i, int)})


def _response(
    tokenizer: PreTrainedTokenizerBase,
    row: _Row,
    new_ids: list[int],
    end_ids: list[int],
    reasoning: Reasoning,
) -> GenerateResponse:
    request = row.request
    ids = new_ids if row.end is None else new_ids[: row.end]
    place = next((i for i, token in enumerate(ids) if token in end_ids), None)
    if place is not None:
        ids = ids[:place]
    text = str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))
    parts = split_thinking(
        text, reasoning.start, reasoning.end, starts_in_thought=request.starts_in_thought
    )
    answer, stopped = cut_at_stop(parts.answer, request.request.stop)
    finish: FinishReason = "stop" if stopped or place is not None else "length"
    thinking_tokens = 0
    if parts.thinking is not None:
        thinking_tokens = (
            _tokens_up_to(tokenizer, ids, reasoning.end) if parts.finished else len(ids)
        )
    return GenerateResponse(
        text=_without_special(tokenizer, answer),
        finish_reason=finish,
        thinking=parts.thinking,
        prompt_tokens=len(request.prompt),
        completion_tokens=len(ids),
        thinking_tokens=thinking_tokens,
        truncated_tokens=request.truncated_tokens,
        seed=request.seed if request.request.temperature else None,
    )


def _tokens_up_to(tokenizer: PreTrainedTokenizerBase, ids: list[int], mark: str) -> int:
    """Fewest leading tokens whose text holds `mark`."""
    low, high = 1, len(ids)
    while low < high:
        middle = (low + high) // 2
        if mark in str(tokenizer.decode(ids[:middle], clean_up_tokenization_spaces=False)):
            high = middle
        else:
            low = middle + 1
    return low


def _without_special(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    added = (str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)
    for token in {*tokenizer.all_special_tokens, *added}:
        text = text.replace(token, "")
    return text
