"""Bounds on what hostile input may cost: how deep JSON is, how long and large work on it grows."""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from ko_eval.types import JsonValue

DEEPEST = 100
"""Levels of lists and objects in a JSON text; whoever walks the value may recurse."""

# How often the memory is granted anew: to ask how much there is takes longer than a short template.
_MEMORY_EVERY = 100


class TooMuch(Exception):
    """Work took more time or memory than it may."""


class _Expired(BaseException):
    """Raised by the timer; no handler of a library may take it for an error of its own."""


def parsed_json(text: str | bytes) -> JsonValue:
    """As `json.loads`, for text that may be hostile.

    Raises:
        ValueError: not valid JSON, not UTF-8, or nested deeper than 100 levels.
    """
    try:
        value: JsonValue = json.loads(text)
    except RecursionError:
        value = None
        deep = True
    else:
        opened = (b"[", b"{") if isinstance(text, bytes) else ("[", "{")
        deep = sum(map(text.count, opened)) > DEEPEST and _is_deep(value)  # type: ignore[arg-type]
    if deep:
        raise ValueError(f"nested deeper than {DEEPEST} levels")
    return value


def _is_deep(value: JsonValue) -> bool:
    level: list[object] = [value]
    for _ in range(DEEPEST + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


@contextmanager
def bounded(seconds: float, memory: int) -> Iterator[Callable[[], None]]:
    """Bounds the work of its body; gives a function that grants the seconds anew.

    For Python code only: a call into a library that computes without end is not interrupted, and
    one that cannot go on without memory may end the process.

    Args:
        seconds: of CPU; only the main thread can be bounded.
        memory: bytes that may be added, granted anew with every hundredth time that the seconds
            are; where the system can say so (Linux).

    Raises:
        TooMuch: a bound was reached.
    """
    limits = resource.getrlimit(resource.RLIMIT_AS)
    granted = 0

    def again() -> None:
        nonlocal granted
        if granted % _MEMORY_EVERY == 0:
            _limit(memory, limits)
        granted += 1
        if timed:
            signal.setitimer(signal.ITIMER_VIRTUAL, seconds)

    timed = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGVTALRM, _expire) if timed else None
    try:
        again()
        yield again
    except _Expired:
        raise TooMuch(f"it takes more than {seconds:g} seconds") from None
    except MemoryError:
        raise TooMuch(f"it takes more than {memory / 2**20:,.0f} MiB of memory") from None
    finally:
        if timed:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def _expire(signal_number: int, frame: FrameType | None) -> NoReturn:
    raise _Expired


def _limit(memory: int, limits: tuple[int, int]) -> None:
    """Lets the process have so many bytes more than it has now, but not more than it might."""
    soft, hard = limits
    room = _address_space() + memory
    if room > memory and (soft == resource.RLIM_INFINITY or room < soft):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_AS, (room, hard))


def _address_space() -> int:
    """Bytes of address space that the process has; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * resource.getpagesize()
