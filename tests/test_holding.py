"""One process writes a run directory: on one host, on two, and where no lock works.

The other host is real as far as a kernel can make one: a process with another host name and
another namespace of process numbers, on the same file system. A file system without locks is this
one with `flock` answering what Lustre answers.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ko_eval.errors import RunError, Stopped
from ko_eval.runs import holding
from ko_eval.runs.holding import BEAT_SECONDS, WATCH_SECONDS, Holder, held, read_holder

BEAT, WATCH = 0.1, 0.6
HOLDER = """
import errno, fcntl, os, sys, time
from pathlib import Path
from ko_eval.runs import holding
from ko_eval.runs.holding import held
holding._SETTLE_SECONDS = 0.1
directory, locks, forks = sys.argv[1:]
if locks == "without":
    def flock(descriptor, operation):
        raise OSError(errno.ENOSYS, "Function not implemented")
    fcntl.flock = flock
with held(Path(directory), beat_seconds=0.1, watch_seconds=0.6):
    if forks == "forks" and os.fork() > 0:
        sys.stdin.read()
    print("held", flush=True)
    if forks == "forks":
        os.close(1)
        time.sleep(20)
        os._exit(0)
    sys.stdin.read()
"""
OTHER_HOST = ("unshare", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c")


@pytest.fixture(autouse=True)
def settled_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "_SETTLE_SECONDS", 0.1)
    monkeypatch.setattr(holding, "_LOOK_SECONDS", 0.05)


def can_unshare() -> bool:
    try:
        done = subprocess.run([*OTHER_HOST, "hostname elsewhere"], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


@contextmanager
def holder(
    directory: Path, *, locks: str = "with", forks: str = "no", elsewhere: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the directory; it is killed at the end."""
    command = [sys.executable, "-c", HOLDER, str(directory), locks, forks]
    if elsewhere:
        command = [*OTHER_HOST, 'hostname elsewhere; exec "$@"', "sh", *command]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)


def test_the_second_process_hears_who_holds_the_directory_and_since_when(tmp_path: Path) -> None:
    with holder(tmp_path) as other:
        found = read_holder(tmp_path / "lock")
        assert found is not None
        said = f"process {other.pid} on host {os.uname().nodename}, since {found.since}"
        with pytest.raises(RunError, match="another process is writing this run") as caught:
            held(tmp_path).__enter__()
        assert said in str(caught.value)
        assert caught.value.where == str(tmp_path)


@pytest.mark.parametrize("forks", ["no", "forks"])
def test_the_lock_of_a_dead_process_holds_nobody_up_nor_do_its_children(
    tmp_path: Path, forks: str
) -> None:
    with holder(tmp_path, forks=forks) as other:
        other.kill()
        other.wait()
        started = time.monotonic()
        with held(tmp_path):
            pass
        assert time.monotonic() - started < WATCH


def test_a_directory_that_was_released_can_be_held_at_once(tmp_path: Path) -> None:
    with held(tmp_path):
        pass
    assert (tmp_path / "lock").read_bytes() == b""
    with held(tmp_path, beat_seconds=BEAT):
        pass


def test_without_locks_a_living_process_of_this_host_is_recognised_and_a_dead_one_is(
    tmp_path: Path, without_locks: None
) -> None:
    with holder(tmp_path, locks="without") as other:
        with pytest.raises(RunError, match=f"process {other.pid} on host"):
            held(tmp_path).__enter__()
        other.kill()
        other.wait()
        with held(tmp_path):
            pass


@pytest.mark.skipif(not can_unshare(), reason="needs the right to make another host (unshare)")
def test_a_living_process_of_another_host_is_recognised_without_any_lock(
    tmp_path: Path, without_locks: None
) -> None:
    with holder(tmp_path, locks="without", elsewhere=True):
        said: list[str] = []
        with pytest.raises(RunError, match="on host elsewhere"):
            held(tmp_path, said.append, beat_seconds=BEAT, watch_seconds=WATCH).__enter__()
        assert "watching" in said[0]


