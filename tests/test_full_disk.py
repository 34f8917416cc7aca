"""A disk that is really full: a small tmpfs. Nothing is lost, nothing is half written.

Mounting needs the right to; elsewhere these tests are skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_server import CommandServer

from ko_eval.runs.journal import Journal
from ko_eval.runs.result import RunResult

TASKS = "kornat_knowledge,kornat_social_value"
ASKED = 2 * 40
PAGE = 4096

Run = Callable[[Path], "subprocess.CompletedProcess[str]"]


class Disk:
    """A tmpfs, and how full it is.

    Args:
        folder: where it is mounted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def leave(self, size: int) -> None:
        """Fills the disk up, but for so many bytes."""
        with self._filler.open("wb") as file:
            facts = os.statvfs(self.folder)
            os.posix_fallocate(file.fileno(), 0, max(PAGE, facts.f_bavail * PAGE - size))

    def make_room(self) -> None:
        self._filler.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"needs mount: {error}")
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {mounted.stderr.strip()}")
    yield Disk(folder)
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def run(command_server: CommandServer, tiny: Path, tmp_path: Path) -> Run:
    def run(out: Path) -> subprocess.CompletedProcess[str]:
        words = ["run", tiny, "--tasks", TASKS, "--limit", 40, "--batch-tokens", 2000]
        words += ["--dtype", "float32", "--device", "cpu", "--out", out]
        return command_server.start(words, tmp_path).completed()

    return run


def scores(out: Path) -> dict[str, object]:
    (path,) = out.rglob("results.json")
    result = RunResult.model_validate_json(path.read_bytes())
    return {task.name: (task.shown, task.outcomes) for task in result.tasks}


def assert_says_full(done: subprocess.CompletedProcess[str], name: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "the disk is full" in done.stderr
    assert name in done.stderr
    assert "bytes are free there" in done.stderr
    assert "make room and run the same command again" in done.stderr
    assert "Traceback" not in done.stderr


def test_full_in_the_middle_of_asking_the_rest_is_asked_after_room_is_made(
    disk: Disk, run: Run, tmp_path: Path
) -> None:
    out = disk.folder / "out"
    disk.leave(8 * PAGE)
    stopped = run(out)
    assert_says_full(stopped, ".jsonl")
    assert "requests are still to be answered" in stopped.stderr
    kept = 0
    for path in out.rglob("responses/*.jsonl"):
        content = path.read_bytes()
        kept += content.count(b"\n")
    assert 0 < kept < ASKED
    assert f"{ASKED - kept} requests are still" in stopped.stderr
    disk.make_room()
    again = run(out)
    assert again.returncode == 0, again.stderr
    assert f"Asked the model {ASKED - kept} requests; {kept} answered before" in again.stdout
    undisturbed = run(tmp_path / "undisturbed")
    assert undisturbed.returncode == 0
    assert scores(out) == scores(tmp_path / "undisturbed")
    for path in out.rglob("responses/*.jsonl"):
        with Journal(path, next(out.rglob("run.json")).parent.name[-12:]) as journal:
            assert (len(journal.entries), journal.damaged, journal.torn) == (40, [], False)


@pytest.mark.slow
def test_full_at_any_moment_of_writing_every_file_is_whole_or_as_before(
    disk: Disk, run: Run
) -> None:
    out = disk.folder / "out"
    assert run(out).returncode == 0
    before = scores(out)
    named = set()
    for room in range(1, 60, 2):
        for pattern in ("samples/*.jsonl", "asked/*.jsonl", "results.json", "report.html"):
            for path in out.rglob(pattern):
                path.unlink()
        disk.leave(room * PAGE)
        done = run(out)
        if done.returncode:
            assert_says_full(done, "where: ")
            assert not list(out.rglob("results.json"))
            _, _, where = done.stderr.partition("where: ")
            named.add(Path(where.partition(" (")[0]).name)
        else:
            assert scores(out) == before
        for folder, count in (("samples", 40), ("asked", 41)):
            for path in out.rglob(f"{folder}/*.jsonl"):
                lines = path.read_text(encoding="utf-8").splitlines()
                assert len(list(map(json.loads, lines))) == count
        for path in out.rglob("report.html"):
            assert path.read_text(encoding="utf-8").endswith("</html>")
        assert not list(out.rglob("*.tmp"))
        disk.make_room()
    assert named >= {"kornat_knowledge.jsonl", "kornat_social_value.jsonl", "results.json"}
    again = run(out)
    assert "Asked the model 0 requests; 80 answered before" in again.stdout
    assert scores(out) == before


def test_without_room_for_the_record_of_a_session_nothing_is_asked_and_the_old_one_stays(
    disk: Disk, run: Run
) -> None:
    out = disk.folder / "out"
    assert run(out).returncode == 0
    (record,) = out.rglob("run.json")
    before = record.read_bytes()
    (journal,) = out.rglob("responses/kornat_knowledge.jsonl")
    journal.unlink()
    disk.leave(PAGE)
    assert_says_full(run(out), "run.json")
    assert record.read_bytes() == before
    assert journal.read_bytes() == b""


def test_on_a_full_disk_results_of_before_stay_whole(disk: Disk, run: Run) -> None:
    out = disk.folder / "out"
    assert run(out).returncode == 0
    (path,) = out.rglob("results.json")
    before = path.read_bytes()
    disk.leave(0)
    assert_says_full(run(out), "")
    assert path.read_bytes() == before


def test_a_directory_that_may_only_be_read_is_named(disk: Disk, run: Run) -> None:
    out = disk.folder / "out"
    assert run(out).returncode == 0
    read_only = ["mount", "-o", "remount,ro", str(disk.folder)]
    subprocess.run(read_only, check=True)
    done = run(out)
    assert done.returncode == 2
    assert "cannot write: Read-only file system" in done.stderr
    assert "give a folder that you may write to with --out" in done.stderr
