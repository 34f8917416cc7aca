"""Shows of hostile text that it is read in bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable

SIZE = 100_000


def read_in_bounded_time(
    read: Callable[[str], object], written: Callable[[int], str], *, seconds: float
) -> bool:
    """Whether a text of size 100,000 is read within CPU seconds.

    A quarter of it is read first. Where that takes a sixteenth of the time, even a time that grows
    with the square stays within it, and the whole need not be read.

    Args:
        written: the text of about a given size, in whatever unit.
    """

    def spent(size: int) -> float:
        text = written(size)
        start = time.process_time()
        read(text)
        return time.process_time() - start

    return spent(SIZE // 4) < seconds / 16 or spent(SIZE) < seconds
