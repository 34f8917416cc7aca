"""Generation in which finished rows leave and waiting ones take their place.

Longest first, so that no long answer is begun at the end; rows behind one prefix together, so that
few prefixes are held at a time. All but the last token of a new row is
fed at once, behind the prefix that it shares with others and that was computed once; the last one
is the row's first step. A step feeds one token to each row. Where the room ends, the rows that are
least far on go back to the queue and keep what they have written; where memory runs out, all do,
and there is half the room from then on.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from ko_eval.engines.base import EncodedGenerate
from ko_eval.engines.batching import batches, is_out_of_memory, model_failed
from ko_eval.engines.grouped_attention import GROUPED_ATTENTION
from ko_eval.engines.growing_rows import EndTest, GrowingRow, most_tokens
from ko_eval.engines.sdpa_replaced import SdpaReplaced
from ko_eval.engines.shared_prefixes import SharedPrefix, shared_prefixes
from ko_eval.engines.transformers_generation_check import UnsuitableModel, check_logits
from ko_eval.engines.transformers_key_values import KeyValuePool, Prefix
from ko_eval.engines.transformers_likelihood import keeps_logits
from ko_eval.engines.transformers_sampling import (
    drawn_again_after_failure,
    generator_of,
    with_noise,
)
from ko_eval.errors import first_line

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Slots are reserved in steps of this size, since growing copies all rows.
_SLOT_STEP = 128
# Tokens fed at once to new rows, padding included.
_PREFILL_TOKENS = {"cpu": 2048, "cuda": 32768}
# New rows are let in when this share of the places is free: one at a time would be slow to feed.
_FREE_SHARE = 16

_Kind = tuple[bool, bool]
"""Of a row, for the check: whether it has written a token, whether it has borrowed its prefix."""


class ContinuousBatch:
    """Answers requests with one model; checks itself on the way, see the module of `check_logits`.

    Args:
        layers: of the model's key-value cache.
        rows: most rows at once.
        room: tokens whose keys and values fit into memory.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        ends: EndTest,
        pad_id: int,
        *,
        layers: int,
        rows: int,
        room: int,
    ) -> None:
        self.model = model
        self.ends = ends
        self.pad_id = pad_id
        self.rows = rows
        self.room = room
        self.prefill_tokens = _PREFILL_TOKENS.get(model.device.type, _PREFILL_TOKENS["cpu"])
        self.keep = {"logits_to_keep": 1} if keeps_logits(model) else {}
        self.attention = SdpaReplaced(model, GROUPED_ATTENTION)
        self.pool = KeyValuePool(layers)
        self.active: list[GrowingRow] = []
        # Of each active row, how many of its tokens are in the pool.
        self.cached: list[int] = []
        self.queue: deque[GrowingRow] = deque()
        self.generators: dict[GrowingRow, torch.Generator] = {}
        self.prefix_of: dict[GrowingRow, SharedPrefix] = {}
        self.members: Counter[SharedPrefix] = Counter()
        self.prefixes: dict[SharedPrefix, Prefix] = {}
        # Rows whose first tokens were computed for another.
        self.borrowing: set[GrowingRow] = set()
        self.checked: set[_Kind] = set()

    def run(self, requests: Sequence[EncodedGenerate]) -> Iterator[tuple[GrowingRow, bool]]:
        """Rows as they finish, and whether each was answered; False when it found no memory.

        Raises:
            UnsuitableModel: the rows that did not come yet must be answered in another way.
        """
        rows = [GrowingRow(request) for request in requests]
        for row in rows:
            generator = generator_of(row.request, self.model.device)
            if generator is not None:
                self.generators[row] = generator
        for prefix in shared_prefixes([request.prompt for request in requests]):
            self.members[prefix] = len(prefix.members)
            self.prefix_of.update((rows[index], prefix) for index in prefix.members)
        self.queue.extend(self._longest_first(rows))
        try:
            while self.queue or self.active:
                for row, answered in self._turn():
                    self._forget(row)
                    yield row, answered
        finally:
            self.pool.clear()

    def _longest_first(self, rows: Sequence[GrowingRow]) -> list[GrowingRow]:
        """Rows behind one prefix stand together, at the place of the longest of them."""
        longest: dict[SharedPrefix, int] = {}
        for row in rows:
            prefix = self.prefix_of.get(row)
            if prefix is not None:
                longest[prefix] = max(longest.get(prefix, 0), most_tokens(row.request))

        def order(row: GrowingRow) -> tuple[int, int, int]:
            prefix, most = self.prefix_of.get(row), most_tokens(row.request)
            if prefix is None:
                return most, -1, most
            return longest[prefix], prefix.members[0], most

        return sorted(rows, key=order, reverse=True)

    def _turn(self) -> list[tuple[GrowingRow, bool]]:
        """Lets rows in, does a step, and takes out what is finished."""
        started = time.perf_counter()
        try:
            with torch.inference_mode(), self.attention.used():
                self._let_in()
                self._make_slots()
                working = list(self.active)
                finished = self._step()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise (model_failed if self._proven() else _unfit)(error) from error
        except (TypeError, ValueError, AttributeError, LookupError) as error:
            if self._proven():
                raise
            raise _unfit(error) from error
        else:
            share = (time.perf_counter() - started) / len(working)
            for row in working:
                row.seconds += share
            return [(row, True) for row in finished]
        # Outside the handler, so that the failed forward's tensors are free again.
        return [(row, False) for row in self._start_over()]

    def _let_in(self) -> None:
        places = self.rows - len(self.active)
        if self.active and places * _FREE_SHARE < self.rows:
            return
        joining: list[GrowingRow] = []
        longest = max(map(_length, self.active), default=0)
        while self.queue and len(joining) < places:
            longest = max(longest, _length(self.queue[0]))
            count = len(self.active) + len(joining) + 1
            if count > 1 and not self._fit(count, longest):
                break
            joining.append(self.queue.popleft())
        if not joining:
            return
        batches_to_feed = list(self._batches_to_feed(joining))
        first = len(self.active)
        self.active += [row for _, rows in batches_to_feed for row in rows]
        self.cached += [0] * len(joining)
        self._reserve(first)
        for prefix, rows in batches_to_feed:
            self._feed(rows, first, prefix)
            first += len(rows)

    def _fit(self, rows: int, length: int) -> bool:
        return rows <= self._room_beside_prefixes() // _slots(length)

    def _room_beside_prefixes(self) -> int:
        return self.room - sum(prefix.length for prefix in self.prefixes)

    def _reserve(self, kept: int) -> None:
        """Room for all active rows and, if it can be had, for those to come."""
        slots = _slots(max(map(_length, self.active)))
        count = len(self.active)
        if count > self.pool.rows or slots > self.pool.slots:
            fitting = self._room_beside_prefixes() // slots
            wanted = min(self.rows, count + len(self.queue), fitting)
            self.pool.reserve(max(count, wanted), slots, kept)

    def _batches_to_feed(
        self, joining: Sequence[GrowingRow]
    ) -> Iterator[tuple[SharedPrefix | None, list[GrowingRow]]]:
        """Batches of rows that stand behind the same prefix, which is at hand by their turn."""
        groups: dict[SharedPrefix | None, list[GrowingRow]] = {}
        for row in joining:
            groups.setdefault(self.prefix_of.get(row), []).append(row)
        for prefix, rows in groups.items():
            start = 0
            if prefix is not None:
                start = prefix.length
                if prefix not in self.prefixes:
                    # This row brings the prefix along.
                    yield None, [rows.pop(0)]

            def fits(part: Sequence[GrowingRow], start: int = start) -> bool:
                width = max(map(_length, part)) - start
                return len(part) * width <= self.prefill_tokens

            for batch in batches(rows, fits):
                yield prefix, batch

    def _feed(self, rows: Sequence[GrowingRow], first: int, prefix: SharedPrefix | None) -> None:
        """Brings new rows up to their last token, and keeps the prefix if one brings it."""
        where, start = slice(first, first + len(rows)), 0
        if prefix is not None:
            start = prefix.length
            self.pool.put_prefix(self.prefixes[prefix], where)
            self.borrowing.update(rows)
        parts = [_tokens(row)[start:-1] for row in rows]
        width = max(map(len, parts))
        if width:
            # Padded on the right: no token looks there.
            ids = torch.tensor([[*part, *[self.pad_id] * (width - len(part))] for part in parts])
            self.pool.feed_behind(where, start)
            self._forward(ids, torch.arange(start, start + width).expand_as(ids), None)
        for index, part in enumerate(parts, first):
            self.cached[index] = start + len(part)
        own = self.prefix_of.get(rows[0])
        if own is not None and own not in self.prefixes:
            self.prefixes[own] = self.pool.prefix_of(first, own.length)

    def _make_slots(self) -> None:
        """Makes room for each row's next token; where there is none, rows go back."""
        if max(map(_length, self.active)) <= self.pool.slots:
            return
        while len(self.active) > 1:
            if self._fit(len(self.active), max(map(_length, self.active))):
                break
            written = [len(row.new_ids) for row in self.active]
            self.queue.appendleft(self._take_out(written.index(min(written))))
        self._reserve(len(self.active))

    def _step(self) -> list[GrowingRow]:
        """One more token for each row; takes out and returns those that are finished."""
        lengths = torch.tensor(self.cached)
        width = max(self.cached) + 1
        last = torch.tensor([[(row.new_ids or row.request.prompt)[-1]] for row in self.active])
        seen = torch.arange(width) <= lengths.unsqueeze(1)
        self.pool.feed_one_each(lengths.to(self.model.device), width)
        logits = self._forward(last, lengths.unsqueeze(1), seen)[:, -1]
        self._check(logits)
        tokens = self._picked(logits)
        for index, (row, token) in enumerate(zip(self.active, tokens, strict=True)):
            row.new_ids.append(token)
            self.cached[index] += 1
        done = [index for index, row in enumerate(self.active) if self.ends.finished(row)]
        # From the end, so that no finished row is moved into the place of another.
        return [self._take_out(index) for index in reversed(done)]

    def _forward(
        self, ids: torch.Tensor, positions: torch.Tensor, seen: torch.Tensor | None
    ) -> torch.Tensor:
        device = self.model.device
        output = self.model(
            input_ids=ids.to(device),
            position_ids=positions.to(device),
            attention_mask=None if seen is None else seen.to(device),
            past_key_values=self.pool.cache,
            use_cache=True,
            **self.keep,
        )
        logits: torch.Tensor = output.logits
        return logits

    def _check(self, logits: torch.Tensor) -> None:
        """Holds the shortest row of each kind that was not yet checked against the plain way."""
        kinds: list[_Kind] = [(bool(row.new_ids), row in self.borrowing) for row in self.active]
        for new in set(kinds) - self.checked:
            alike = [index for index, kind in enumerate(kinds) if kind == new]
            index = min(alike, key=lambda index: self.cached[index])
            check_logits(self.model, _tokens(self.active[index]), logits[index], self.keep)
            self.checked.add(new)

    def _proven(self) -> bool:
        """Whether a row with tokens of its own was right; later errors are not for want of fit."""
        return any(begun for begun, _ in self.checked)

    def _picked(self, logits: torch.Tensor) -> list[int]:
        tokens = logits.argmax(dim=-1)
        sampled = [index for index, row in enumerate(self.active) if row in self.generators]
        with drawn_again_after_failure([self.generators[self.active[i]] for i in sampled]):
            for index in sampled:
                row = self.active[index]
                noisy = with_noise(logits[index], row.request, self.generators[row])
                tokens[index] = noisy.argmax()
            picked: list[int] = tokens.tolist()
        return picked

    def _take_out(self, index: int) -> GrowingRow:
        """Removes a row; the last one takes its place."""
        row = self.active[index]
        last, cached = self.active.pop(), self.cached.pop()
        self.pool.drop(index, len(self.active), cached)
        if row is not last:
            self.active[index], self.cached[index] = last, cached
        return row

    def _start_over(self) -> list[GrowingRow]:
        """After memory ran out: all rows go back to the queue, but for one that was alone.

        From then on each row feeds its whole prompt: prefixes may be what took the memory.
        """
        asked = len(self.active) * _slots(max(map(_length, self.active)))
        asked += sum(prefix.length for prefix in self.prefixes)
        self.room = max(1, asked // 2)
        alone = len(self.active) == 1 and not self.prefix_of
        failed = [self.active.pop()] if alone else []
        self.prefill_tokens = max(1, self.prefill_tokens // 2)
        self.queue.extendleft(reversed(self.active))
        self.active, self.cached = [], []
        self.prefixes.clear()
        self.prefix_of.clear()
        self.borrowing.clear()
        self.pool.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return failed

    def _forget(self, row: GrowingRow) -> None:
        self.generators.pop(row, None)
        self.borrowing.discard(row)
        prefix = self.prefix_of.pop(row, None)
        if prefix is not None:
            self.members[prefix] -= 1
            if not self.members[prefix]:
                self.prefixes.pop(prefix, None)


def _unfit(error: Exception) -> UnsuitableModel:
    return UnsuitableModel(f"it takes no rows of different lengths: {first_line(error)}")


def _tokens(row: GrowingRow) -> list[int]:
    return [*row.request.prompt, *row.new_ids]


def _length(row: GrowingRow) -> int:
    return len(row.request.prompt) + len(row.new_ids)


def _slots(length: int) -> int:
    return math.ceil(length / _SLOT_STEP) * _SLOT_STEP
