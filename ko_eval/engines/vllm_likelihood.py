"""What vLLM is asked for log-likelihoods, so that each distinct token is fed about once.

vLLM scores tokens in two places of a request. Behind its prompt, where one step is generated, it
scores any tokens that are named. At the prompt's rows it scores the prompt's own next tokens, or,
where its runner can, named tokens as well. All pairs of a run are one forest (`prefix_tree`), and
an ask is a path from a root to a place where no later ask can score what is wanted:

- choices of one token each are one ask per item, whose step scores them all;
- of longer choices each is an ask; its step scores the last token, its rows those before it.

There are never more asks than pairs. They come depth first, so that what an ask shares with others
is in vLLM's prefix cache when it comes. A row that the cache held is not computed and has no score;
it is asked for again as a step, whose prompt ends at that row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ko_eval.engines.base import Answer, EncodedLoglikelihood, EncodedPair
from ko_eval.engines.likelihood_answer import likelihood_answer
from ko_eval.engines.prefix_tree import Forest, IntArray, build_forest

MOST_NAMED = 64
"""Tokens that one step or row is asked for at most; vLLM's own limit is 128."""

_UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class RowScore:
    """A score that is wanted at a row of the prompt.

    Attributes:
        position: of the row: tokens before it.
        token: whose log-probability is wanted, as the token behind the row.
        score: which score of the plan it is.
    """

    position: int
    token: int
    score: int


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to vLLM, which generates one step.

    Attributes:
        named: token to the score that its log-probability behind the prompt is.
        rows: what is wanted at earlier rows, by rising position.
        reads_cache: whether the prefix cache may stand in for rows; never for a plain ask.
    """

    prompt: list[int]
    named: dict[int, int]
    rows: tuple[RowScore, ...]
    reads_cache: bool = True

    def retried(self, row: RowScore) -> Ask:
        """An ask for a single score of this one, which no cache can hide."""
        return Ask(self.prompt[: row.position + 1], {row.token: row.score}, ())


class Plan(Protocol):
    """Asks, and which of their scores belong to which pair.

    Attributes:
        scored: of each pair's continuation tokens, pair by pair, the score.
        start: where each pair starts in `scored`, and the length of it.
        tokens_asked: tokens to feed if each pair were fed alone.
        tokens_distinct: tokens to feed when each is fed once.
    """

    scored: IntArray
    start: IntArray
    tokens_asked: int
    tokens_distinct: int

    def asks(self) -> Iterator[Ask]: ...


class ForestPlan:
    """Asks along the forest of all pairs.

    Args:
        named_rows: rows score named tokens, too; then only the leaves are asked for.
    """

    def __init__(self, pairs: Sequence[EncodedPair], *, named_rows: bool) -> None:
        self.forest = build_forest(pairs)
        self.scored = self.forest.scored_read
        self.start = self.forest.scored_start
        self.tokens_asked = self.forest.tokens_asked
        self.tokens_distinct = self.forest.tokens_distinct
        self._named_rows = named_rows

    def asks(self) -> Iterator[Ask]:
        """In the forest's order."""
        forest = self.forest
        place = forest.read_token
        node = forest.nodes_at(place)
        position = forest.node_depth[node] + place - forest.node_start[node]
        if self._named_rows:
            at_leaf = place + 1 == forest.node_last[node]
            _, which, counts = np.unique(place, return_inverse=True, return_counts=True)
            through = np.where(at_leaf | (counts[which] > MOST_NAMED), _UNKNOWN, place)
        else:
            through = _next_fed(forest, node)
        ends = np.unique(place[through == _UNKNOWN])
        # An ask through a token is the first end at or behind it: a subtree is one run of tokens.
        owner = np.searchsorted(ends, np.where(through == _UNKNOWN, place, through))
        order = np.lexsort((place, owner))
        borders = np.searchsorted(owner[order], np.arange(len(ends) + 1))
        for end, first, last in zip(ends.tolist(), borders, borders[1:], strict=False):
            prompt = forest.tokens[forest.path(end)].tolist()
            named: dict[int, int] = {}
            rows = []
            for read in order[first:last].tolist():
                token = int(forest.read_target[read])
                if place[read] == end:
                    named[token] = read
                else:
                    rows.append(RowScore(int(position[read]), token, read))
            yield Ask(prompt, dict(list(named.items())[:MOST_NAMED]), tuple(rows))
            for further in range(MOST_NAMED, len(named), MOST_NAMED):
                part = list(named.items())[further : further + MOST_NAMED]
                yield Ask(prompt, dict(part), ())


