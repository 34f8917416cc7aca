"""Which prompts share a prefix that is worth computing once: a few-shot header, a chat head.

Sorted prompts with a common prefix stand together. The groups form a tree (a header within a
header); of each branch, the level is taken at which most tokens are saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ko_eval.engines.base import TokenIds

# A shorter prefix is computed faster than looked up.
_WORTHWHILE = 16


@dataclass(frozen=True, slots=True, eq=False)
class SharedPrefix:
    """The first tokens of several prompts; shorter than any of them.

    Attributes:
        length: in tokens.
        members: indices of the prompts.
    """

    length: int
    members: tuple[int, ...]


def shared_prefixes(prompts: Sequence[TokenIds]) -> list[SharedPrefix]:
    """Groups without a common member; a prompt that shares nothing worthwhile is in none."""
    order = sorted(range(len(prompts)), key=lambda index: prompts[index])
    open_branches = [_Branch(0, 0)]
    for place in range(1, len(order) + 1):
        length = 0
        if place < len(order):
            length = _shared(prompts[order[place - 1]], prompts[order[place]])
        start = place - 1
        while open_branches[-1].length > length:
            closed = open_branches.pop()
            closed.close(place)
            start = closed.start
            parent = open_branches[-1]
            if parent.length < length:
                parent = _Branch(length, start)
                open_branches.append(parent)
            parent.add(closed)
        if open_branches[-1].length < length:
            open_branches.append(_Branch(length, start))
    return [
        SharedPrefix(branch.length, tuple(order[branch.start : branch.end]))
        for branch in open_branches[0].best
    ]


@dataclass(slots=True, eq=False)
class _Branch:
    """A run of sorted prompts with a common prefix, and the best groups within it.

    Attributes:
        saved: tokens that those groups save.
    """

    length: int
    start: int
    end: int = 0
    saved: int = 0
    best: list[_Branch] = field(default_factory=list)

    def add(self, child: _Branch) -> None:
        self.saved += child.saved
        self.best += child.best

    def close(self, end: int) -> None:
        self.end = end
        as_one = (end - self.start - 1) * self.length
        if self.length >= _WORTHWHILE and as_one >= self.saved:
            self.saved, self.best = as_one, [self]


def _shared(one: TokenIds, other: TokenIds) -> int:
    """Common first tokens, but never the whole of a prompt: its last token is always fed."""
    most = min(len(one), len(other)) - 1
    if one[:most] == other[:most]:
        return most
    return next(i for i in range(most) if one[i] != other[i])
