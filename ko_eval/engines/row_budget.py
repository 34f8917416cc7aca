"""How many tokens a packed row should hold: settled by measuring the first rows.

Small rows leave a device idle; large ones cost memory and, on a CPU, leave the caches. Where the
best size lies depends on model and machine. Sizes are tried in rising order on real rows, so that
nothing is computed twice, until one is not faster than the one before it.

With `tree_attention` a token on the CPU attends to as many keys in a long row as in a short one, so
that rows of 128 to 512 tokens were slower than rows of 1,024 for every model that was measured: by
5 to 50 % in float32, more in bfloat16. Under a dense mask short rows are better there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Kind = Literal["cpu", "cpu_dense", "cuda"]
"""The device, and on the CPU whether every token attends to all keys of its row."""

_CANDIDATES = {
    "cpu": (1024, 2048),
    "cpu_dense": (256, 512, 1024),
    "cuda": (2048, 4096, 8192, 16384),
}
# Rows that are measured for each size. The first one of a size also pays for new buffers.
_ROWS = {"cpu": 2, "cpu_dense": 3, "cuda": 3}
# A row that is less full than this says nothing about its size.
_FULL = 0.75
# How much faster a larger size must be. On a GPU it takes memory that is dear.
_GAIN = {"cpu": 1.0, "cpu_dense": 1.03, "cuda": 1.03}


class RowBudget:
    """The size of the next row, in tokens.

    Args:
        kind: of device and attention.
        candidates: sizes to try, rising; None for what suits the kind.
    """

    def __init__(self, kind: Kind, candidates: Sequence[int] | None = None) -> None:
        self._candidates = list(candidates or _CANDIDATES[kind])
        self._rows, self._gain = _ROWS[kind], _GAIN[kind]
        # One size needs no measuring.
        self._tried = [0.0] if len(self._candidates) == 1 else []
        self._rates: list[float] = []
        self.tokens = self._candidates[0]

    @property
    def largest(self) -> int:
        """The most tokens that a row may come to have."""
        return max(self._candidates)

    @property
    def settled(self) -> bool:
        """Whether the size is final, unless memory runs out."""
        return len(self._tried) >= len(self._candidates)

    def measured(self, tokens: int, seconds: float) -> None:
        """Is told how long a row took, and may settle or go on to the next size."""
        if self.settled or tokens < _FULL * self.tokens:
            return
        self._rates.append(tokens / max(seconds, 1e-9))
        if len(self._rates) < self._rows:
            return
        rate = max(self._rates)
        self._rates = []
        self._tried.append(rate)
        if len(self._tried) > 1 and rate < self._tried[-2] * self._gain:
            self._candidates = self._candidates[: len(self._tried) - 1]
            self._tried.pop()
            self.tokens = self._candidates[-1]
        elif not self.settled:
            self.tokens = self._candidates[len(self._tried)]

    def limit(self, tokens: int) -> None:
        """Never more than so many again: memory ran out above."""
        self._candidates = [tokens]
        self._tried = [0.0]
        self._rates = []
        self.tokens = tokens
