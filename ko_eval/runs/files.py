"""Files of a run directory: plain files in it, written whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
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
                where=f"{path}{_free(path)}",
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
            # What a killed process of the same number left; and nobody's link is followed.
            temporary.unlink(missing_ok=True)
            with temporary.open("x", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def open_plain_file(path: Path, *, append: bool) -> int:
    """A descriptor for reading and writing; makes the file and its folder where there is none.

    Raises:
        RunError: it or its folder is a symbolic link, which may lead out of the run directory; it
            is no plain file; or it cannot be written.
    """
    refuse_link(path.parent)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_APPEND * append
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        refuse_link(path)
        descriptor = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RunError(
            "this is no plain file", where=str(path), hint="remove it; the run makes its own"
        )
    return descriptor


def refuse_link(path: Path) -> None:
    """
    Raises:
        RunError: it is a symbolic link.
    """
    if path.is_symlink():
        raise RunError(
            "a symbolic link stands where the run writes",
            where=f"{path} -> {path.readlink()}",
            hint="remove it, or link the folder given with --out as a whole",
        )


def remove_leftovers(directory: Path) -> None:
    """Removes what killed processes left of files that were being written.

    The directory must be held.
    """
    for folder in (directory, directory / "samples", directory / "asked"):
        for pattern in (".*.json*.tmp", ".report.html.*.tmp"):
            for path in folder.glob(pattern):
                path.unlink(missing_ok=True)


def safe_name(name: str) -> str:
    """A name as one part of a path: `owner/model` becomes `owner--model`; no dots lead it."""
    flat = re.sub(r"[^\w.+-]+", "_", name.replace("/", "--"))
    return flat.lstrip(".") or "_"


def _free(path: Path) -> str:
    """What is free on the file system, in words."""
    try:
        facts = os.statvfs(path.parent)
    except OSError:
        return ""
    return f" ({facts.f_bavail * facts.f_frsize:,} bytes are free there)"
