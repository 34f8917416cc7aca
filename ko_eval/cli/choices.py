"""Options that take one of a few words."""

from __future__ import annotations

from typing import TypeVar

from ko_eval.errors import UsageError, near_miss

Word = TypeVar("Word", bound=str)


def one_of(option: str, given: str, words: tuple[Word, ...]) -> Word:
    """The given word, if the option takes it.

    Raises:
        UsageError: it does not; near misses are offered.
    """
    for word in words:
        if given == word:
            return word
    raise UsageError(f"{option} cannot be '{given}'", hint=near_miss(given, words))
