"""Who answers which requests: an order, units of work cut from it, and what becomes of them.

Guided self-scheduling, kind by kind: units of half of what is left, shared out over the replicas,
so that the first are large and the last are small. Generations come before log-likelihoods, whose
cost is known better and which even out the end. Sorted requests keep their common prefix in one
unit, where it is computed once. Nothing here knows about Ray.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import ceil, isqrt

import numpy as np

from ko_eval.engines.base import EncodedGenerate, EncodedLoglikelihood, EncodedRequest

MOST_DEATHS = 3
"""A request on which so many replicas died is not asked again."""

# Tokens of a unit: below, the way to a replica and a prefix computed anew cost too much; above,
# what a unit takes up on that way.
_SMALLEST_UNIT = 4096
_LARGEST_UNIT = 2_000_000
# A unit is at least so many times its first request: the prefix that its requests share is
# computed once per unit.
_PREFIXES_PER_UNIT = 4
# Below so many full batches of generations for each replica no smaller units are cut: an engine
# answers the rows of a batch side by side, and each unit's last batch runs empty.
_UNCUT_BATCHES = 4


@dataclass(frozen=True, slots=True)
class SizedRequest:
    """A request with its cost.

    Attributes:
        tokens: fed and generated, without those that it shares with the request before it.
        length: with them.
    """

    request: EncodedRequest
    tokens: int
    length: int


@dataclass(frozen=True, slots=True, eq=False)
class WorkUnit:
    """Requests that a replica is given together."""

    number: int
    requests: tuple[EncodedRequest, ...]


@dataclass(frozen=True, slots=True)
class Loss:
    """What a replica had not answered when it was lost.

    Attributes:
        requeued: requests that another replica is given.
        given_up: requests that were lost too often.
    """

    requeued: tuple[EncodedRequest, ...]
    given_up: tuple[EncodedRequest, ...]


def ordered(requests: Iterable[EncodedRequest]) -> Iterator[list[SizedRequest]]:
    """Generations, then log-likelihoods, each with costs; the costliest tasks and rows first.

    Log-likelihoods of a task are sorted by their tokens, so that equal beginnings meet.
    """
    generations: dict[str, list[SizedRequest]] = {}
    likelihoods: dict[str, list[EncodedLoglikelihood]] = {}
    for request in requests:
        if isinstance(request, EncodedGenerate):
            tokens = len(request.prompt) + request.thinking_tokens + request.request.max_tokens
            sized = SizedRequest(request, tokens, tokens)
            generations.setdefault(request.request.task, []).append(sized)
        else:
            likelihoods.setdefault(request.request.task, []).append(request)
    for group in generations.values():
        group.sort(key=lambda sized: -sized.tokens)
    yield _costliest_first(generations.values())
    yield _costliest_first(_with_shared_prefixes(group) for group in likelihoods.values())


def _costliest_first(groups: Iterable[list[SizedRequest]]) -> list[SizedRequest]:
    by_cost = sorted(groups, key=lambda group: -max(sized.length for sized in group))
    return [sized for group in by_cost for sized in group]


def _with_shared_prefixes(requests: Sequence[EncodedLoglikelihood]) -> list[SizedRequest]:
    # As bytes, whose comparison is quick; which of two beginnings comes first does not matter.
    contexts = [array("i", request.pairs[0].context).tobytes() for request in requests]
    order = sorted(range(len(requests)), key=contexts.__getitem__)
    found = []
    before = b""
    for index in order:
        length = _distinct_tokens(requests[index])
        shared = _common(before, contexts[index])
        found.append(SizedRequest(requests[index], length - shared, length))
        before = contexts[index]
    return found


def _distinct_tokens(request: EncodedLoglikelihood) -> int:
    contexts = {id(pair.context): len(pair.context) for pair in request.pairs}
    return sum(contexts.values()) + sum(len(pair.continuation) for pair in request.pairs)


def _common(one: bytes, other: bytes) -> int:
    """Common first tokens."""
    length = min(len(one), len(other))
    if one[:length] == other[:length]:
        return length // 4
    differs = np.frombuffer(one[:length], np.int32) != np.frombuffer(other[:length], np.int32)
    return int(differs.argmax())


def cut(
    requests: Sequence[SizedRequest], replicas: int, rows: int
) -> Iterator[tuple[EncodedRequest, ...]]:
    """Consecutive units, large ones first.

    Args:
        requests: of one kind, in order.
        replicas: engines that share them.
        rows: requests that an engine answers side by side; 1 where it goes by tokens.
    """
    total = left = sum(sized.tokens for sized in requests)
    start = 0
    while start < len(requests):
        # A round: a unit for each replica.
        few = len(requests) - start <= replicas * rows * _UNCUT_BATCHES
        share = left / replicas if rows > 1 and few else left / replicas / 2
        for _ in range(replicas):
            if start == len(requests):
                return
            smallest = max(_SMALLEST_UNIT, _PREFIXES_PER_UNIT * requests[start].length)
            size = min(max(share, min(smallest, total / replicas)), _LARGEST_UNIT)
            end, taken = start + 1, requests[start].tokens
            while end < len(requests) and taken + requests[end].tokens / 2 <= size:
                taken += requests[end].tokens
                end += 1
            yield tuple(sized.request for sized in requests[start:end])
            left -= taken
            start = end


@dataclass(slots=True, eq=False)
class _Held:
    """A unit that a replica holds.

    Attributes:
        size: its requests, answered or not.
    """

    size: int
    unanswered: dict[str, EncodedRequest]


@dataclass(slots=True)
class WorkQueue:
    """The work of one call of `answers`, and which replica holds what of it.

    Args:
        replicas: engines that share the work.
        rows: generations that an engine answers side by side.
        deaths: by request key, how many replicas were lost with it; kept up here.
    """

    replicas: int
    rows: int
    deaths: MutableMapping[str, int]
    _waiting: deque[WorkUnit] = field(default_factory=deque)
    _held: dict[int, dict[int, _Held]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=count)

    def add(self, requests: Iterable[EncodedRequest]) -> None:
        """Orders requests and cuts them into units."""
        generations, likelihoods = ordered(requests)
        for kind, rows in ((generations, self.rows), (likelihoods, 1)):
            for unit in cut(kind, self.replicas, rows):
                self._waiting.append(WorkUnit(next(self._numbers), unit))

    @property
    def done(self) -> bool:
        """Whether nothing waits and no replica holds anything."""
        return not self._waiting and not any(self._held.values())

    @property
    def unanswered(self) -> int:
        """Requests that wait or are held."""
        held = (unit for units in self._held.values() for unit in units.values())
        waiting = sum(len(unit.requests) for unit in self._waiting)
        return waiting + sum(len(unit.unanswered) for unit in held)

    def holds(self, replica: int) -> int:
        """How many units a replica holds."""
        return len(self._held.get(replica, ()))

    def wanted(self, replica: int) -> bool:
        """Whether a replica should be given another unit.

        Half through the only one that it holds, it is given the next, so that it need not wait; but
        not of the last ones, which are for whoever is free first.
        """
        if not self._waiting:
            return False
        units = list(self._held.get(replica, {}).values())
        if len(units) == 1 and len(self._waiting) >= self.replicas:
            return 2 * len(units[0].unanswered) <= units[0].size
        return not units

    def take(self, replica: int) -> WorkUnit:
        """The next unit, which the replica now holds."""
        unit = self._waiting.popleft()
        requests = {request.key: request for request in unit.requests}
        self._held.setdefault(replica, {})[unit.number] = _Held(len(requests), requests)
        return unit

    def answered(self, replica: int, number: int, key: str) -> None:
        """A request of a unit that the replica holds is answered."""
        del self._held[replica][number].unanswered[key]

    def finished(self, replica: int, number: int) -> Loss:
        """The replica is through with a unit; what it did not answer counts as lost."""
        return self._lost([self._held[replica].pop(number)])

    def lost(self, replica: int) -> Loss:
        """The replica is gone: what it held waits again, in smaller units.

        Only the unit that it worked on counts as a reason.
        """
        units = list(self._held.pop(replica, {}).values())
        untouched = [tuple(unit.unanswered.values()) for unit in units[1:]]
        loss = self._lost(units[:1])
        for requests in untouched:
            self._waiting.appendleft(WorkUnit(next(self._numbers), requests))
        return Loss((*loss.requeued, *(r for unit in untouched for r in unit)), loss.given_up)

    def _lost(self, units: Sequence[_Held]) -> Loss:
        requests = [request for unit in units for request in unit.unanswered.values()]
        for request in requests:
            self.deaths[request.key] = self.deaths.get(request.key, 0) + 1
        again = tuple(r for r in requests if self.deaths[r.key] < MOST_DEATHS)
        # Smaller each time, so that in the end a request that kills replicas stands alone.
        once = [r for r in again if self.deaths[r.key] == 1]
        size = ceil(len(once) / max(self.replicas, isqrt(len(once))))
        pieces = [tuple(once[i : i + size]) for i in range(0, len(once), size or 1)]
        pieces += [(r,) for r in again if self.deaths[r.key] > 1]
        self._waiting.extend(WorkUnit(next(self._numbers), piece) for piece in pieces)
        return Loss(again, tuple(r for r in requests if self.deaths[r.key] >= MOST_DEATHS))
