"""A model's own chat template, filled in bounded time and memory.

It is a program of the model's maker, in a language with loops. transformers keeps it in Jinja's
sandbox, so that it reaches nothing; that it ends is seen to here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from ko_eval.bounds import TooMuch, bounded
from ko_eval.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Templates are filled in milliseconds; these are for one that is not meant to end.
_SECONDS = 10.0
_MEMORY = 2**30  # bytes
_LONGEST = 10_000_000  # characters
_CODE = ("operator", "name")
_HALF_PAIR = re.compile("[\ud800-\udfff]")


def filled_chat(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Mapping[str, str]], **arguments: object
) -> str:
    """The turns as the tokenizer's chat template writes them, ready for the assistant's turn.

    Args:
        arguments: further names that the template may use.

    Raises:
        ModelError: the template is wrong, refuses the turns, or does not end.
    """
    from jinja2 import TemplateError

    try:
        # One of several, where the model has some for tools or documents.
        _check_powers(tokenizer.get_chat_template())
        with bounded(_SECONDS, _MEMORY):
            text = str(
                tokenizer.apply_chat_template(
                    list(turns), tokenize=False, add_generation_prompt=True, **arguments
                )
            )
            if len(text) > _LONGEST:
                raise TooMuch(f"it writes {len(text):,} characters")
    except (
        *(TemplateError, TypeError, ValueError, LookupError, ArithmeticError, SyntaxError),
        *(AttributeError, RecursionError, TooMuch),
    ) as error:
        raise _refusal(str(error)) from error
    # A template can write half of a surrogate pair, which is no text.
    if not text.isascii() and _HALF_PAIR.search(text):
        raise _refusal("it writes half of a surrogate pair")
    return text


@functools.lru_cache(maxsize=16)
def _check_powers(template: str) -> None:
    """Raise `ValueError` for a template with powers: a single one can take hours, uninterrupted."""
    from jinja2 import Environment

    tokens = [text for _, kind, text in Environment().lex(template) if kind in _CODE]
    # The filter `round` is one, too; a variable may be called so.
    if "**" in tokens or ("|", "round") in pairwise(tokens):
        raise ValueError("it computes powers, which no template needs")


def _refusal(why: str) -> ModelError:
    return ModelError(
        f"the model's chat template refuses the messages: {why}",
        hint="use --chat-template off, or --shots 0",
    )
