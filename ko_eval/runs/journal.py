"""The journal: every response is on disk before it is scored, one checked line each.

A line is `{"crc32": "…", "entry": {"run": "…", …}}`, the checksum taken over the entry as written.
Lines are only ever appended. A torn last line is what a killed process leaves: it is dropped. A
damaged line and one that another run wrote are told apart; neither is used, and both stay.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import TypeAdapter

from ko_eval.errors import RunError
from ko_eval.runs.files import disk_errors, open_plain_file
from ko_eval.types import FailedResponse, GenerateResponse, LoglikelihoodResponse, Response

_SYNC_SECONDS = 5.0
_LINE_BEGINS = b'{"crc32": "'
# Lines of before they named their run. Their directory is named after it, and they are taken.
_UNNAMED = ""
_KINDS: Mapping[str, type[Response]] = {
    "loglikelihood": LoglikelihoodResponse,
    "generate": GenerateResponse,
    "failed": FailedResponse,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_FIELDS = {
    kind: tuple(field.name for field in dataclasses.fields(kind)) for kind in _KINDS.values()
}
_READERS = {name: TypeAdapter[Response](kind) for name, kind in _KINDS.items()}


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished request.

    Attributes:
        key: content key of the request.
        seconds: its share of the engine's time.
    """

    key: str
    response: Response
    seconds: float


class Journal:
    """The journal of one task; a context manager. Opening it reads what is there.

    Args:
        run: fingerprint of the run; what another run wrote down holds other responses.

    Attributes:
        entries: finished requests by key. Failed ones are not among them: they are asked again.
        damaged: numbers of lines that could not be read, a torn last one not counted.
        foreign: numbers of whole lines that another run wrote.
        torn: whether the last line was cut off, and dropped.
    """

    def __init__(self, path: Path, run: str = _UNNAMED) -> None:
        self.path = path
        self.run = run
        self.entries: dict[str, Entry] = {}
        self.damaged: list[int] = []
        self.foreign: list[int] = []
        self.torn = False
        self._file = os.fdopen(open_plain_file(path, append=True), "ab")
        try:
            with disk_errors(path):
                self._read()
        except BaseException:
            self._file.close()
            raise
        self._synced = time.monotonic()

    def append(self, entry: Entry) -> None:
        """Writes one entry and flushes it.

        Raises:
            RunError: there is no room; what was written before stays.
        """
        line = encode_entry(entry, self.run)
        with disk_errors(self.path):
            self._file.write(line)
            self._file.flush()
            if time.monotonic() - self._synced > _SYNC_SECONDS:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        if not isinstance(entry.response, FailedResponse):
            self.entries[entry.key] = entry

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            with disk_errors(self.path), self._file:
                # What the file system puts off (a quota, a server) it says here at the latest.
                os.fsync(self._file.fileno())
        except RunError:
            # A full disk was already reported when the line was written.
            if error is None:
                raise

    def _read(self) -> None:
        """Reads all whole lines, and has the next one begin on a line of its own."""
        *lines, last = self.path.read_bytes().split(b"\n")
        for number, line in enumerate(lines, start=1):
            found = decode_entry(line)
            if found is None:
                self.damaged.append(number)
            elif found[0] not in (self.run, _UNNAMED):
                self.foreign.append(number)
            elif not isinstance(found[1].response, FailedResponse):
                self.entries[found[1].key] = found[1]
        if last.startswith(_LINE_BEGINS) or _LINE_BEGINS.startswith(last):
            self.torn = bool(last)
            # Without its line end, a torn line would swallow the next one.
            self._file.truncate(sum(len(line) + 1 for line in lines))
        else:
            # Not a line of ours: nothing of it is destroyed.
            self.damaged.append(len(lines) + 1)
            self._file.write(b"\n")
            self._file.flush()


def encode_entry(entry: Entry, run: str = _UNNAMED) -> bytes:
    """An entry as a journal line, line end included."""
    kind = type(entry.response)
    content = {
        "run": run,
        "key": entry.key,
        "kind": _NAMES[kind],
        # Not `dataclasses.asdict`, which copies every value and takes longer than all the rest.
        "response": {name: getattr(entry.response, name) for name in _FIELDS[kind]},
        "seconds": round(entry.seconds, 6),
    }
    text = json.dumps(content, ensure_ascii=False)
    raw = text.encode("utf-8", "backslashreplace")
    return b'%b%08x", "entry": ' % (_LINE_BEGINS, zlib.crc32(raw)) + raw + b"}\n"


def decode_entry(line: bytes) -> tuple[str, Entry] | None:
    """The run that wrote a journal line, and its entry; None when the line is damaged."""
    head, mark, rest = line.partition(b', "entry": ')
    if not mark or not rest.endswith(b"}"):
        return None
    raw = rest[:-1]
    if head != b'%b%08x"' % (_LINE_BEGINS, zlib.crc32(raw)):
        return None
    try:
        content = json.loads(raw)
        response = _READERS[content["kind"]].validate_python(content["response"])
        seconds = float(content["seconds"])
        if not 0 <= seconds < math.inf:
            return None
        return str(content.get("run", _UNNAMED)), Entry(str(content["key"]), response, seconds)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        # Whole, but written by another version, or by somebody else.
        return None
