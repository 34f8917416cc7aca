"""Splits the thought of a reasoning model from its answer.

A thought is open when the prompt ended with the start mark, or when the response begins with it
(white space aside). It ends at the first end mark. A start mark later in a response is text.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SplitResponse:
    """A response in two parts.

    Attributes:
        thinking: None when there was no thought.
        answer: empty when the thought never ended.
        answer_start: index in the whole text where the answer begins.
        finished: False when the thought was still open at the end.
    """

    thinking: str | None
    answer: str
    answer_start: int
    finished: bool


def split_thinking(text: str, start: str, end: str, *, starts_in_thought: bool) -> SplitResponse:
    """Splits a response; see the module's policy."""
    begin = 0
    if not starts_in_thought:
        leading = len(text) - len(text.lstrip())
        if not text.startswith(start, leading):
            return SplitResponse(None, text, 0, True)
        begin = leading + len(start)
    close = text.find(end, begin)
    if close < 0:
        return SplitResponse(text[begin:], "", len(text), False)
    after = close + len(end)
    answer = text[after:]
    # The line breaks behind an end mark belong to the mark, not to the answer.
    trimmed = answer.lstrip("\n")
    return SplitResponse(text[begin:close], trimmed, after + len(answer) - len(trimmed), True)


def cut_at_stop(text: str, stop: tuple[str, ...]) -> tuple[str, bool]:
    """The text before the first stop string, and whether there was one."""
    places = [place for mark in stop if (place := text.find(mark)) >= 0]
    return (text[: min(places)], True) if places else (text, False)
