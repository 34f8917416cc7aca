"""One process at a time writes a run directory, on one host or on many.

Two signs say that a directory is held. The kernel's lock (flock) on the file `lock` ends with its
process and decides between processes of one host. A shared file system may not have it (Lustre
mounted without `flock`), or have it within one host only (NFS mounted with `nolock` or
`local_lock`; see flock(2) and nfs(5)). There the file's content decides: who holds the directory,
and a beat that the holder changes every few seconds. A holder elsewhere whose beat stands still for
half a minute is dead. Beats are compared with one another and never with a clock, which two hosts
do not share.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from ko_eval.errors import RunError
from ko_eval.runs.files import disk_errors, open_plain_file

BEAT_SECONDS = 5.0
"""Between two beats of a holder."""

WATCH_SECONDS = 30.0
"""How long a beat must stand still before its holder counts as dead."""

# Time in which a process that took over at the same moment shows itself.
_SETTLE_SECONDS = 1.0
_LOOK_SECONDS = 0.5
_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
# As long in every beat, so that writing it anew needs no room and leaves nothing of the last one.
_RECORD_BYTES = 512


@dataclass(frozen=True, slots=True)
class Holder:
    """The content of `lock`.

    Attributes:
        host: its name.
        place: boot and process namespace; numbers of processes mean something only within one.
        began: when the process began, in ticks since the boot: its number may be used again.
        token: of this one time that the directory is held.
    """

    process: int
    host: str
    place: str
    began: int
    since: str
    token: str

    def __str__(self) -> str:
        text = f"process {self.process} on host {self.host[:64]}, since {self.since[:25]}"
        # Whoever may write the directory may write this.
        return "".join(c if c.isprintable() else "?" for c in text)

    @property
    def is_alive_here(self) -> bool:
        """Whether the process runs; only to be asked of a holder in this place."""
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return False
        except OSError:
            pass
        return _began(self.process) == self.began


class Hold:
    """A directory that this process holds, until it is released."""

    def __init__(self, path: Path, descriptor: int, beat_seconds: float) -> None:
        self._path = path
        self._descriptor = descriptor
        self._holder = _this_process()
        self._lost: str | None = None
        self._ended = threading.Event()
        os.ftruncate(descriptor, _RECORD_BYTES)
        self._write()
        self._thread = threading.Thread(
            target=self._beat, args=(beat_seconds,), name="holds the run directory", daemon=True
        )

    def check(self) -> None:
        """
        Raises:
            RunError: the directory is no longer held: another process took it, or it was removed.
        """
        if self._lost is not None:
            raise RunError(
                self._lost,
                where=str(self._path.parent),
                hint="what was answered before is kept; end the other process or run again",
            )

    def start(self) -> None:
        """Begins to beat."""
        self._thread.start()

    def release(self) -> None:
        """Lets others have the directory."""
        if os.getpid() != self._holder.process:
            return  # a forked process that came this far holds nothing
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._is_ours():
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)

    def settle(self) -> None:
        """
        Raises:
            RunError: another process took over at the same moment, and goes on.
        """
        time.sleep(_SETTLE_SECONDS)
        if not self._is_ours():
            raise _is_held(self._path, read_holder(self._path))

    def _beat(self, seconds: float) -> None:
        while not self._ended.wait(seconds):
            if not self._is_ours():
                other = read_holder(self._path)
                self._lost = (
                    f"another process has taken this run over: {other}"
                    if other
                    else "the run directory was removed or replaced"
                )
                return
            # A file system that is away for a while is no reason to end.
            with suppress(OSError):
                self._write()

    def _is_ours(self) -> bool:
        """Whether the file still names us; where it cannot be read, it is taken to."""
        try:
            holder = _parsed(_content(self._path))
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return holder is not None and holder.token == self._holder.token

    def _write(self) -> None:
        beaten = asdict(self._holder) | {"beat": time.monotonic_ns()}
        record = json.dumps(beaten).encode().ljust(_RECORD_BYTES - 1) + b"\n"
        os.pwrite(self._descriptor, record, 0)
        # To the server, where others look at it.
        os.fsync(self._descriptor)


@contextmanager
def held(
    directory: Path,
    say: Callable[[str], object] = lambda text: None,
    *,
    beat_seconds: float = BEAT_SECONDS,
    watch_seconds: float = WATCH_SECONDS,
) -> Iterator[Hold]:
    """Holds a run directory for this process.

    Args:
        say: is told when a holder elsewhere is watched, which takes time.

    Raises:
        RunError: another process holds it, which is named; or it cannot be written.
    """
    path = directory / "lock"
    descriptor = open_plain_file(path, append=False)
    _descriptors.add(descriptor)
    try:
        has_locks = _locked(descriptor, path)
        took_over = _wait_for_holder(path, has_locks, say, watch_seconds)
        with disk_errors(path):
            hold = Hold(path, descriptor, beat_seconds)
        try:
            if took_over or not has_locks:
                hold.settle()
            hold.start()
            yield hold
        finally:
            hold.release()
    finally:
        if descriptor in _descriptors:
            _descriptors.discard(descriptor)
            os.close(descriptor)


def read_holder(path: Path) -> Holder | None:
    """Who holds a directory, by its file `lock`; None where it says nothing of the kind."""
    try:
        return _parsed(_content(path))
    except OSError:
        return None


# --- taking ----------------------------------------------------------------------------------


def _locked(descriptor: int, path: Path) -> bool:
    """Whether the kernel gave its lock; False where the file system has none.

    Raises:
        RunError: another process has it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            raise _is_held(path, read_holder(path)) from error
        if error.errno in _NO_LOCKS:
            return False
        raise RunError(
            f"cannot lock the run directory: {error.strerror or error}",
            where=str(path),
            hint="give a folder on another file system with --out",
        ) from error
    return True


