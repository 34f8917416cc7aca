"""The journal holds: torn, damaged and foreign lines are told apart, and nothing else is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ko_eval.errors import RunError
from ko_eval.runs.files import held, safe_name, write_atomically
from ko_eval.runs.journal import Entry, Journal, decode_entry, encode_entry
from ko_eval.types import FailedResponse, GenerateResponse, LoglikelihoodResponse


def entry(name: str, text: str = "답은 3\n이다.") -> Entry:
    return Entry(name, GenerateResponse(text, "stop", "음…", 10, 5, 2, 0, 7), 0.25)


def filled(path: Path, *names: str) -> Path:
    with Journal(path) as journal:
        for name in names:
            journal.append(entry(name))
    return path


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.text(), st.lists(finite, min_size=1, max_size=5), finite)
def test_a_line_gives_back_exactly_what_was_written(
    key: str, values: list[float], seconds: float
) -> None:
    counts = tuple(range(len(values)))
    response = LoglikelihoodResponse(tuple(values), counts, 3, 1)
    line = encode_entry(Entry(key, response, seconds))
    assert line.count(b"\n") == 1
    found = decode_entry(line.rstrip(b"\n"))
    if "\\" not in key and not any(0xD800 <= ord(c) < 0xE000 for c in key):
        assert found is not None
        assert (found.key, found.response) == (key, response)


def test_entries_are_there_after_reopening(tmp_path: Path) -> None:
    path = filled(tmp_path / "r" / "t.jsonl", "a", "b")
    with Journal(path) as journal:
        assert list(journal.entries) == ["a", "b"]
        assert journal.entries["a"] == entry("a")
        assert journal.damaged == []


@pytest.mark.parametrize("lost", [1, 2, 20, 60])
def test_a_torn_last_line_is_dropped_and_the_next_one_is_whole(tmp_path: Path, lost: int) -> None:
    path = filled(tmp_path / "t.jsonl", "a", "b")
    path.write_bytes(path.read_bytes()[:-lost])
    with Journal(path) as journal:
        assert list(journal.entries) == ["a"]
        assert journal.damaged == []
        journal.append(entry("c"))
    with Journal(path) as journal:
        assert list(journal.entries) == ["a", "c"]
        assert journal.damaged == []


def test_a_flipped_byte_in_the_middle_is_reported_and_only_that_line_is_lost(
    tmp_path: Path,
) -> None:
    path = filled(tmp_path / "t.jsonl", "a", "b", "c")
    content = bytearray(path.read_bytes())
    content[content.index(b"\n") + 60] ^= 1
    path.write_bytes(content)
    with Journal(path) as journal:
        assert list(journal.entries) == ["a", "c"]
        assert journal.damaged == [2]


def test_lines_of_something_else_are_damaged_not_fatal(tmp_path: Path) -> None:
    path = filled(tmp_path / "t.jsonl", "a")
    path.write_bytes(b'{"some": "json"}\nnonsense\n\xff\xfe\n' + path.read_bytes())
    with Journal(path) as journal:
        assert list(journal.entries) == ["a"]
        assert journal.damaged == [1, 2, 3]


def test_failed_requests_are_written_down_but_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    with Journal(path) as journal:
        journal.append(Entry("a", FailedResponse("out of memory"), 0.1))
    with Journal(path) as journal:
        assert journal.entries == {}
        journal.append(entry("a"))
    with Journal(path) as journal:
        assert journal.entries == {"a": entry("a")}
    assert "out of memory" in path.read_text(encoding="utf-8")


def test_a_full_disk_is_said_and_what_was_written_stays(tmp_path: Path) -> None:
    """A real limit of the kernel on the size of files stands in for a full disk."""
    path = tmp_path / "t.jsonl"
    code = f"""
import resource, signal
from pathlib import Path
from ko_eval.errors import RunError
from ko_eval.runs.journal import Entry, Journal
from ko_eval.types import GenerateResponse
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    with Journal(Path({str(path)!r})) as journal:
        for i in range(100):
            journal.append(Entry(str(i), GenerateResponse("x" * 200), 0.0))
except RunError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "disk is full" in done.stdout
    assert "run the same command again" in done.stdout
    with Journal(path) as journal:
        assert journal.damaged == []
        assert len(journal.entries) >= 8
        assert path.stat().st_size <= 4096


def test_two_processes_cannot_hold_one_directory(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from ko_eval.runs.files import held
with held(Path({str(tmp_path)!r})):
    print("held", flush=True)
    sys.stdin.read()
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=f'"process": {holder.pid}'), held(tmp_path):
            pass
        holder.kill()
        holder.wait()
        # The lock of a dead process holds nobody up.
        with held(tmp_path):
            pass


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "results.json"
    write_atomically(target, "old")
    (tmp_path / "in-the-way").mkdir()
    with pytest.raises(RunError, match="cannot write"):
        write_atomically(tmp_path / "in-the-way", "new")
    assert target.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in-the-way", "results.json"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("owner/model", "owner--model"),
        ("../../etc/passwd", "--..--etc--passwd"),
        (".hidden", "hidden"),
        ("..", "_"),
        ("모델 이름", "모델_이름"),
        ("a\nb\x1b[31m", "a_b_31m"),
    ],
)
def test_a_name_is_one_part_of_a_path(name: str, expected: str) -> None:
    assert safe_name(name) == expected
    assert "/" not in safe_name(name)


def test_the_journal_is_readable_json(tmp_path: Path) -> None:
    path = filled(tmp_path / "t.jsonl", "a")
    line = json.loads(path.read_text(encoding="utf-8"))
    assert line["entry"]["response"]["text"] == "답은 3\n이다."
