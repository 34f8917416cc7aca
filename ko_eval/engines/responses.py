"""From new token ids to a response; the same for every engine that generates locally.

The response ends before the first end token, before the first stop string of its answer, and at its
limits: a thought has a budget of its own, and the answer's limit counts from the thought's end.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ko_eval.engines.base import EncodedGenerate
from ko_eval.engines.model_settings import Reasoning
from ko_eval.engines.thinking import cut_at_stop, split_thinking
from ko_eval.types import FinishReason, GenerateResponse

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def end_token_ids(
    tokenizer: PreTrainedTokenizerBase, of_model: int | Sequence[int] | None
) -> frozenset[int]:
    """Ids that end a response.

    Args:
        of_model: `eos_token_id` of the model's generation configuration.
    """
    ids = [of_model] if isinstance(of_model, int) or of_model is None else [*of_model]
    return frozenset(i for i in (*ids, tokenizer.eos_token_id) if isinstance(i, int))


class ResponseBuilder:
    """Builds responses for one model.

    Args:
        end_ids: see `end_token_ids`.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, reasoning: Reasoning, end_ids: Collection[int]
    ) -> None:
        self.tokenizer = tokenizer
        self.reasoning = reasoning
        self.end_ids = frozenset(end_ids)
        added = (str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)
        special = {*tokenizer.all_special_tokens, *added}
        # The longest first: one may lie within another.
        self._special = sorted(special, key=len, reverse=True)

    def text(self, ids: Sequence[int]) -> str:
        """Tokens as text, special ones included."""
        return str(self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    def build(self, request: EncodedGenerate, new_ids: Sequence[int]) -> GenerateResponse:
        """The response to a request.

        Args:
            new_ids: the generated tokens; what lies behind the response's end is left out.
        """
        place = next((i for i, token in enumerate(new_ids) if token in self.end_ids), None)
        ids = new_ids[:place]
        marks = self.reasoning.start, self.reasoning.end
        text = self.text(ids)
        parts = split_thinking(text, *marks, starts_in_thought=request.starts_in_thought)
        thinking_tokens = 0
        if parts.thinking is not None:
            thinking_tokens = self._tokens_up_to_end_mark(ids) if parts.finished else len(ids)
        limit = _most_tokens(request, thinking_tokens)
        if len(ids) > limit:
            return self.build(request, ids[:limit])
        answer, stopped = cut_at_stop(parts.answer, request.request.stop)
        finish: FinishReason = "stop" if stopped or place is not None else "length"
        return GenerateResponse(
            text=self._without_special(answer),
            finish_reason=finish,
            thinking=parts.thinking,
            prompt_tokens=len(request.prompt),
            completion_tokens=len(ids),
            thinking_tokens=thinking_tokens,
            truncated_tokens=request.truncated_tokens,
            seed=request.seed if request.request.temperature else None,
        )

    def _tokens_up_to_end_mark(self, ids: Sequence[int]) -> int:
        """Fewest leading tokens whose text holds the mark."""
        low, high = 1, len(ids)
        while low < high:
            middle = (low + high) // 2
            if self.reasoning.end in self.text(ids[:middle]):
                high = middle
            else:
                low = middle + 1
        return low

    def _without_special(self, text: str) -> str:
        for token in self._special:
            text = text.replace(token, "")
        return text


def _most_tokens(request: EncodedGenerate, thinking_tokens: int) -> int:
    """The response's limit, given how many of its tokens are a thought."""
    budget = request.thinking_tokens or request.request.max_tokens
    if thinking_tokens > budget:
        return budget
    return thinking_tokens + request.request.max_tokens
