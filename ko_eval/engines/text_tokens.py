"""Texts to token ids, each distinct word tokenised once where that is proven to change nothing.

A byte-level BPE tokenizer first cuts a text into pieces by a regular expression and then merges
within each piece. The expressions in use treat a space after a character that is no whitespace as
they treat the end of a text, look at nothing before a piece, and begin a piece at that space. So
the text's ids are those of its words, spaces in front of them. Any tokenizer that is not known to
be of this kind gets the whole text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from ko_eval.engines.base import TokenIds

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# A word with the whitespace in front of it; it ends in front of a space only. So "답: 예" is two
# words, and "답:\n예" is one: some tokenizers join a line break to the sign before it. Whitespace
# that ends a text after a space is a word, too.
_WORD = re.compile(r"\s*+\S++(?:[^\S ]\s*+\S*+)*+|\s++")
# Texts whose words are held at a time.
_TEXTS_AT_A_TIME = 1000

# Alternatives of which the expressions of GPT-2, cl100k (Llama 3), Qwen 2 to 3.5 and o200k consist.
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_ALTERNATIVES = (
    *("'s|'t|'re|'ve|'m|'ll|'d", _CONTRACTIONS, "'(?i:[sdmt]|ll|ve|re)"),
    *(r" ?\p{L}+", r"[^\r\n\p{L}\p{N}]?\p{L}+", r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+"),
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?",
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTIONS}?",
    *(r" ?\p{N}+", r"\p{N}", r"\p{N}{1,3}"),
    *(r" ?[^\s\p{L}\p{N}]+", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r" ?[^\s\p{L}\p{N}]+[\r\n/]*"),
    r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*",
    *(r"\s*[\r\n]+", r"\s+(?!\S)"),
)
# Any of them in any order; the last one is all whitespace, so that every space is in some piece.
_KNOWN_EXPRESSION = re.compile(
    "(?:(?:" + "|".join(map(re.escape, _ALTERNATIVES)) + r")\|)++" + re.escape(r"\s+")
)


class TextTokens:
    """A tokenizer that tokenises each distinct text, and where proven each distinct word, once.

    Attributes:
        by_word: a text's ids are those of its words.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self.by_word = cuts_before_spaces(tokenizer)

    def ids(self, texts: Sequence[str], *, special: bool = False) -> list[TokenIds]:
        """The ids of each text; equal texts share one tuple.

        Args:
            special: with the special tokens that the tokenizer adds.
        """
        unique = list(dict.fromkeys(texts))
        by_word = self.by_word and not special
        rows = self._by_word(unique) if by_word else self._whole(unique, special=special)
        found = dict(zip(unique, rows, strict=True))
        return [found[text] for text in texts]

    def separable(self, front: str, rest: str) -> bool:
        """Whether the ids of `front + rest` are those of `front` and then those of `rest`."""
        return self.by_word and rest.startswith(" ") and not front[-1:].isspace()

    def _by_word(self, texts: Sequence[str]) -> Iterator[TokenIds]:
        backend = self._tokenizer.backend_tokenizer
        # As transformers sets them before it encodes anything.
        backend.no_padding()
        backend.no_truncation()
        known: dict[str, TokenIds] = {}
        for start in range(0, len(texts), _TEXTS_AT_A_TIME):
            words = [_WORD.findall(text) for text in texts[start : start + _TEXTS_AT_A_TIME]]
            new = list(dict.fromkeys(word for row in words for word in row if word not in known))
            # Without offsets, and without the copies that transformers makes of each encoding.
            encodings = backend.encode_batch_fast(new, add_special_tokens=False)
            known.update((word, tuple(e.ids)) for word, e in zip(new, encodings, strict=True))
            for row in words:
                yield tuple(chain.from_iterable(map(known.__getitem__, row)))

    def _whole(self, texts: Sequence[str], *, special: bool = False) -> Iterator[TokenIds]:
        if not texts:
            return iter(())
        found = self._tokenizer(list(texts), add_special_tokens=special)["input_ids"]
        return (tuple(map(int, row)) for row in found)


def cuts_before_spaces(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer is known to cut a text before each space that follows no whitespace."""
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

    kind = type(tokenizer)
    if (
        not isinstance(tokenizer, PreTrainedTokenizerFast)
        or tokenizer.split_special_tokens
        or kind.__call__ is not PreTrainedTokenizerBase.__call__
        or kind._encode_plus is not PreTrainedTokenizerFast._encode_plus
    ):
        return False
    backend = tokenizer.backend_tokenizer
    return (
        isinstance(backend.model, BPE)
        and not backend.model.dropout
        and _state(backend.normalizer).get("type", "NFC") == "NFC"
        and _pieces_end_at_spaces(_state(backend.pre_tokenizer))
        and not any(_reaches_over_a_space(t) for t in backend.get_added_tokens_decoder().values())
    )


def _state(part: Any) -> dict[str, Any]:
    """The description of a tokenizer's part as in tokenizer.json; empty where there is none."""
    content: dict[str, Any] = json.loads(part.__getstate__()) if part is not None else {}
    return content


def _pieces_end_at_spaces(pre_tokenizer: dict[str, Any]) -> bool:
    """Whether it is a known way of cutting a text into pieces."""
    steps = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    *first, last = steps or [{}]
    if last.get("type") != "ByteLevel" or last.get("add_prefix_space"):
        return False
    by_digits = [step for step in first if step.get("type") == "Digits"]
    by_expression = [step for step in first if _is_known_split(step)]
    known = len(by_digits) + len(by_expression) == len(first)
    return known and bool(by_expression or last.get("use_regex"))


def _is_known_split(step: dict[str, Any]) -> bool:
    expression = step.get("pattern", {}).get("Regex", "")
    return (
        step.get("type") == "Split"
        and step.get("behavior") == "Isolated"
        and not step.get("invert")
        and _KNOWN_EXPRESSION.fullmatch(expression) is not None
    )


def _reaches_over_a_space(token: Any) -> bool:
    """Whether an added token may hold a space behind something else, or looks around itself."""
    inner_space = " " in token.content.lstrip(" ")
    return inner_space or token.rstrip or token.lstrip or token.single_word
