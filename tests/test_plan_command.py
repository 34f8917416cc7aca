"""What a run would take, counted before it and compared with what it took."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ko_eval.engines.base import EncodedGenerate, EncodedLoglikelihood, EncodedPair, EncodedRequest
from ko_eval.engines.transformers_loading import LoadOptions
from ko_eval.errors import DataError
from ko_eval.reports.durations import duration
from ko_eval.reports.table import usage_line
from ko_eval.runs.estimate import (
    Speeds,
    Workload,
    estimate,
    measured_new,
    measured_speeds,
    together,
    workload,
)
from ko_eval.runs.evaluate import RunOutcome, evaluate
from ko_eval.runs.plan import RunOptions
from ko_eval.runs.result import RunResult, Usage, read_result
from ko_eval.types import GenerateRequest, LoglikelihoodRequest

Command = Callable[..., subprocess.CompletedProcess[str]]


def scored(key: str, *pairs: tuple[tuple[int, ...], tuple[int, ...]]) -> EncodedRequest:
    request = LoglikelihoodRequest("t", key, pairs=())
    return EncodedLoglikelihood(key, request, tuple(EncodedPair(*pair) for pair in pairs), 0)


def asked(key: str, prompt: tuple[int, ...], most: int, thinking: int = 0) -> EncodedRequest:
    request = GenerateRequest("t", key, "", (), (), most)
    return EncodedGenerate(key, request, prompt, 0, False, thinking, 0)


# --- counting --------------------------------------------------------------------------------


def test_a_shared_context_is_read_once() -> None:
    load = workload([scored("a", ((1, 2, 3), (4,)), ((1, 2, 3), (5, 6)), ((1, 2, 9), (4,)))])
    assert load == Workload(
        requests=1, sequences=3, tokens_asked=10, tokens_distinct=5, longest=5, most_new=0
    )


def test_equal_requests_count_once() -> None:
    assert workload([scored("a", ((1,), (2,)))] * 3) == workload([scored("a", ((1,), (2,)))])


def test_all_of_a_prompt_is_read_and_a_thought_is_written_too() -> None:
    load = workload([asked("a", (1, 2, 3), most=10), asked("b", (1, 2), most=10, thinking=100)])
    assert load == Workload(
        requests=2, sequences=2, tokens_asked=5, tokens_distinct=3, longest=112, most_new=120
    )


def test_together_adds_up_but_for_the_longest() -> None:
    one, two = Workload(1, 2, 30, 10, 7, 0), Workload(1, 1, 5, 5, 9, 4)
    assert together([one, two]) == Workload(2, 3, 35, 15, 9, 4)


# --- estimating ------------------------------------------------------------------------------

READS = ("reads", "Reads", Workload(10, 40, 9000, 3000, 90, 0))
WRITES = ("writes", "Writes", Workload(10, 10, 1000, 600, 200, 2000))


def test_time_is_reading_and_writing_at_their_speeds() -> None:
    found = estimate([READS, WRITES], Speeds(read=100.0, write=50.0), gpus=2, price_per_gpu_hour=3)
    assert [task.seconds for task in found.tasks] == [30.0, 46.0]
    assert found.seconds == 76.0
    assert found.gpu_hours == pytest.approx(76 * 2 / 3600)
    assert found.price == pytest.approx(76 * 2 / 3600 * 3)


def test_lengths_of_an_earlier_run_replace_the_most_but_never_exceed_it() -> None:
    speeds = Speeds(read=100.0, write=50.0)
    shorter = estimate([WRITES], speeds, new_per_request={"writes": 20.0})
    assert (shorter.tasks[0].expected_new, shorter.new, shorter.seconds) == (200, 200, 10.0)
    longer = estimate([WRITES], speeds, new_per_request={"writes": 900.0})
    assert longer.tasks[0].expected_new == 2000


def test_a_speed_that_is_needed_and_unknown_leaves_the_time_open() -> None:
    only_reading = estimate([READS, WRITES], Speeds(read=100.0))
    assert [task.seconds for task in only_reading.tasks] == [30.0, None]
    assert only_reading.seconds is only_reading.gpu_hours is only_reading.price is None
    assert estimate([READS], Speeds(read=100.0)).seconds == 30.0
    assert estimate([READS], Speeds(write=50.0)).seconds is None
    assert estimate([WRITES], Speeds(write=50.0)).seconds == 40.0


def test_no_tasks_take_no_time() -> None:
    found = estimate([], Speeds())
    assert (found.total, found.seconds) == (Workload(0, 0, 0, 0, 0, 0), 0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (60, "1 min 00 s"),
        (3599.6, "1 h 00 min"),
    ],
)
def test_durations_read_well(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


# --- against a run ---------------------------------------------------------------------------

TASKS = ("kornat_knowledge", "ko_gsm8k")


@pytest.fixture(scope="module")
def outcome(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> RunOutcome:
    load = LoadOptions(dtype="float32", device="cpu")
    out = tmp_path_factory.mktemp("out")
    return evaluate(RunOptions(model=str(tiny), tasks=TASKS, limit=3, shots=1, load=load, out=out))


@pytest.fixture
def tokenizer_only(tiny: Path, tmp_path: Path) -> Path:
    """The tiny model without its weights."""
    folder = tmp_path / "tiny"
    shutil.copytree(tiny, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    return folder


def planned(ko_eval: Command, *arguments: object) -> dict[str, Any]:
    done = ko_eval("plan", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def test_the_plan_counts_what_the_run_used(
    ko_eval: Command, tokenizer_only: Path, outcome: RunOutcome
) -> None:
    plan = planned(
        *(ko_eval, tokenizer_only, "--tasks", ",".join(TASKS), "--limit", 3, "--shots", 1),
        *("--from", outcome.directory, "--price-per-gpu-hour", 2.5),
    )
    assert [task["name"] for task in plan["tasks"]] == list(TASKS)
    for task, report in zip(plan["tasks"], outcome.result.tasks, strict=True):
        used = report.usage
        assert used is not None
        load = task["workload"]
        assert (load["requests"], load["sequences"]) == (used.requests, used.sequences)
        assert load["tokens_asked"] == used.tokens_asked
        assert load["tokens_distinct"] == used.tokens_distinct < used.tokens_asked
        assert load["most_new"] == used.tokens_most
        assert task["expected_new"] == (used.tokens_written or None)
        # Its own speeds give back its own time.
        assert task["seconds"] == pytest.approx(report.seconds, rel=0.5)
    assert plan["from_model"] == outcome.result.model.name
    assert plan["price"] == pytest.approx(plan["gpu_hours"] * 2.5)
    line = usage_line(outcome.result)
    assert line is not None
    assert f"{plan['total']['tokens_distinct']:,} of them distinct" in line
    assert f"of at most {plan['total']['most_new']:,}" in line


def test_the_tables_say_what_they_rest_on(ko_eval: Command, tokenizer_only: Path) -> None:
    command = ("plan", tokenizer_only, "--tasks", ",".join(TASKS), "--limit", 3)
    bare = ko_eval(*command)
    assert bare.returncode == 0, bare.stderr
    assert "KorNAT-Knowledge" in bare.stdout
    assert "≤" in bare.stdout
    assert "needs --read-speed and --write-speed" in bare.stdout
    timed = ko_eval(*command, "--read-speed", 1000, "--write-speed", 10, "--gpus", 4)
    assert "with 1,000 tokens read per second and 10 tokens written per second" in timed.stdout
    assert "(GPUs: 4)" in timed.stdout


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--read-speed", 0), "above 0"),
        (("--write-speed", 10), "add --read-speed"),
        (("--from", "nowhere"), "no result at 'nowhere'"),
        (("--suite", "leaderboard2", "--tasks", "ko_gpqa"), "both given"),
    ],
)
def test_wrong_options_are_said_in_a_line(
    ko_eval: Command, arguments: tuple[object, ...], part: str
) -> None:
    done = ko_eval("plan", "demo", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert part in done.stderr


def test_speeds_come_from_a_run_whose_tasks_say_what_they_used(outcome: RunOutcome) -> None:
    speeds = measured_speeds(outcome.result)
    reads = outcome.result.tasks[0]
    assert reads.usage is not None
    assert speeds.read == pytest.approx(reads.usage.tokens_distinct / reads.seconds)
    assert speeds.write is not None
    assert set(measured_new(outcome.result)) == {"ko_gsm8k"}


def test_results_from_before_usage_are_read_and_say_nothing(outcome: RunOutcome) -> None:
    content = outcome.result.model_dump(mode="json")
    content["schema_version"] = "1.1"
    for task in content["tasks"]:
        del task["usage"]
    old = RunResult.model_validate(content)
    assert measured_speeds(old) == Speeds(None, None)
    assert measured_new(old) == {}
    assert usage_line(old) is None


def of_tasks(result: RunResult, *changes: Mapping[str, object]) -> RunResult:
    """The result with its first task once for each change, laid over the task and its usage."""
    task = result.tasks[0]
    assert task.usage is not None
    usage = task.usage.model_copy(update={"requests": 10, "tokens_distinct": 1000})
    base = task.model_copy(update={"usage": usage, "seconds": 10.0, "n": 10, "outcomes": {}})
    tasks = []
    for change in changes:
        of_usage = {key: value for key, value in change.items() if key in Usage.model_fields}
        others = {key: value for key, value in change.items() if key not in of_usage}
        tasks.append(base.model_copy(update={**others, "usage": usage.model_copy(update=of_usage)}))
    return result.model_copy(update={"tasks": tasks})


def test_a_task_whose_answers_were_all_empty_says_nothing_of_speeds(outcome: RunOutcome) -> None:
    empty = {"name": "empty", "tokens_most": 500, "tokens_written": 0}
    assert measured_speeds(of_tasks(outcome.result, empty)) == Speeds(None, None)
    assert measured_speeds(of_tasks(outcome.result, {}, empty)) == Speeds(100.0, None)
    assert measured_new(of_tasks(outcome.result, empty)) == {"empty": 0}


@pytest.mark.parametrize(
    ("prompts", "write"), [(250, 200 / 7.5), (499, 200 / 5.01), (500, 40), (999, 40), (1001, 40)]
)
def test_reading_takes_at_most_half_the_time_of_a_task_that_writes(
    outcome: RunOutcome, prompts: int, write: float
) -> None:
    writes = {"tokens_distinct": prompts, "tokens_most": 500, "tokens_written": 200}
    assert measured_speeds(of_tasks(outcome.result, {}, writes)).write == pytest.approx(write)
    alone = of_tasks(outcome.result, writes)
    assert measured_speeds(alone) == Speeds(None, 20.0)
    assert measured_speeds(alone, read=100.0).write == pytest.approx(write)


def test_failed_samples_are_neither_read_nor_empty_answers(outcome: RunOutcome) -> None:
    half = {"outcomes": {"ok": 5, "failed": 5}}
    assert measured_speeds(of_tasks(outcome.result, half)) == Speeds(50.0, None)
    writes = {"tokens_most": 500, "tokens_written": 200, "name": "writes"}
    assert measured_new(of_tasks(outcome.result, writes | half)) == {"writes": 40}
    none = of_tasks(outcome.result, writes | {"outcomes": {"failed": 10}})
    assert (measured_speeds(none), measured_new(none)) == (Speeds(), {})


def test_a_run_of_another_model_or_without_usage_is_said(
    ko_eval: Command, tokenizer_only: Path, outcome: RunOutcome, tmp_path: Path
) -> None:
    content = outcome.result.model_dump(mode="json")
    content["schema_version"] = "1.1"
    content["model"]["name"] = "other"
    for task in content["tasks"]:
        del task["usage"]
    earlier = tmp_path / "old.json"
    earlier.write_text(json.dumps(content), encoding="utf-8")
    done = ko_eval("plan", tokenizer_only, "--tasks", "ko_gsm8k", "--limit", 2, "--from", earlier)
    assert done.returncode == 0
    assert done.stderr.startswith("warning: --from is a run of 'other', not of '")
    assert "--from: a run of 'other'; it records no usage" in done.stdout
    assert "--from RUN" not in done.stdout


def test_a_result_of_a_later_minor_version_is_read_without_its_new_fields(
    outcome: RunOutcome, tmp_path: Path
) -> None:
    content = outcome.result.model_dump(mode="json")
    for part in (content, content["model"], content["tasks"][0]["usage"]):
        part["added_later"] = {"value": 1}
    file = tmp_path / "results.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match="no result of a run"):
        read_result(file)
    file.write_text(json.dumps(content | {"schema_version": "1.10"}), encoding="utf-8")
    later = read_result(file)
    assert later == outcome.result.model_copy(update={"schema_version": "1.10"})


@pytest.mark.parametrize("version", ["2.0", "0.9", "10.2"])
def test_a_result_of_another_major_version_is_refused_by_name(tmp_path: Path, version: str) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps({"schema_version": version, "new": []}), encoding="utf-8")
    with pytest.raises(DataError, match=rf"schema version is {version}; .* reads 1\.x"):
        read_result(file)


def test_a_result_is_read_by_directory_or_file_and_refused_when_it_is_none(
    outcome: RunOutcome, tmp_path: Path
) -> None:
    assert read_result(outcome.directory) == outcome.result
    assert read_result(outcome.directory / "results.json") == outcome.result
    (tmp_path / "results.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="no result of a run"):
        read_result(tmp_path)
