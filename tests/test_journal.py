"""The journal holds: torn, damaged and foreign lines are told apart, and nothing else is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ko_eval.errors import RunError
from ko_eval.runs.files import remove_leftovers, safe_name, write_atomically
from ko_eval.runs.journal import Entry, Journal, decode_entry, encode_entry
from ko_eval.types import FailedResponse, GenerateResponse, LoglikelihoodResponse


def entry(name: str, text: str = "답은 3\n이다.") -> Entry:
    return Entry(name, GenerateResponse(text, "stop", "음…", 10, 5, 2, 0, 7), 0.25)


def filled(path: Path, *names: str, run: str = "") -> Path:
    with Journal(path, run) as journal:
        for name in names:
            journal.append(entry(name))
    return path


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.text(), st.lists(finite, min_size=1, max_size=5), st.floats(0, 1e9))
def test_a_line_gives_back_exactly_what_was_written(
    key: str, values: list[float], seconds: float
) -> None:
    counts = tuple(range(len(values)))
    response = LoglikelihoodResponse(tuple(values), counts, 3, 1)
    line = encode_entry(Entry(key, response, seconds), "a run")
    assert line.count(b"\n") == 1
    found = decode_entry(line.rstrip(b"\n"))
    if "\\" not in key and not any(0xD800 <= ord(c) < 0xE000 for c in key):
        assert found is not None
        assert (found[0], found[1].key, found[1].response) == ("a run", key, response)


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
        assert journal.torn
        journal.append(entry("c"))
    with Journal(path) as journal:
        assert list(journal.entries) == ["a", "c"]
        assert journal.damaged == []
        assert not journal.torn


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


@pytest.mark.parametrize("seconds", [b"1e999", b"NaN", b"-1.0", b"1" + b"0" * 400])
def test_a_whole_line_with_a_time_that_no_request_takes_is_damaged(
    tmp_path: Path, seconds: bytes
) -> None:
    path = filled(tmp_path / "t.jsonl", "a", "b")
    first, second = path.read_bytes().splitlines(keepends=True)
    raw = first.partition(b', "entry": ')[2].rstrip()[:-1].replace(b"0.25", seconds)
    lying = b'{"crc32": "%08x", "entry": %b}\n' % (zlib.crc32(raw), raw)
    path.write_bytes(lying + second)
    with Journal(path) as journal:
        assert list(journal.entries) == ["b"]
        assert journal.damaged == [1]


def test_an_empty_journal_is_one_that_just_began(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.touch()
    with Journal(path) as journal:
        assert (journal.entries, journal.damaged, journal.foreign) == ({}, [], [])
        assert not journal.torn


def test_a_tail_that_is_no_torn_line_of_ours_is_damaged_and_stays(tmp_path: Path) -> None:
    path = filled(tmp_path / "t.jsonl", "a")
    path.write_bytes(path.read_bytes() + b"\0" * 100)
    with Journal(path) as journal:
        assert list(journal.entries) == ["a"]
        assert journal.damaged == [2]
        assert not journal.torn
        journal.append(entry("b"))
    assert b"\0" * 100 in path.read_bytes()
    with Journal(path) as journal:
        assert list(journal.entries) == ["a", "b"]
        assert journal.damaged == [2]


def test_what_another_run_wrote_is_told_apart_and_not_used(tmp_path: Path) -> None:
    path = filled(tmp_path / "t.jsonl", "a", run="ours")
    other = filled(tmp_path / "other.jsonl", "a", "b", run="theirs")
    path.write_bytes(other.read_bytes() + path.read_bytes())
    with Journal(path, "ours") as journal:
        assert list(journal.entries) == ["a"]
        assert journal.foreign == [1, 2]
        assert journal.damaged == []
    with Journal(path, "theirs") as journal:
        assert list(journal.entries) == ["a", "b"]
        assert journal.foreign == [3]


def test_lines_from_before_lines_named_their_run_are_ours(tmp_path: Path) -> None:
    path = filled(tmp_path / "t.jsonl", "a", run="ours")
    raw = path.read_bytes().partition(b', "entry": ')[2].rstrip()[:-1]
    raw = raw.replace(b'"run": "ours", ', b"")
    assert b"ours" not in raw
    path.write_bytes(b'{"crc32": "%08x", "entry": %b}\n' % (zlib.crc32(raw), raw))
    with Journal(path, "ours") as journal:
        assert journal.entries == {"a": entry("a")}
        assert (journal.foreign, journal.damaged) == ([], [])


@pytest.mark.parametrize("linked", ["file", "folder"])
def test_a_journal_that_leads_elsewhere_by_a_symbolic_link_is_refused(
    tmp_path: Path, linked: str
) -> None:
    precious = tmp_path / "precious.jsonl"
    precious.write_text("not a journal, and without an end of line")
    run = tmp_path / "run"
    run.mkdir()
    if linked == "file":
        (run / "responses").mkdir()
        (run / "responses" / "precious.jsonl").symlink_to(precious)
    else:
        (run / "responses").symlink_to(tmp_path)
    with pytest.raises(RunError, match="symbolic link") as caught:
        Journal(run / "responses" / "precious.jsonl")
    assert "->" in str(caught.value)
    assert precious.read_text() == "not a journal, and without an end of line"


def test_a_journal_that_is_no_plain_file_is_refused_and_waits_for_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t.jsonl")
    with pytest.raises(RunError, match="no plain file"):
        Journal(tmp_path / "t.jsonl")


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


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "results.json"
    write_atomically(target, "old")
    (tmp_path / "in-the-way").mkdir()
    with pytest.raises(RunError, match="cannot write"):
        write_atomically(tmp_path / "in-the-way", "new")
    assert target.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in-the-way", "results.json"]


def test_what_a_killed_process_left_half_written_is_removed_and_nothing_else(
    tmp_path: Path,
) -> None:
    for folder in ("samples", "asked"):
        (tmp_path / folder).mkdir()
    halves = (
        *(".results.json.77.tmp", ".state.json.78.tmp", ".report.html.79.tmp"),
        *("samples/.ko_gpqa.jsonl.77.tmp", "asked/.ko_gpqa.jsonl.77.tmp"),
    )
    others = ("results.json", "samples/ko_gpqa.jsonl", "notes.tmp")
    for name in (*halves, *others):
        (tmp_path / name).write_text("x")
    remove_leftovers(tmp_path)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.*")) == sorted(others)


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