def _wait_for_holder(
    path: Path, has_locks: bool, say: Callable[[str], object], watch_seconds: float
) -> bool:
    """Whether a holder elsewhere was found dead.

    Raises:
        RunError: the holder is alive.
    """
    with disk_errors(path):
        content = _content(path)
    if not content.strip():
        return False
    holder = _parsed(content)
    if holder is not None and holder.place == _place():
        # Here the kernel's lock, or the process itself, tells.
        if not has_locks and holder.is_alive_here:
            raise _is_held(path, holder)
        return False
    say(f"watching for {watch_seconds:.0f} s whether the run's last holder is alive: {holder}")
    until = time.monotonic() + watch_seconds
    while time.monotonic() < until:
        time.sleep(min(_LOOK_SECONDS, watch_seconds))
        with disk_errors(path):
            found = _content(path)
        if not found.strip():
            return True
        if found != content:
            raise _is_held(path, _parsed(found))
    return True


def _is_held(path: Path, holder: Holder | None) -> RunError:
    who = str(holder) if holder else "unknown"
    if holder and holder.place == _place() and not holder.is_alive_here:
        # It has the kernel's lock, and writes its name when it is done watching.
        who = f"one that took over from {holder}, which ended"
    return RunError(
        f"another process is writing this run: {who}",
        where=str(path.parent),
        hint="wait for it or end it, then run the same command again",
    )


# --- the record ------------------------------------------------------------------------------


def _content(path: Path) -> bytes:
    # Opened anew each time: that is when NFS asks the server for what others have written.
    with path.open("rb") as file:
        return file.read(2 * _RECORD_BYTES)


def _parsed(content: bytes) -> Holder | None:
    try:
        found = json.loads(content)
        process = int(found["process"])
        if not 0 < process < 1 << 31:
            return None
        return Holder(
            process=process,
            host=str(found["host"]),
            place=str(found["place"]),
            began=int(found["began"]),
            since=str(found["since"]),
            token=str(found["token"]),
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def _this_process() -> Holder:
    return Holder(
        process=os.getpid(),
        host=socket.gethostname()[:64],
        place=_place(),
        began=_began(os.getpid()),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        token=secrets.token_hex(8),
    )


def _place() -> str:
    """Where a process's number means that process: a boot of a host, and a namespace in it."""
    parts = [socket.gethostname()[:64]]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _began(process: int) -> int:
    """Ticks between the boot and the begin of a process; 0 where nobody tells, -1 if it ended."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return -1 if Path("/proc/self/stat").exists() else 0
    except OSError:
        return 0
    # After the name, which may hold anything in its brackets: proc(5).
    fields = text.rpartition(")")[2].split()
    return -1 if fields[0] in "ZX" else int(fields[19])


# --- children --------------------------------------------------------------------------------

_descriptors: set[int] = set()


def _close_all() -> None:
    """A forked process that outlives this one would keep the kernel's lock."""
    for descriptor in _descriptors:
        with suppress(OSError):
            os.close(descriptor)
    _descriptors.clear()


os.register_at_fork(after_in_child=_close_all)
