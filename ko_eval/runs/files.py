"""Files of a run directory: written whole or not at all, and held by one process at a time."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ko_eval.errors import RunError

# ENOSPC: no room; EDQUOT: the user's quota; EFBIG: the process's file size limit.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns a failed write into an error that says what is wrong and what is safe."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise RunError(
                "the disk is full (or the quota is used up)",
                where=str(path),
                hint="make room and run the same command again; finished responses are kept",
            ) from error
        raise RunError(
            f"cannot write: {error.strerror or error}",
            where=str(path),
            hint="give a folder that you may write to with --out",
        ) from error


def write_atomically(path: Path, text: str) -> None:
    """Writes a file under a temporary name and renames it, so that it is never half there.

    Raises:
        RunError: there is no room or no right to write.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def safe_name(name: str) -> str:
    """A name as one part of a path: `owner/model` becomes `owner--model`; no dots lead it."""
    flat = re.sub(r"[^\w.+-]+", "_", name.replace("/", "--"))
    return flat.lstrip(".") or "_"


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Holds a run directory for this process.

    Raises:
        RunError: another process holds it; it is named.
    """
    path = directory / "lock"
    with disk_errors(path):
        directory.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b", buffering=0)
    with file:
        _lock(file, path)
        holder = {
            "process": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with disk_errors(path):
            file.truncate(0)
            file.write(json.dumps(holder).encode())
        yield


def _lock(file: io.RawIOBase, path: Path) -> None:
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = (file.read() or b"").decode(errors="replace").strip() or "unknown"
        raise RunError(
            f"another process is writing this run: {holder}",
            where=str(path.parent),
            hint="wait for it or end it, then run the same command again",
        ) from error
    except OSError as error:
        raise RunError(
            f"cannot lock the run directory: {error.strerror or error}",
            where=str(path),
            hint="give a folder on a file system with locks with --out",
        ) from error
