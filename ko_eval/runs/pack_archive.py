"""The pack as one tar file: the manifest, then its files sorted by name, and nothing else.

Written, it depends on its content alone: packing twice gives the same bytes. Read, it is hostile
input: headers are taken one by one as the manifest foretells them, so that no link, device, path or
size of the archive's own choice is ever acted on, and every hash is checked. The folder in the
cache, named after the manifest's hash, appears only when it is whole.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ko_eval.errors import DataError, RunError
from ko_eval.resources import cache_folder
from ko_eval.tasks.packs import (
    LARGEST_MANIFEST,
    MANIFEST,
    Manifest,
    PackedFile,
    parse_manifest,
)

_BLOCK = tarfile.BLOCKSIZE
_PIECE = 1 << 20  # bytes read at a time
# ENOSPC: no room; EDQUOT: the user's quota; EFBIG: the process's file size limit.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.DIRTYPE: "a folder",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}


@dataclass(frozen=True, slots=True)
class Content:
    """What becomes a file of the pack: bytes or a file, with size and hash."""

    source: bytes | Path
    described: PackedFile

    @classmethod
    def of_bytes(cls, content: bytes) -> Content:
        sha256 = hashlib.sha256(content).hexdigest()
        return cls(content, PackedFile(size=len(content), sha256=sha256))

    @classmethod
    def of_file(cls, path: Path) -> Content:
        """Reads the whole file for its hash.

        Raises:
            DataError: it cannot be read.
        """
        try:
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                return cls(path, PackedFile(size=file.tell(), sha256=sha256))
        except OSError as error:
            raise DataError(
                f"a file cannot be packed: {error.strerror or error}", where=str(path)
            ) from error


def write_archive(path: Path, manifest: bytes, contents: Mapping[str, Content]) -> int:
    """Writes a pack under a temporary name and renames it, so that it is never half there.

    Args:
        contents: files by their places.

    Returns:
        Its size in bytes.

    Raises:
        DataError: a file changed while it was packed.
        RunError: there is no room or no right to write.
    """
    parts = {MANIFEST: Content.of_bytes(manifest), **dict(sorted(contents.items()))}
    needed = sum(_BLOCK + _padded(part.described.size) for part in parts.values())
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with _disk_errors(path, "name a file on a disk with room, that you may write to, with -o"):
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_room(path.parent, needed)
        try:
            with temporary.open("wb") as file:
                _write(file, parts)
                file.flush()
                os.fsync(file.fileno())
                size = file.tell()
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return size


class _Hashing:
    """A file that must have at least as many bytes as are read from it; hashes them."""

    def __init__(self, file: BinaryIO, where: str) -> None:
        self._file = file
        self._where = where
        self._digest = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        read = self._file.read(size)
        if len(read) < size:
            raise self.changed()
        self._digest.update(read)
        return read

    def check(self, sha256: str) -> None:
        if self._digest.hexdigest() != sha256:
            raise self.changed()

    def changed(self) -> DataError:
        return DataError("a file changed while it was packed", where=self._where, hint="pack again")


def _write(file: BinaryIO, parts: Mapping[str, Content]) -> None:
    """Entries without owner or time, all of one mode."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in parts.items():
            entry = tarfile.TarInfo(name)
            entry.size = content.described.size
            source = content.source
            with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as opened:
                hashing = _Hashing(opened, name if isinstance(source, bytes) else str(source))
                tar.addfile(entry, hashing)
                hashing.check(content.described.sha256)


def unpacked(archive: Path, stage: Callable[[str], None] = lambda text: None) -> Path:
    """The folder in the cache that holds a pack's files; unpacks it at first use.

    Args:
        stage: is told when something is unpacked, which takes a while.

    Raises:
        DataError: there is no such pack, or it is damaged, cut off or not to be trusted.
        RunError: there is no room or no right to write in the cache folder.
    """
    with _opened(archive) as file:
        content = _manifest(file, archive)
        manifest = parse_manifest(content, str(archive))
        folder = cache_folder().absolute() / "packs" / hashlib.sha256(content).hexdigest()
        with _disk_errors(folder, "make room, or name another cache folder in KO_EVAL_CACHE"):
            if not _is_whole(folder, content, manifest):
                folder.parent.mkdir(parents=True, exist_ok=True)
                with _alone(folder):
                    if not _is_whole(folder, content, manifest):
                        stage(f"unpacking {archive} into {folder}")
                        _unpack(file, archive, content, manifest, folder)
    return folder


@contextmanager
def _opened(archive: Path) -> Iterator[BinaryIO]:
    if not archive.is_file():
        raise DataError(
            f"there is no pack at '{archive}'",
            hint="give the file that `ko-eval pack … -o FILE` wrote",
        )
    try:
        file = archive.open("rb")
    except OSError as error:
        raise DataError(
            f"the pack cannot be read: {error.strerror or error}", where=str(archive)
        ) from error
    with file:
        yield file


