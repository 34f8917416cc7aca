"""`ko-eval status`: what it says of runs in every state, and of files that hold anything else."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from run_directories import write_run

from ko_eval.cluster.batch_record import (
    BatchRecord,
    Job,
    JobRecord,
    mark_waiting,
    write_batch,
    write_job,
)
from ko_eval.cluster.status import read_status
from ko_eval.errors import DataError
from ko_eval.reports.status_table import status_json, status_notes, status_table
from ko_eval.runs.state import FILE_NAME
from ko_eval.runs.status import RunStatus, run_status

HERE = socket.gethostname()


def states(root: Path) -> dict[str, str]:
    return {run.name: run.state for run in read_status(root)}


@pytest.fixture
def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_run_is_running_dead_or_silent_by_its_process_and_its_silence(
    tmp_path: Path, gone: int
) -> None:
    write_run(tmp_path, "here", "asking", host=HERE, process=os.getpid(), silent_seconds=9000)
    write_run(tmp_path, "gone", "asking", host=HERE, process=gone)
    write_run(tmp_path, "elsewhere", "asking", silent_seconds=600)
    write_run(tmp_path, "silent", "asking", silent_seconds=9000)
    write_run(tmp_path, "loading", "loading", done=0)
    assert states(tmp_path) == {
        "elsewhere": "running",
        "gone": "dead",
        "here": "running",
        "loading": "loading",
        "silent": "silent",
    }


def test_a_run_that_ended_says_how(tmp_path: Path, gone: int) -> None:
    write_run(tmp_path, "done", "done", host=HERE, process=gone)
    write_run(tmp_path, "stopped", "stopped", host=HERE, process=gone)
    write_run(tmp_path, "failed", "error", error="the model cannot be loaded")
    (write_run(tmp_path, "robbed", "done") / "results.json").unlink()
    assert states(tmp_path) == {
        "done": "done",
        "failed": "failed",
        "robbed": "stopped",
        "stopped": "stopped",
    }
    assert "failed: the model cannot be loaded" in status_notes(read_status(tmp_path))


def test_rate_and_time_left_are_of_the_last_process(tmp_path: Path) -> None:
    (run,) = read_status(write_run(tmp_path, "m", "asking", done=40, tasks=["a", "b"]))
    assert (run.done, run.total) == (80, 200)
    assert run.rate == pytest.approx(0.8)
    assert run.seconds_left == pytest.approx(120 / 0.8)


def test_the_table_shows_the_tasks_of_what_is_not_done(tmp_path: Path) -> None:
    write_run(tmp_path, "a", "asking", tasks=["first", "second"])
    write_run(tmp_path, "b", "done", done=100, tasks=["third", "fourth"])
    runs = read_status(tmp_path)
    shown = str(status_table(runs)).splitlines()
    assert [line.split()[0] for line in shown] == ["Model", "a", "first", "second", "b"]
    assert len(str(status_table(runs, all_tasks=True)).splitlines()) == 7


BAD_FILES: dict[str, bytes] = {
    "empty": b"",
    "cut off": b'{"state": "asking", "model": "m"',
    "not UTF-8": b'{"state": "\xff"}',
    "another state": b'{"state": "asleep"}',
    "a list": b"[1, 2]",
    "deep": b"[" * 100_000,
    "large": b" " * 2_000_000,
    "a number of any size": b'{"process": 1' + b"0" * 5000 + b"}",
}


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_file_that_holds_no_state_is_shown_as_unreadable(tmp_path: Path, content: bytes) -> None:
    directory = write_run(tmp_path, "m", "asking")
    (directory / FILE_NAME).write_bytes(content)
    write_run(tmp_path, "sound", "asking")
    assert states(tmp_path) == {"m": "unreadable", "sound": "running"}
    assert any(FILE_NAME in note for note in status_notes(read_status(tmp_path)))


@pytest.mark.parametrize(
    "change",
    [
        {"process": -1},
        {"seconds": "inf"},
        {"seconds": -1},
        {"asked": -5},
        {"asked": 10**400},
        {"tasks": {"a": {"total": 10**400, "done": 0, "failed": 0}}},
        {"updated": "yesterday"},
        {"updated": "2026-01-01T00:00:00"},
        {"tasks": {"a": {"total": -1, "done": 0, "failed": 0}}},
    ],
    ids=lambda change: json.dumps(change)[:50],
)
def test_a_state_that_no_run_can_have_is_unreadable(tmp_path: Path, change: dict[str, Any]) -> None:
    path = write_run(tmp_path, "m", "asking") / FILE_NAME
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    assert run_status(path.parent).state == "unreadable"


def test_a_pipe_or_a_link_in_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    piped = write_run(tmp_path, "piped", "asking") / FILE_NAME
    piped.unlink()
    os.mkfifo(piped)
    linked = write_run(tmp_path, "linked", "asking") / FILE_NAME
    linked.rename(tmp_path / "elsewhere.json")
    linked.symlink_to(tmp_path / "elsewhere.json")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert states(tmp_path) == {"linked": "unreadable", "piped": "unreadable"}


def test_a_run_of_a_version_without_states_is_judged_by_its_result(tmp_path: Path) -> None:
    for name, content in (
        ("old", {"tasks": [{"name": "t", "n": 7, "outcomes": {"ok": 5, "failed": 2}}]}),
        ("odd", {"tasks": [{"name": "t", "n": 7, "outcomes": []}]}),
        ("text", {"tasks": [{"name": "t", "n": "7", "outcomes": {}}]}),
        ("large", {"tasks": [{"name": "t", "n": 10**400, "outcomes": {}}]}),
        ("begun", None),
    ):
        directory = write_run(tmp_path, name, "asking")
        (directory / FILE_NAME).unlink()
        if content is not None:
            result = {"model": {"name": name}, **content}
            (directory / "results.json").write_text(json.dumps(result))
    assert states(tmp_path) == {
        **dict.fromkeys(("odd", "text", "large"), "unreadable"),
        "begun": "stopped",
        "old": "done",
    }
    old = next(run for run in read_status(tmp_path) if run.name == "old")
    assert (old.done, old.failed) == (7, 2)


def batch(out: Path, *names: str) -> tuple[Path, list[Job]]:
    jobs = [Job(name=n, model=f"models/{n}", gpus=0, key="k", commands=[["run"]]) for n in names]
    directory = out / "batch-b"
    record = BatchRecord(
        name="b",
        plan="plan.yaml",
        on="slurm",
        out=str(out),
        folder=str(out),
        ko_eval="0",
        host=HERE,
        created="2026-01-01T00:00:00+00:00",
        jobs=jobs,
    )
    write_batch(directory, record)
    return directory, jobs


def test_models_of_a_batch_without_a_run_are_listed_as_well(tmp_path: Path, gone: int) -> None:
    directory, jobs = batch(tmp_path, "new", "queued", "begun", "lost", "broken", "far")
    mark_waiting(directory, jobs[1])
    for name, process, host in (
        ("begun", os.getpid(), HERE),
        ("lost", gone, HERE),
        ("far", 7, "x"),
    ):
        record = JobRecord(name=name, key="k", state="running", process=process, host=host)
        write_job(directory, record)
    write_job(directory, JobRecord(name="broken", key="k", state="failed", error=["error: no"]))
    expected = {
        "new": "waiting",
        "queued": "waiting",
        "begun": "loading",
        "lost": "dead",
        "broken": "failed",
        "far": "loading",
    }
    assert states(tmp_path) == expected
    assert list(states(directory).items()) == list(expected.items())


def test_a_run_of_a_batch_has_its_name_there_and_the_state_of_its_watcher(tmp_path: Path) -> None:
    directory, _ = batch(tmp_path, "mine", "again")
    write_run(tmp_path, "model", "asking", host="node7", process=70, silent_seconds=9000)
    write_run(tmp_path, "other", "error", host="node8", process=80, error="node lost")
    write_run(tmp_path, "stranger", "done")
    for name, host, processes in (
        ("mine", "node7", ["node7:70"]),
        ("again", "node9", ["node8:80", "node9:90"]),
    ):
        record = JobRecord(
            name=name, key="k", state="running", process=9, host=host, run_processes=processes
        )
        write_job(directory, record)
    # The model says nothing for hours, but its watcher lives; the other one just began anew.
    assert states(directory) == {"mine": "running", "again": "loading"}
    assert states(tmp_path) == {"mine": "running", "again": "loading", "stranger": "done"}


def test_a_damaged_record_of_a_batch_leaves_its_runs_readable(tmp_path: Path) -> None:
    directory, _ = batch(tmp_path, "mine")
    (directory / "batch.json").write_text("{")
    write_run(tmp_path, "model", "asking")
    assert states(tmp_path) == {"model": "running", "batch-b": "unreadable"}


def test_letters_that_a_terminal_would_obey_are_written_out(tmp_path: Path, ko_eval: Any) -> None:
    path = write_run(tmp_path, "m", "error", error="\x1b[2Jgone\nerror: next") / FILE_NAME
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"model": "\x1b]0;title\x07"}))
    done = ko_eval("status", tmp_path)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout and "\x07" not in done.stdout
    assert "u001b]0;title" in done.stdout


def test_json_neither_turns_a_terminals_letters_round_nor_holds_a_secret(
    tmp_path: Path, ko_eval: Any
) -> None:
    token = "hf_" + "aB3" * 12
    write_run(tmp_path, "m", "error", error=f"\u202egone {token}")
    done = ko_eval("status", tmp_path, "--json")
    assert "\u202e" not in done.stdout
    assert json.loads(done.stdout)[0]["error"] == "\u202egone ***"


def test_json_holds_the_same_as_values(tmp_path: Path, ko_eval: Any) -> None:
    write_run(tmp_path, "m", "asking", done=10, tasks=["a"])
    (row,) = json.loads(ko_eval("status", tmp_path, "--json").stdout)
    assert row["tasks"] == {"a": {"total": 100, "done": 10, "failed": 0}}
    assert (row["state"], row["seconds_left"]) == ("running", 900.0)
    assert status_json([RunStatus("x", None, "waiting")])[0]["directory"] is None


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        read_status(tmp_path / "nowhere")


def test_status_imports_neither_torch_nor_numpy(tmp_path: Path) -> None:
    write_run(tmp_path, "m", "asking")
    code = (
        "import sys; from ko_eval.cli.main import app\n"
        f"app(['status', {str(tmp_path)!r}], standalone_mode=False)\n"
        "print([n for n in ('torch', 'transformers', 'numpy', 'ray') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "1 run: 1 running" in done.stdout
