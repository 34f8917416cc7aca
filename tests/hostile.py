"""Runs commands on hostile input so that a failure harms nobody, and says what must hold of them.

A command is run in this process, which is quick, with an alarm and a bound on memory; or apart,
where what it reads could keep it waiting or computing where no alarm is heard.
"""

from __future__ import annotations

import json
import re
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple, NoReturn

SECONDS = 20
MEMORY = 3 * 2**30

# What no command may send to a terminal, whatever it read; written apart from ko_eval.safe_text.
ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Ended(NamedTuple):
    """How a command ended; negative codes are numbers of signals."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


class Hung(BaseException):
    """A command did not end."""


def _hung(signal_number: int, frame: FrameType | None) -> NoReturn:
    raise Hung


@contextmanager
def limits(seconds: int = SECONDS, memory: int = MEMORY) -> Iterator[None]:
    """Ends what takes too long with `Hung`, and what takes too much memory with `MemoryError`."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGALRM, _hung)
    signal.alarm(seconds)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)


def refused(ended: Ended, *parts: str) -> None:
    """A clear error: exit code 2, what and where and what to do, safe to show, every part in it."""
    safe(ended)
    assert ended.code == 2, ended
    assert ended.out == "", ended
    message = ended.err[ended.err.index("error: ") :]
    assert len(message.splitlines()) <= 4
    assert len(message) <= 7000
    for part in parts:
        assert part in message


def safe(ended: Ended) -> None:
    """Nothing of ours failed, and nothing that a terminal obeys was printed."""
    assert ended.code >= 0, ended
    assert "Traceback" not in ended.err, ended.err
    assert not ACTING.search(ended.out), ended.out
    assert not ACTING.search(ended.err), ended.err


def lines(path: Path, *rows: object) -> Path:
    """A JSON Lines file; texts and bytes are lines as they are."""
    written = [
        row if isinstance(row, bytes) else row.encode() if isinstance(row, str) else _json(row)
        for row in rows
    ]
    path.write_bytes(b"\n".join(written) + b"\n")
    return path


def _json(row: object) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass")