def _next_fed(forest: Forest, node: IntArray) -> IntArray:
    """Of each read, the fed token that follows its place and is the one it wants; or -1."""
    following = forest.read_token + 1
    inside = following < forest.node_end[node]
    same = forest.tokens[np.where(inside, following, 0)] == forest.read_target
    # At the end of a node the token that follows is the first of a child.
    keys = (forest.node_parent << 32) | forest.tokens[forest.node_start]
    order = np.argsort(keys)
    wanted = (node << 32) | forest.read_target
    found = order[np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)]
    child = np.where(keys[found] == wanted, forest.node_start[found], _UNKNOWN)
    return np.where(inside, np.where(same, following, _UNKNOWN), child)


class PlainPlan:
    """An ask per pair, whose own tokens are scored at the prompt's rows, without the prefix cache.

    The way every vLLM has known for long, and what the others are held against.

    Args:
        max_length: most tokens that can be fed; where a pair is one token longer, its last token is
            scored by a step.
    """

    def __init__(self, pairs: Sequence[EncodedPair], *, max_length: int) -> None:
        self.pairs = pairs
        self.start = np.cumsum([0, *(len(pair.continuation) for pair in pairs)])
        self.scored = np.arange(self.start[-1])
        self.tokens_asked = sum(len(p.context) + len(p.continuation) - 1 for p in pairs)
        self.tokens_distinct = self.tokens_asked
        self._max_length = max_length

    def asks(self) -> Iterator[Ask]:
        """In the order of the pairs."""
        for pair, first in zip(self.pairs, self.start.tolist(), strict=False):
            whole = [*pair.context, *pair.continuation]
            prompt = whole[: self._max_length]
            rows = [
                RowScore(len(pair.context) - 1 + step, token, first + step)
                for step, token in enumerate(pair.continuation)
            ]
            named = {rows[-1].token: rows[-1].score} if len(prompt) < len(whole) else {}
            kept = rows[:-1] if named else rows
            yield Ask(prompt, named, tuple(kept), reads_cache=False)


class Scores:
    """Collects the scores of a plan and tells which requests they complete."""

    def __init__(self, requests: Sequence[EncodedLoglikelihood], plan: Plan) -> None:
        self.requests = requests
        self._plan = plan
        self._borders = np.cumsum([0, *(len(request.pairs) for request in requests)])
        scored = len(plan.scored)
        count = int(plan.scored.max()) + 1 if scored else 0
        self._logprobs = np.full(count, np.nan)
        self._greedy = np.full(count, _UNKNOWN, dtype=np.int8)
        # Which requests wait for a score, each once.
        lengths = np.diff(plan.start[self._borders])
        owner = np.repeat(np.arange(len(requests)), lengths)
        waits = np.unique(plan.scored * max(1, len(requests)) + owner)
        self._waiting = waits % max(1, len(requests))
        self._waiting_start = np.searchsorted(waits // max(1, len(requests)), np.arange(count + 1))
        self._missing = np.bincount(self._waiting, minlength=len(requests))

    def put(self, score: int, logprob: float, greedy: bool | None) -> Iterator[int]:
        """Takes a score; yields the indices of requests that lack nothing any more."""
        self._logprobs[score] = logprob
        self._greedy[score] = _UNKNOWN if greedy is None else greedy
        first, last = self._waiting_start[score : score + 2]
        for index in self._waiting[first:last].tolist():
            self._missing[index] -= 1
            if not self._missing[index]:
                yield index

    def answer(self, index: int, seconds: float) -> Answer:
        """The answer to a request whose scores are all there."""
        logprobs, greedy = [], []
        for pair in range(self._borders[index], self._borders[index + 1]):
            scores = self._plan.scored[self._plan.start[pair] : self._plan.start[pair + 1]]
            logprobs.append(self._logprobs[scores])
            greedy.append(self._greedy[scores])
        known = all((of_pair != _UNKNOWN).all() for of_pair in greedy)
        most_likely = [of_pair == 1 for of_pair in greedy] if known else None
        return likelihood_answer(self.requests[index], logprobs, most_likely, seconds)
