"""Errors a user can act on: what is wrong, where, and what to do.

Every error that reaches the command line is a `KoEvalError`; it is shown in two or three lines and
ends the process with its exit code. Anything else is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from ko_eval.safe_text import one_line

# No name of a task, field or option is longer; what is may be hostile.
_LONGEST_NAME = 200


class KoEvalError(Exception):
    """Something the user must change (exit code 2).

    Args:
        what: what is wrong, one sentence.
        where: file, line, field or option, if there is one.
        hint: what to do about it, one sentence.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        """Two or three lines that are safe to show, whatever the texts were made of."""
        lines = [one_line(self.what)]
        if self.where:
            lines.append(f"  where: {one_line(self.where)}")
        if self.hint:
            lines.append(f"  to do: {one_line(self.hint)}")
        return "\n".join(lines)


class Stopped(BaseException):
    """A signal asked the program to stop; not a `KoEvalError`, since nothing must be changed.

    Args:
        signal: its number; the process ends with 128 more.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal


class UsageError(KoEvalError):
    """A command was given something it cannot use."""


class TaskError(KoEvalError):
    """A task or suite definition is wrong."""


class DataError(KoEvalError):
    """Rows or responses are missing, damaged or of the wrong shape."""


class ModelError(KoEvalError):
    """A model cannot be loaded or cannot do what was asked."""


class RunError(KoEvalError):
    """A run directory cannot be used or written."""


def first_line(error: BaseException) -> str:
    """The first line of a library's message, cut to fit, or the error's name when it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def near_miss(name: str, known: Iterable[str]) -> str:
    """A hint naming the closest known names: ``did you mean 'ko_gpqa'? (known: …)``.

    Args:
        name: what the user wrote.
        known: every name that would have been right.
    """
    names = sorted(known)
    # Comparing takes the square of the lengths.
    short = [candidate for candidate in names if len(candidate) <= _LONGEST_NAME]
    close = difflib.get_close_matches(name[:_LONGEST_NAME], short, n=3, cutoff=0.5)
    listing = ", ".join(names)
    if close:
        wanted = " or ".join(f"'{candidate}'" for candidate in close)
        return f"did you mean {wanted}? (known: {listing})"
    return f"known: {listing}"
