"""What options of several commands can be given."""

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


def suite_and_tasks(suite: str | None, tasks: str | None) -> tuple[str | None, tuple[str, ...]]:
    """What --suite and --tasks ask for: a suite, by default the Korean leaderboard's, or tasks.

    Raises:
        UsageError: both were given.
    """
    if tasks is None:
        return suite or "leaderboard2", ()
    if suite is not None:
        raise UsageError("--suite and --tasks were both given", hint="give one of them")
    return None, tuple(name.strip() for name in tasks.split(",") if name.strip())


def number_or_auto(option: str, given: str) -> int:
    """A number of at least 1; 0 for `auto`.

    Raises:
        UsageError: it is neither.
    """
    if given == "auto":
        return 0
    if not (given.isascii() and given.isdecimal() and 0 < len(given) < 7 and int(given)):
        raise UsageError(f"{option} cannot be '{given}'", hint="give a number from 1 on, or auto")
    return int(given)
