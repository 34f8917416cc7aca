"""Run directories that somebody else prepared: links out of them, pipes, and lying journals."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile import Ended, Run, refused, safe

from ko_eval.runs.evaluate import evaluate
from ko_eval.runs.plan import RunOptions

TASK = "ko_gpqa"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """The run directory of two samples, answered."""
    out = tmp_path_factory.mktemp("finished")
    return evaluate(RunOptions(model=str(tiny), tasks=(TASK,), limit=2, out=out)).directory


@pytest.fixture
def directory(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, where a command with `--out out` goes on with it."""
    place = tmp_path / "out" / finished.parent.name / finished.name
    shutil.copytree(finished, place)
    return place


def again(run: Run, tiny: Path) -> Ended:
    # Plain: the model need not show first that the quicker path finds the same.
    words = ("--limit", 2, "--likelihood", "plain", "--device", "cpu", "--out", "out")
    return run("run", tiny, "--tasks", TASK, *words)


# --- links, pipes and folders ----------------------------------------------------------------

FILES = [
    "lock",
    "run.json",
    "state.json",
    "results.json",
    f"responses/{TASK}.jsonl",
    f"samples/{TASK}.jsonl",
    f"asked/{TASK}.jsonl",
]
PRECIOUS = "a line\nanother, without end"


@pytest.mark.parametrize("name", FILES)
def test_a_link_out_of_the_directory_is_not_written_through(
    here: Run, tiny: Path, directory: Path, tmp_path: Path, name: str
) -> None:
    target = tmp_path / "precious"
    target.write_text(PRECIOUS)
    (directory / name).unlink(missing_ok=True)
    (directory / name).symlink_to(target)
    safe(again(here, tiny))
    assert target.read_text() == PRECIOUS


@pytest.mark.parametrize("name", ["responses", "samples", "asked"])
def test_a_folder_that_is_a_link_gets_no_files(
    here: Run, tiny: Path, directory: Path, tmp_path: Path, name: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.rmtree(directory / name)
    (directory / name).symlink_to(elsewhere)
    safe(again(here, tiny))
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("name", FILES)
def test_a_pipe_is_not_waited_for(apart: Run, tiny: Path, directory: Path, name: str) -> None:
    (directory / name).unlink(missing_ok=True)
    os.mkfifo(directory / name)
    safe(again(apart, tiny))


@pytest.mark.parametrize("name", FILES)
def test_a_folder_for_a_file_is_said_and_not_removed(
    here: Run, tiny: Path, directory: Path, name: str
) -> None:
    (directory / name).unlink(missing_ok=True)
    (directory / name).mkdir()
    (directory / name / "kept").write_text("")
    ended = again(here, tiny)
    safe(ended)
    assert ended.code in (0, 2)
    assert (directory / name / "kept").exists()


def test_a_temporary_name_that_was_guessed_is_not_followed(
    here: Run, tiny: Path, directory: Path, tmp_path: Path
) -> None:
    target = tmp_path / "precious"
    target.write_text(PRECIOUS)
    for name in ("results.json", "run.json", "state.json"):
        (directory / f".{name}.{os.getpid()}.tmp").symlink_to(target)
    safe(again(here, tiny))
    assert target.read_text() == PRECIOUS


def test_a_link_in_the_place_of_the_run_directory_is_the_users_own(
    here: Run, tiny: Path, directory: Path, tmp_path: Path
) -> None:
    shutil.move(tmp_path / "out", tmp_path / "large-disk")
    (tmp_path / "out").symlink_to(tmp_path / "large-disk")
    ended = again(here, tiny)
    assert (ended.code, "2 answered before" in ended.out) == (0, True)


# --- the journal -----------------------------------------------------------------------------


def journal(directory: Path) -> Path:
    return directory / "responses" / f"{TASK}.jsonl"


def entries(directory: Path) -> list[dict[str, object]]:
    return [json.loads(line)["entry"] for line in journal(directory).read_text().splitlines()]


def line(raw: bytes) -> bytes:
    """A journal line with the right checksum."""
    return b'{"crc32": "%08x", "entry": ' % zlib.crc32(raw) + raw + b"}\n"


def rewrite(directory: Path, change: Callable[[bytes], bytes]) -> None:
    """Changes the first entry of the journal, and its checksum with it."""
    first, *others = (json.dumps(entry).encode() for entry in entries(directory))
    journal(directory).write_bytes(b"".join(line(raw) for raw in (change(first), *others)))


def with_fields(**fields: object) -> Callable[[bytes], bytes]:
    return lambda raw: json.dumps(json.loads(raw) | fields).encode()


def with_response(**fields: object) -> Callable[[bytes], bytes]:
    def change(raw: bytes) -> bytes:
        entry = json.loads(raw)
        return json.dumps(entry | {"response": entry["response"] | fields}).encode()

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda raw: b"[" * 100_000, id="100,000 lists"),
        pytest.param(lambda raw: raw + b"x" * 2_000_000, id="two megabytes"),
        pytest.param(lambda raw: b"\xff" * 100, id="no UTF-8"),
        pytest.param(lambda raw: b"[1, 2]", id="a list"),
        pytest.param(with_fields(seconds=10**400), id="10^400 seconds"),
        pytest.param(lambda raw: raw.replace(b'"seconds": ', b'"seconds": 1e999'), id="1e999"),
        pytest.param(with_fields(seconds="soon"), id="a text for seconds"),
        pytest.param(with_fields(seconds=float("nan")), id="no number of seconds"),
        pytest.param(with_fields(key=["a"]), id="a list for a key"),
        pytest.param(with_fields(key="\x1b[2J\u202e"), id="escape codes for a key"),
        pytest.param(with_fields(kind="__class__"), id="another kind"),
        pytest.param(with_fields(response=5), id="a number for a response"),
        pytest.param(with_response(loglikelihoods="9**9**9"), id="a power"),
        pytest.param(with_response(context_tokens=10**400), id="10^400 tokens"),
        pytest.param(with_response(token_counts=[10**30] * 4), id="10^30 tokens scored"),
    ],
)
def test_a_lying_line_is_asked_again_or_does_no_harm(
    here: Run, tiny: Path, directory: Path, change: Callable[[bytes], bytes]
) -> None:
    rewrite(directory, change)
    ended = again(here, tiny)
    safe(ended)
    assert ended.code == 0
    assert "ok 2" in ended.out
    json.loads(
        (directory / "results.json").read_text(), parse_constant=lambda name: pytest.fail(name)
    )


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(with_response(loglikelihoods=[]), id="none"),
        pytest.param(with_response(loglikelihoods=[0.0] * 1000), id="a thousand"),
        pytest.param(with_response(loglikelihoods=[float("nan")] * 4), id="no numbers"),
        pytest.param(with_response(loglikelihoods=[1e999] * 4), id="infinite"),
        pytest.param(with_fields(kind="generate", response={"text": "\x1b[2J"}), id="a text"),
    ],
)
def test_likelihoods_that_are_not_those_of_the_sample_are_named_or_asked_again(
    here: Run, tiny: Path, directory: Path, change: Callable[[bytes], bytes]
) -> None:
    rewrite(directory, change)
    ended = again(here, tiny)
    if ended.code:
        refused(ended, "sample '")
    else:
        safe(ended)
        assert "1 answered before" in ended.out


