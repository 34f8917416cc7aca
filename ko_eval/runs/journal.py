"""The journal: every response is on disk before it is scored, one checked line each.

A line is `{"crc32": "…", "entry": {…}}`, the checksum taken over the entry as written. Lines are
only ever appended. A torn last line is what a killed process leaves: it is dropped. A damaged line
in the middle is reported, and its request is asked again.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import TypeAdapter

from ko_eval.runs.files import disk_errors
from ko_eval.types import FailedResponse, GenerateResponse, LoglikelihoodResponse, Response

_SYNC_SECONDS = 5.0
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

    Attributes:
        entries: finished requests by key. Failed ones are not among them: they are asked again.
        damaged: numbers of lines that could not be read, the torn last one not counted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[str, Entry] = {}
        self.damaged: list[int] = []
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")
            whole = self._read()
            # Without its line end, a torn line would swallow the next one.
            self._file.truncate(whole)
        self._synced = time.monotonic()

    def append(self, entry: Entry) -> None:
        """Writes one entry and flushes it.

        Raises:
            RunError: there is no room; what was written before stays.
        """
        line = encode_entry(entry)
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
            self._file.close()
        except OSError:
            # A full disk was already reported when the line was written.
            if error is None:
                raise

    def _read(self) -> int:
        """Reads all whole lines; returns the length in bytes up to the last whole line."""
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            entry = decode_entry(line)
            if entry is None:
                self.damaged.append(number)
            elif not isinstance(entry.response, FailedResponse):
                self.entries[entry.key] = entry
        return whole


def encode_entry(entry: Entry) -> bytes:
    """An entry as a journal line, line end included."""
    kind = type(entry.response)
    content = {
        "key": entry.key,
        "kind": _NAMES[kind],
        # Not `dataclasses.asdict`, which copies every value and takes longer than all the rest.
        "response": {name: getattr(entry.response, name) for name in _FIELDS[kind]},
        "seconds": round(entry.seconds, 6),
    }
    text = json.dumps(content, ensure_ascii=False)
    raw = text.encode("utf-8", "backslashreplace")
    return b'{"crc32": "%08x", "entry": ' % zlib.crc32(raw) + raw + b"}\n"


def decode_entry(line: bytes) -> Entry | None:
    """The entry of a journal line, or None when the line is damaged."""
    head, mark, rest = line.partition(b', "entry": ')
    if not mark or not rest.endswith(b"}"):
        return None
    raw = rest[:-1]
    if head != b'{"crc32": "%08x"' % zlib.crc32(raw):
        return None
    try:
        content = json.loads(raw)
        response = _READERS[content["kind"]].validate_python(content["response"])
        return Entry(str(content["key"]), response, float(content["seconds"]))
    except (ValueError, KeyError, TypeError):
        # Whole, but written by another version.
        return None
