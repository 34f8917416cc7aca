"""Texts to token ids as lm-evaluation-harness has them from its own `hf` model (version 0.4.13).

Log-likelihoods follow `TemplateLM.loglikelihood` and `TemplateLM._encode_pair` in
`lm_eval/api/model.py`; where special tokens go is said in `lm_eval/models/huggingface.py`. Here all
texts are encoded together, each distinct one once, and equal ones share one tuple.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lm_eval.models.utils import has_bos_prefix

from ko_eval.engines.base import EncodedPair, TokenIds
from ko_eval.engines.text_tokens import TextTokens
from ko_eval.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class HarnessTokens:
    """Encodes texts for one model.

    Args:
        add_bos_token: whether texts get the tokenizer's special tokens; None means yes.
        prefix_token_id: what stands before a text without context; None takes BOS, else EOS.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        add_bos_token: bool | None,
        prefix_token_id: int | None,
    ) -> None:
        self._tokens = TextTokens(tokenizer)
        self._special = add_bos_token is not False
        self._bos = tokenizer.bos_token
        own = (prefix_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
        prefix = next((token for token in own if token is not None), None)
        if prefix is None:
            raise ModelError(
                "the tokenizer has neither a BOS nor an EOS token to start a text with",
                hint="give prefix_token_id=… in --model_args",
            )
        self.prefix_token_id = int(prefix)
        self._prefix = str(tokenizer.decode([self.prefix_token_id]))
        self._front, self._back = self._special_tokens()

    def encode(self, text: str, special: bool | None) -> TokenIds:
        """One text.

        Args:
            special: with special tokens or without; None as the model does it.
        """
        if special is None:
            return self.texts([text])[0]
        (ids,) = self._tokens.ids([text])
        return self._framed(ids) if special else ids

    def texts(self, texts: Sequence[str]) -> list[TokenIds]:
        """Texts that are scored, or stand before what is scored."""
        return self._encoded(texts, self._prefix)

    def prompts(self, prompts: Sequence[str]) -> list[TokenIds]:
        """Texts to go on from; never empty."""
        return [ids or (self.prefix_token_id,) for ids in self._encoded(prompts, self._bos)]

    def pairs(self, texts: Sequence[tuple[str, str]]) -> list[EncodedPair]:
        """Contexts and continuations; spaces at a context's end go to its continuation.

        Without a context, the continuation stands behind the prefix token, or behind its own
        first one where that is the same.
        """
        fronts = self.texts([context.rstrip() for context, _ in texts])
        wholes = self.texts([context + after for context, after in texts])
        bare = self._tokens.ids([after if not context else "" for context, after in texts])
        pairs = []
        for (context, _), front, whole, alone in zip(texts, fronts, wholes, bare, strict=True):
            if context:
                pairs.append(EncodedPair(front, whole[len(front) :]))
            elif alone[:1] == (self.prefix_token_id,):
                pairs.append(EncodedPair(alone[:1], alone[1:]))
            else:
                pairs.append(EncodedPair((self.prefix_token_id,), alone))
        return pairs

    def _encoded(self, texts: Sequence[str], start: str | None) -> list[TokenIds]:
        """Ids with special tokens around them, unless a text itself begins with `start`."""
        unique = list(dict.fromkeys(texts))
        found = {
            text: self._framed(ids) if self._special and not has_bos_prefix(text, start) else ids
            for text, ids in zip(unique, self._tokens.ids(unique), strict=True)
        }
        return [found[text] for text in texts]

    def _framed(self, ids: TokenIds) -> TokenIds:
        return self._front + ids + self._back

    def _special_tokens(self) -> tuple[TokenIds, TokenIds]:
        """What the tokenizer puts in front of any text, and what behind it."""
        (bare,), (whole,) = self._tokens.ids(["가"]), self._tokens.ids(["가"], special=True)
        for place in range(len(whole) - len(bare) + 1):
            if whole[place : place + len(bare)] == bare:
                return whole[:place], whole[place + len(bare) :]
        raise ModelError("the tokenizer changes a text's own tokens when it adds special ones")