@pytest.mark.skipif(not can_unshare(), reason="needs the right to make another host (unshare)")
def test_a_dead_process_of_another_host_holds_the_directory_until_its_beat_stood_still(
    tmp_path: Path, without_locks: None
) -> None:
    with holder(tmp_path, locks="without", elsewhere=True) as other:
        other.kill()
        other.wait()
    time.sleep(2 * BEAT)
    started = time.monotonic()
    with held(tmp_path, beat_seconds=BEAT, watch_seconds=WATCH):
        assert time.monotonic() - started >= WATCH


def test_who_loses_the_directory_to_another_host_hears_of_it(tmp_path: Path) -> None:
    """A computer that slept: another one saw no beat for long, and took over."""
    with held(tmp_path, beat_seconds=BEAT) as hold:
        hold.check()
        names = {"host": "elsewhere", "place": "elsewhere", "since": "2026", "token": "t"}
        other = {"process": 7, "began": 7, **names}
        (tmp_path / "lock").write_text(json.dumps(other))
        time.sleep(4 * BEAT)
        with pytest.raises(RunError, match="taken this run over: process 7 on host elsewhere"):
            hold.check()
    assert json.loads((tmp_path / "lock").read_text()) == other


def test_a_directory_that_is_removed_is_no_longer_held(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    with held(directory, beat_seconds=BEAT) as hold:
        directory.rename(tmp_path / "elsewhere")
        time.sleep(4 * BEAT)
        with pytest.raises(RunError, match="removed or replaced"):
            hold.check()


def test_of_two_that_take_over_at_once_one_gives_way(tmp_path: Path, without_locks: None) -> None:
    """What the slower of them finds when it looks again: the other's record over its own."""
    with holder(tmp_path, locks="without") as other:
        other.kill()
    with (
        pytest.raises(RunError, match="another process is writing this run"),
        held(tmp_path, beat_seconds=60) as hold,
    ):
        record = json.loads((tmp_path / "lock").read_text()) | {"token": "another"}
        (tmp_path / "lock").write_text(json.dumps(record))
        hold.settle()


@pytest.mark.parametrize(
    "content",
    [
        b"garbage",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"process": 1e999}',
        b'{"process": -1, "host": "", "place": "", "began": 0, "since": "", "token": ""}',
        b'{"process": 1, "host": "h", "place": "p", "began": 0, "since": "s", "token": "t"}',
    ],
)
def test_whatever_stands_in_the_lock_of_nobody_is_waited_for_and_no_longer(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "lock").write_bytes(content)
    with held(tmp_path, watch_seconds=0.1):
        pass
    assert len((tmp_path / "lock").read_bytes()) == 0


def test_what_a_holder_calls_itself_cannot_move_the_cursor() -> None:
    hostile = Holder(1, "\x1b[2J\u202ehost", "", 0, "\nsince", "")
    assert str(hostile) == "process 1 on host ?[2J?host, since ?since"


def test_who_is_stopped_while_it_settles_holds_nobody_up(
    tmp_path: Path, without_locks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(seconds: float) -> None:
        raise Stopped(15)

    monkeypatch.setattr(time, "sleep", stopped)
    with pytest.raises(Stopped):
        held(tmp_path).__enter__()
    assert (tmp_path / "lock").read_bytes() == b""


def test_a_lock_of_somebody_who_is_watching_is_not_said_to_be_the_dead_holders(
    tmp_path: Path,
) -> None:
    """Between taking the kernel's lock and writing its name, a process waits for half a minute."""
    with holder(tmp_path) as other:
        other.kill()
    descriptor = os.open(tmp_path / "lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(RunError, match=f"took over from process {other.pid} on host"):
        held(tmp_path).__enter__()
    os.close(descriptor)


def test_a_lock_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("content")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lock").symlink_to(precious)
    with pytest.raises(RunError, match="symbolic link"):
        held(tmp_path / "run").__enter__()
    assert precious.read_text() == "content"


def test_a_beat_may_fail_some_times_before_its_holder_counts_as_dead() -> None:
    assert WATCH_SECONDS >= 5 * BEAT_SECONDS