def _manifest(file: BinaryIO, archive: Path) -> bytes:
    """The first file's content."""
    entry = _header(file, archive)
    if entry.name != MANIFEST or entry.type != tarfile.REGTYPE:
        raise _no_pack(archive)
    if not 0 < entry.size <= LARGEST_MANIFEST:
        raise DataError(
            f"the pack's manifest has {entry.size} bytes; a sound one has at most "
            f"{LARGEST_MANIFEST}",
            where=str(archive),
            hint="pack again with `ko-eval pack`",
        )
    content = _read(file, entry.size, archive)
    _read(file, _padded(entry.size) - entry.size, archive)
    return content


def _is_whole(folder: Path, content: bytes, manifest: Manifest) -> bool:
    """Whether all files are there; a folder that was whole may have lost some to a clean-up."""
    try:
        return (folder / MANIFEST).read_bytes() == content and all(
            (folder / place).stat().st_size == file.size for place, file in manifest.files.items()
        )
    except OSError:
        return False


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits until no other process unpacks into this folder."""
    with folder.with_name(f"{folder.name}.lock").open("wb") as lock:
        fcntl.flock(lock.fileno(), fcntl.LOCK_EX)
        yield


def _unpack(
    file: BinaryIO, archive: Path, content: bytes, manifest: Manifest, folder: Path
) -> None:
    """Unpacks beside the folder and renames; what a killed process left is removed."""
    wanted = sum(_BLOCK + _padded(part.size) for part in manifest.files.values())
    here = os.fstat(file.fileno()).st_size - file.tell()
    if here < wanted:
        raise _cut_off(archive)
    _check_room(folder.parent, wanted)
    part = folder.with_name(f".{folder.name}.part")
    for old in (part, folder):
        if old.exists():
            shutil.rmtree(old)
    try:
        for place in ("rows", "fewshot", "model/additional_chat_templates"):
            (part / place).mkdir(parents=True)
        (part / MANIFEST).write_bytes(content)
        for place, described in sorted(manifest.files.items()):
            _unpack_one(file, archive, place, described, part / place)
        _check_end(file, archive)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _unpack_one(
    file: BinaryIO, archive: Path, place: str, described: PackedFile, target: Path
) -> None:
    entry = _header(file, archive)
    if entry.type != tarfile.REGTYPE:
        kind = _KINDS.get(entry.type, "an entry of an unusual kind")
        raise _not_ours(archive, f"holds {kind} where the file '{place}' should be")
    if (entry.name, entry.size) != (place, described.size):
        raise _not_ours(
            archive,
            f"holds {entry.name!r:.200} of {entry.size} bytes where its manifest names '{place}' "
            f"of {described.size}",
        )
    digest = hashlib.sha256()
    left = entry.size
    with target.open("xb") as out:
        while left:
            piece = _read(file, min(left, _PIECE), archive)
            digest.update(piece)
            out.write(piece)
            left -= len(piece)
        out.flush()
        os.fsync(out.fileno())
    if digest.hexdigest() != described.sha256:
        raise _not_ours(archive, f"holds '{place}' with another SHA-256 than its manifest names")
    _read(file, _padded(entry.size) - entry.size, archive)


def _header(file: BinaryIO, archive: Path) -> tarfile.TarInfo:
    """The next entry's header as it stands: extended headers are entries of an unusual kind."""
    try:
        return tarfile.TarInfo.frombuf(_read(file, _BLOCK, archive), "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise _no_pack(archive) from error


def _check_end(file: BinaryIO, archive: Path) -> None:
    """After the last file there is nothing but the zeros that fill a tar file's last record."""
    rest = file.read(2 * tarfile.RECORDSIZE + 1)
    if len(rest) < 2 * _BLOCK:
        raise _cut_off(archive)
    if len(rest) > 2 * tarfile.RECORDSIZE or any(rest):
        raise _not_ours(archive, "holds more than its manifest names")


def _read(file: BinaryIO, size: int, archive: Path) -> bytes:
    try:
        read = file.read(size)
    except OSError as error:
        raise DataError(
            f"the pack cannot be read: {error.strerror or error}", where=str(archive)
        ) from error
    if len(read) < size:
        raise _cut_off(archive)
    return read


def _padded(size: int) -> int:
    """Bytes that a content takes in a tar file."""
    return -(-size // _BLOCK) * _BLOCK


def _check_room(folder: Path, needed: int) -> None:
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def _disk_errors(path: Path, hint: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in _FULL
        what = "no room on the disk (or the quota is used up)" if full else error.strerror or error
        raise RunError(f"cannot write: {what}", where=str(path), hint=hint) from error


def _no_pack(archive: Path) -> DataError:
    return DataError(
        "the file is no pack, or it is damaged",
        where=str(archive),
        hint="give the file that `ko-eval pack … -o FILE` wrote",
    )


def _cut_off(archive: Path) -> DataError:
    return DataError(
        "the pack is cut off: it is shorter than its manifest says",
        where=str(archive),
        hint="copy it again, whole",
    )


def _not_ours(archive: Path, what: str) -> DataError:
    return DataError(
        f"the pack {what}",
        where=str(archive),
        hint="copy it again and compare checksums; otherwise do not trust it, and pack again",
    )
