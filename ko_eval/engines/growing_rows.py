"""One response while it grows: whether it is finished, told from its last tokens alone.

It ends at an end token, at a stop string of its answer (also across token borders), or at a limit:
a thought has a budget of its own, and the answer's limit counts from the thought's end; together
they never exceed what was set aside for both (`most_tokens`). What the response then says is read
from its tokens by `responses.ResponseBuilder`, by the same rules.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from ko_eval.engines.base import EncodedGenerate
from ko_eval.engines.responses import ResponseBuilder

# Tokens on top of a mark's bytes that are looked through for it; they cover a character that is
# cut at the window's edge, and white space in front of a thought.
_SLACK = 8
# What a tokenizer writes for a part of a character.
_CUT_CHARACTER = "\ufffd"


@dataclass(slots=True, eq=False)
class GrowingRow:
    """A request and the tokens that answer it so far.

    Attributes:
        thought: `unknown` until the first text shows whether the response begins with a thought.
        answer_start: new tokens before the answer.
        seconds: its share of the time of all steps so far.
    """

    request: EncodedGenerate
    new_ids: list[int] = field(default_factory=list)
    thought: Literal["unknown", "none", "open", "closed"] = "unknown"
    answer_start: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.request.starts_in_thought:
            self.thought = "open"


def most_tokens(request: EncodedGenerate) -> int:
    """Tokens of the prompt and of the longest response."""
    return len(request.prompt) + request.request.max_tokens + request.thinking_tokens


class EndTest:
    """Tells, after each new token, whether a row is finished."""

    def __init__(self, builder: ResponseBuilder) -> None:
        self.builder = builder
        self._start_mark = builder.reasoning.start
        self._end_mark = _Marks((builder.reasoning.end,))
        self._thought_window = _window((self._start_mark, builder.reasoning.end))
        self._stops: dict[tuple[str, ...], _Marks] = {}
        self._pieces: dict[int, str] = {}

    def finished(self, row: GrowingRow) -> bool:
        """To be asked once after each token; remembers in the row what it found."""
        count, request = len(row.new_ids), row.request.request
        most = request.max_tokens + row.request.thinking_tokens
        if row.new_ids[-1] in self.builder.end_ids or count >= most:
            return True
        if row.thought in ("unknown", "open"):
            self._follow_thought(row)
        if row.thought == "open":
            return count >= (row.request.thinking_tokens or request.max_tokens)
        written = count - row.answer_start
        return written >= request.max_tokens or (bool(request.stop) and self._stopped(row, written))

    def _follow_thought(self, row: GrowingRow) -> None:
        if row.thought == "unknown":
            text = self.builder.text(row.new_ids[-self._thought_window :]).lstrip()
            if text.startswith(self._start_mark):
                row.thought = "open"
            elif not self._start_mark.startswith(text) or len(row.new_ids) >= self._thought_window:
                row.thought = "none"
        elif self._end_mark.occur_in(self._last_text(row, self._end_mark, len(row.new_ids))):
            row.thought = "closed"
            row.answer_start = len(row.new_ids)

    def _stopped(self, row: GrowingRow, written: int) -> bool:
        stop = row.request.request.stop
        marks = self._stops.get(stop) or self._stops.setdefault(stop, _Marks(stop))
        text = self._last_text(row, marks, written)
        if row.thought == "closed" and written <= marks.window:
            # The line breaks behind a thought are not part of the answer.
            text = text.lstrip("\n")
        return marks.occur_in(text)

    def _last_text(self, row: GrowingRow, marks: _Marks, most: int) -> str:
        """Text of the last tokens, `most` at most; none if the last one cannot complete a mark."""
        if not most:
            return ""
        last = row.new_ids[-1]
        piece = self._pieces.get(last)
        if piece is None:
            piece = self._pieces[last] = self.builder.text([last])
        if not marks.may_end_in(piece):
            return ""
        return self.builder.text(row.new_ids[-min(marks.window, most) :])


class _Marks:
    """Texts to look for at the end of a growing one.

    Attributes:
        window: last tokens that are enough to find one that has just been completed.
    """

    def __init__(self, marks: tuple[str, ...]) -> None:
        self.marks = tuple(mark for mark in marks if mark)
        self.window = _window(marks)
        # A tokenizer may drop the space of a token that it decodes alone.
        self._always = any(mark[-1].isspace() for mark in self.marks)
        self._ends = (_CUT_CHARACTER, *{mark[-1] for mark in self.marks})

    def may_end_in(self, piece: str) -> bool:
        """Whether a token with this text can complete a mark; spares most tokens a decoding."""
        return self._always or any(end in piece for end in self._ends)

    def occur_in(self, text: str) -> bool:
        return any(mark in text for mark in self.marks)


def _window(marks: Iterable[str]) -> int:
    # Every token but a special one is at least one byte of text, so a mark of n bytes lies within
    # the last n tokens.
    return max(len(mark.encode("utf-8", "surrogatepass")) for mark in marks) + _SLACK
