"""Packs as tar entries, to look at and to spoil."""

from __future__ import annotations

import io
import resource
import signal
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from ko_eval.errors import KoEvalError

TASKS = ("ko_gpqa", "ko_gsm8k")
Entries = list[tuple[tarfile.TarInfo, bytes]]


def entries_of(pack: bytes) -> Entries:
    with tarfile.open(fileobj=io.BytesIO(pack)) as tar:
        entries = []
        for entry in tar:
            content = tar.extractfile(entry)
            assert content is not None
            entries.append((entry, content.read()))
        return entries


def archive(entries: Entries, form: Literal[1, 2] = tarfile.GNU_FORMAT) -> bytes:
    """A tar file, whatever its headers claim about the contents."""
    file = io.BytesIO()
    for entry, content in entries:
        file.write(entry.tobuf(form))
        file.write(content.ljust(-(-len(content) // 512) * 512, b"\0"))
    file.write(bytes(-file.tell() % tarfile.RECORDSIZE or tarfile.RECORDSIZE))
    return file.getvalue()


def entry(name: str, content: bytes = b"") -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(name)
    made.size = len(content)
    return made, content


def model_folder(folder: Path, **files: str) -> Path:
    """What passes for a model as long as nobody loads it."""
    folder.mkdir()
    for name, text in {"config.json": "{}", "tokenizer.json": "{}", **files}.items():
        (folder / name).write_text(text)
    return folder


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def errors_lines(error: KoEvalError) -> list[str]:
    return str(error).splitlines()


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file of this process can grow beyond it: the error is that of a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