def test_a_line_with_the_right_checksum_is_read(here: Run, tiny: Path, directory: Path) -> None:
    rewrite(directory, lambda raw: raw)
    assert "Asked the model 0 requests; 2 answered before" in again(here, tiny).out


def test_the_key_of_another_request_is_not_used(here: Run, tiny: Path, directory: Path) -> None:
    rewrite(directory, with_fields(key="0" * 64))
    ended = again(here, tiny)
    assert "Asked the model 1 requests; 1 answered before" in ended.out


# --- run.json and state.json -----------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("[" * 100_000, id="100,000 lists"),
        pytest.param('{"sessions": [5]}', id="a number for a session"),
        pytest.param('{"created": 1e999, "options": {}, "sessions": []}', id="1e999"),
        pytest.param("\x1b[2J\u202e", id="escape codes"),
    ],
)
def test_a_damaged_record_is_written_again(
    here: Run, tiny: Path, directory: Path, content: str
) -> None:
    (directory / "run.json").write_text(content)
    ended = again(here, tiny)
    safe(ended)
    assert ended.code == 0
    assert set(json.loads((directory / "run.json").read_text())) >= {"created", "options"}


@pytest.mark.parametrize(
    "fields",
    [
        {"environment": ["a"]},
        {"environment": {"torch": 5}},
        {"warnings": "\x1b[2J"},
        {"warnings": [{"a": "b"}]},
        {"conditions": []},
        {"evil": 1},
        {"started": None},
    ],
    ids=json.dumps,
)
def test_a_session_of_nonsense_does_not_break_the_run(
    here: Run, tiny: Path, directory: Path, fields: dict[str, object]
) -> None:
    record = json.loads((directory / "run.json").read_text())
    record["sessions"][0] |= fields
    (directory / "run.json").write_text(json.dumps(record))
    ended = again(here, tiny)
    safe(ended)
    assert ended.code == 0


def test_what_a_session_warned_of_is_shown_without_being_obeyed(
    here: Run, tiny: Path, directory: Path
) -> None:
    record = json.loads((directory / "run.json").read_text())
    record["sessions"][0]["environment"]["\x1b[2J\u202e"] = "x"
    record["sessions"].append(record["sessions"][0] | {"environment": {"\x1b[2J\u202e": "y"}})
    (directory / "run.json").write_text(json.dumps(record))
    ended = again(here, tiny)
    safe(ended)
    assert "\\u001b[2J\\u202e" in ended.err
