"""A run that was killed, damaged or taken over goes on: what is asked again, said and refused."""

from __future__ import annotations

import os
import shutil
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from command_server import CommandServer
from short_runs import NINE, assert_same, make_suite, options, scores

from ko_eval.errors import RunError
from ko_eval.runs.evaluate import RunOutcome, SilentReporter, evaluate, run_directory
from ko_eval.runs.holding import Hold, held
from ko_eval.runs.plan import RunOptions, plan_run
from ko_eval.runs.result import RunResult


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_suite(tmp_path_factory.mktemp("suite"))


@pytest.fixture(scope="module")
def finished(tiny: Path, suite: Path, tmp_path_factory: pytest.TempPathFactory) -> RunOutcome:
    return evaluate(options(tiny, suite, tmp_path_factory.mktemp("out")))


def _command(model: Path, suite: Path, out: Path) -> list[str]:
    return [
        *("run", str(model), "--suite", str(suite)),
        *("--out", str(out), "--dtype", "float32", "--device", "cpu"),
        *("--batch-tokens", "600", "--batch-rows", "2", "--limit", "6"),
    ]


def _journal_lines(out: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in out.rglob("responses/*.jsonl"))


def _wait_for_journal_lines(out: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while _journal_lines(out) < count and time.monotonic() < deadline:
        time.sleep(0.005)


@pytest.mark.parametrize("after", [1, 30])
def test_killed_in_the_middle_and_run_again_the_results_are_the_same(
    command_server: CommandServer,
    tiny: Path,
    suite: Path,
    finished: RunOutcome,
    tmp_path: Path,
    after: int,
) -> None:
    command = _command(tiny, suite, tmp_path)
    running = command_server.start(command, tmp_path)
    _wait_for_journal_lines(tmp_path, after)
    os.kill(running.process, signal.SIGKILL)
    assert running.returncode == -signal.SIGKILL
    done_before = _journal_lines(tmp_path)
    assert after <= done_before < 54
    again = command_server.start(command, tmp_path).completed()
    assert again.returncode == 0, again.stderr
    assert f"Asked the model {54 - done_before} requests; {done_before} answered" in again.stdout
    # No finished request was asked again: every line is another request.
    assert _journal_lines(tmp_path) == 54
    path = next(tmp_path.rglob("results.json"))
    result = RunResult.model_validate_json(path.read_bytes())
    assert_same(scores(result), scores(finished.result))


def test_a_damaged_line_is_asked_again_with_the_same_result(
    tiny: Path, suite: Path, tmp_path: Path, finished: RunOutcome
) -> None:
    first = evaluate(options(tiny, suite, tmp_path))
    journal = first.directory / "responses" / "ko_gpqa.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"0", b"1", 3)
    journal.write_bytes(b"".join(lines))
    second = evaluate(options(tiny, suite, tmp_path))
    assert second.asked == 1
    assert "damaged" in second.result.warnings[0]
    same = scores(second.result) | {"warnings": []}
    assert_same(same, scores(finished.result))


class Listening(SilentReporter):
    """Hears what is said on stderr."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def warning(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def copied(
    tiny: Path, suite: Path, finished: RunOutcome, tmp_path: Path
) -> tuple[Path, RunOptions]:
    """A finished run's directory to damage, and the options that go on with it."""
    shutil.copytree(finished.directory.parents[1], tmp_path / "out")
    directory = tmp_path / "out" / finished.directory.parent.name / finished.directory.name
    return directory, options(tiny, suite, tmp_path / "out")


def test_the_journal_of_another_run_is_named_and_its_responses_are_not_taken_for_ours(
    tiny: Path, suite: Path, finished: RunOutcome, tmp_path: Path
) -> None:
    """Another model with the same tokenizer: all its requests have the same keys as ours."""
    from tiny_model import make_tiny_llama

    other = options(make_tiny_llama(tmp_path / tiny.name, seed=1), suite, tmp_path / "out")
    directory = run_directory(plan_run(other))
    responses = finished.directory / "responses"
    shutil.copytree(responses, directory / "responses")
    said = Listening()
    outcome = evaluate(other, said)
    assert outcome.directory == directory
    assert (outcome.asked, outcome.answered_before) == (54, 0)
    for name in NINE:
        text = f"{name}: 6 lines of the journal were written by another run (first: line 1 of"
        assert any(warning.startswith(text) for warning in outcome.result.warnings)
    assert said.said == outcome.result.warnings
    assert evaluate(other).asked == 0


def test_the_journal_of_another_task_is_named_and_not_used(
    copied: tuple[Path, RunOptions],
) -> None:
    directory, again = copied
    responses = directory / "responses"
    shutil.copy(responses / "ko_gpqa.jsonl", responses / "kornat_knowledge.jsonl")
    outcome = evaluate(again)
    assert outcome.asked == 6
    expected = "kornat_knowledge: 6 responses in kornat_knowledge.jsonl are to requests of another"
    assert outcome.result.warnings[0].startswith(expected)


def test_a_second_run_of_one_directory_is_told_which_process_writes_it(
    copied: tuple[Path, RunOptions],
) -> None:
    directory, again = copied
    with held(directory), pytest.raises(RunError, match="another process is writing") as caught:
        evaluate(again)
    assert f"process {os.getpid()} on host" in str(caught.value)
    assert evaluate(again).asked == 0


class Overtaken(SilentReporter):
    """Another process takes the directory over when the third request is answered."""

    def __init__(self, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 3
        self.out = out
        self.monkeypatch = monkeypatch
        self.files: dict[str, bytes] = {}

    def answered(self, name: str, tokens: int) -> None:
        self.left -= 1
        if not self.left:
            self.monkeypatch.setattr(Hold, "check", overtaken)
            for name in ("run.json", "state.json"):
                (path,) = self.out.rglob(name)
                path.write_text("the other process's")


def overtaken(hold: Hold) -> None:
    raise RunError("another process has taken this run over")


def test_who_lost_the_directory_to_another_process_writes_nothing_more(
    tiny: Path, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunError, match="taken this run over"):
        evaluate(options(tiny, suite, tmp_path), Overtaken(tmp_path, monkeypatch))
    for name in ("run.json", "state.json"):
        (path,) = tmp_path.rglob(name)
        assert path.read_text() == "the other process's"
    assert sum(p.read_bytes().count(b"\n") for p in tmp_path.rglob("responses/*.jsonl")) == 3


def test_an_emptied_journal_is_asked_anew(
    copied: tuple[Path, RunOptions], finished: RunOutcome
) -> None:
    directory, again = copied
    (directory / "responses" / "ko_gpqa.jsonl").write_bytes(b"")
    outcome = evaluate(again)
    assert (outcome.asked, outcome.answered_before) == (6, 48)
    assert_same(scores(outcome.result), scores(finished.result))


def test_a_torn_last_line_is_said_and_leaves_no_mark_on_the_results(
    copied: tuple[Path, RunOptions], finished: RunOutcome
) -> None:
    directory, again = copied
    journal = directory / "responses" / "ko_gpqa.jsonl"
    journal.write_bytes(journal.read_bytes()[:-40])
    said = Listening()
    outcome = evaluate(again, said)
    assert outcome.asked == 1
    assert said.said == [
        "ko_gpqa: the last line of ko_gpqa.jsonl was cut off; its request is asked again"
    ]
    assert_same(scores(outcome.result), scores(finished.result))


def test_a_response_that_lies_in_another_tasks_journal_is_not_asked_again(
    copied: tuple[Path, RunOptions], finished: RunOutcome
) -> None:
    """A kill between the two journals of a request that two tasks share."""
    directory, again = copied
    responses = directory / "responses"
    (responses / "ko_gpqa.jsonl").rename(tmp := responses / "elsewhere")
    lines = tmp.read_bytes()
    with (responses / "ko_winogrande.jsonl").open("ab") as file:
        file.write(lines)
    tmp.unlink()
    outcome = evaluate(again)
    assert outcome.asked == 0
    assert (responses / "ko_gpqa.jsonl").read_bytes().count(b"\n") == 6
    assert_same(scores(outcome.result), scores(finished.result))


@pytest.mark.parametrize("name", ["responses", "samples", "responses/ko_gpqa.jsonl", "lock"])
def test_a_link_out_of_the_run_directory_is_refused_and_where_it_leads_is_untouched(
    copied: tuple[Path, RunOptions], tmp_path: Path, name: str
) -> None:
    directory, again = copied
    outside = tmp_path / "outside"
    (directory / name).rename(outside)
    (directory / name).symlink_to(outside)
    before = {p: p.read_bytes() for p in [outside, *outside.rglob("*")] if p.is_file()}
    with pytest.raises(RunError, match="symbolic link") as caught:
        evaluate(again)
    assert f"{directory / name} -> {outside}" in str(caught.value)
    assert {p: p.read_bytes() for p in [outside, *outside.rglob("*")] if p.is_file()} == before


@pytest.mark.parametrize("year", [1971, 2100])
def test_a_clock_that_jumped_changes_nothing(
    copied: tuple[Path, RunOptions], finished: RunOutcome, year: int
) -> None:
    """Files of another time, and a record and a journal that say so."""
    directory, again = copied
    record = directory / "run.json"
    now = finished.result.created[:4]
    record.write_text(record.read_text(encoding="utf-8").replace(f'"{now}-', f'"{year}-'))
    journal = directory / "responses" / "ko_gpqa.jsonl"
    *kept, _ = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(kept))
    moment = datetime(year, 1, 1, tzinfo=UTC).timestamp()
    for path in [directory, *directory.rglob("*")]:
        os.utime(path, (moment, moment))
    outcome = evaluate(again)
    assert (outcome.asked, outcome.answered_before) == (1, 53)
    assert outcome.result.created.startswith(f"{year}-")
    assert_same(scores(outcome.result), scores(finished.result))
