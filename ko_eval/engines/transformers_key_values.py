"""Keys and values of rows that come and go: rows × heads × slots × dimension, in place.

The token at position p of a row is in slot p, so a row of any length can be fed beside any other
and no padding moves. A mask hides the slots behind a row's end. Slots that no row has filled are
zero: hidden or not, one that held NaN would make the row NaN.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

Prefix = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of a run of first tokens, layer by layer: heads × slots × dimension."""


@dataclass(slots=True)
class _Feed:
    """Where the tokens of the next forward go.

    Attributes:
        rows: the rows that are fed.
        start: slots that are already filled, as the mask sees them.
        slots: of each row, its index and the slot of its one token; None when all tokens follow
            `start`.
    """

    rows: slice
    start: int
    slots: tuple[torch.Tensor, torch.Tensor] | None


class _Layer(CacheLayerMixin):  # type: ignore[misc]
    """One layer; all layers of a pool are fed alike."""

    is_sliding = False

    def __init__(self, pool: KeyValuePool) -> None:
        super().__init__()
        self.pool = pool

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.keys = self.pool.empty(key_states)
        self.values = self.pool.empty(value_states)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        return self._put(self.keys, key_states), self._put(self.values, value_states)

    def _put(self, held: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        feed = self.pool.feed
        end = feed.start + new.shape[2]
        if feed.slots is None:
            held[feed.rows, :, feed.start : end] = new
        else:
            rows, slots = (index.to(held.device) for index in feed.slots)
            held[rows, :, slots] = new[:, :, 0]
        return held[feed.rows, :, :end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.pool.feed.start + query_length, 0

    def get_seq_length(self) -> int:
        return self.pool.feed.start

    def get_max_length(self) -> int:
        return -1


class KeyValuePool:
    """The cache that a model is given, and what can be done with its rows between forwards.

    Args:
        layers: of the model's cache.
    """

    def __init__(self, layers: int) -> None:
        self.rows = 0
        self.slots = 0
        self.feed = _Feed(slice(0), 0, None)
        self.cache = Cache(layers=[_Layer(self) for _ in range(layers)])

    def empty(self, like: torch.Tensor) -> torch.Tensor:
        """Room for all rows."""
        return like.new_zeros((self.rows, like.shape[1], self.slots, like.shape[3]))

    def clear(self) -> None:
        """Gives the memory back."""
        self.rows = self.slots = 0
        for layer in self.cache.layers:
            layer.keys = layer.values = None
            layer.is_initialized = False

    def reserve(self, rows: int, slots: int, kept: int) -> None:
        """Makes room; the first `kept` rows stay. Afterwards there are exactly this many rows."""
        both = slice(min(kept, rows)), slice(None), slice(min(self.slots, slots))
        self.rows, self.slots = rows, slots
        for layer in self._filled():
            for name in ("keys", "values"):
                old = getattr(layer, name)
                new = self.empty(old)
                new[both] = old[both]
                setattr(layer, name, new)

    def drop(self, row: int, last: int, length: int) -> None:
        """Frees a row; the last one takes its place.

        Args:
            length: filled slots of the last row.
        """
        for held in self._tensors():
            if row != last:
                held[row, :, :length] = held[last, :, :length]
                held[row, :, length:] = 0
            held[last] = 0

    def prefix_of(self, row: int, length: int) -> Prefix:
        """A copy of the row's first slots, to be put before others."""
        return [
            (layer.keys[row, :, :length].clone(), layer.values[row, :, :length].clone())
            for layer in self._filled()
        ]

    def put_prefix(self, prefix: Prefix, rows: slice) -> None:
        """Fills the first slots of new rows."""
        for layer, (keys, values) in zip(self._filled(), prefix, strict=True):
            layer.keys[rows, :, : keys.shape[1]] = keys
            layer.values[rows, :, : values.shape[1]] = values

    def feed_behind(self, rows: slice, start: int) -> None:
        """The next forward feeds these rows, all from slot `start` on."""
        self.feed = _Feed(rows, start, None)

    def feed_one_each(self, slots: torch.Tensor, width: int) -> None:
        """The next forward feeds one token to each of the first rows, in these slots.

        Args:
            width: slots that are looked at, the fed ones included.
        """
        rows = torch.arange(len(slots), device=slots.device)
        self.feed = _Feed(slice(len(slots)), width - 1, (rows, slots))

    def _filled(self) -> list[_Layer]:
        return [layer for layer in self.cache.layers if layer.is_initialized]

    def _tensors(self) -> Iterator[torch.Tensor]:
        for layer in self._filled():
            yield layer.keys
            yield layer.values
