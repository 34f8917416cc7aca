"""Batch plans: what is wrong with one is said before anything starts, field by field."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ko_eval.cli import run_command
from ko_eval.cli.run_words import RunWords
from ko_eval.cluster import slurm_queue
from ko_eval.cluster.batch_check import Where
from ko_eval.cluster.batch_driver import BatchOptions, check_batch
from ko_eval.cluster.batch_plan import SlurmSettings, read_plan
from ko_eval.cluster.batch_record import Job, JobRecord, is_done, last_lines, take
from ko_eval.cluster.slurm_script import array_script
from ko_eval.errors import KoEvalError, RunError, UsageError
from ko_eval.resources import shipped
from ko_eval.runs.holding import held

Check = Callable[..., list[Job]]


@pytest.fixture
def plan(tiny: Path) -> dict[str, Any]:
    """A plan without fault."""
    return {
        "name": "small",
        "models": [str(tiny)],
        "tasks": ["ko_gpqa"],
        "defaults": {"options": {"limit": 2, "device": "cpu"}},
    }


@pytest.fixture
def checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Checks a plan in an empty folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "plan.yaml"

    def check(plan: dict[str, Any], on: Where = "local") -> list[Job]:
        path.write_text(yaml.safe_dump(plan), encoding="utf-8")
        return check_batch(BatchOptions(Path("plan.yaml"), on), RunWords(), lambda text: None)

    return check


def test_a_job_holds_the_command_that_a_user_would_type(
    plan: dict[str, Any], checked: Check, tiny: Path, tmp_path: Path
) -> None:
    plan["suites"] = ["leaderboard2"]
    plan["models"] = [
        {"model": str(tiny), "options": {"batch-rows": 2, "allow_pickle": True, "limit": 3}}
    ]
    (job,) = checked(plan)
    out = str(tmp_path / "results")
    common = f"--allow-pickle --batch-rows=2 --device=cpu --limit=3 --out {shlex.quote(out)}"
    assert [shlex.join(command) for command in job.commands] == [
        f"run {tiny} --suite leaderboard2 {common}",
        f"run {tiny} --tasks ko_gpqa {common}",
    ]
    assert (job.name, job.gpus) == (tiny.name, 0)


def test_relative_paths_are_taken_from_where_the_command_is_started(
    plan: dict[str, Any], checked: Check, tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "linked").symlink_to(tiny)
    (tmp_path / "mine.yaml").write_bytes(shipped("tasks", "ko_gpqa.yaml").read_bytes())
    plan.update(models=["linked"], tasks=["mine.yaml"], out="here/there")
    (command,) = checked(plan)[0].commands
    assert command[:4] == ["run", str(tiny), "--tasks", str(tmp_path / "mine.yaml")]
    assert command[-1] == str(tmp_path / "here" / "there")


def test_folders_called_like_a_suite_and_a_task_change_neither(
    plan: dict[str, Any], checked: Check, tmp_path: Path
) -> None:
    for name in ("leaderboard2", "ko_gpqa"):
        (tmp_path / name).mkdir()
    first, second = checked({**plan, "suites": ["leaderboard2"]})[0].commands
    assert first[2:4] == ["--suite", "leaderboard2"]
    assert second[2:4] == ["--tasks", "ko_gpqa"]


def test_a_plan_that_is_not_there_is_said_to_be_not_there(tmp_path: Path) -> None:
    with pytest.raises(KoEvalError, match="the batch plan is not there"):
        read_plan(tmp_path / "plan.yaml")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"suites": ["leaderbord2"]}, "unknown suite 'leaderbord2'.*did you mean 'leaderboard2'"),
        ({"tasks": ["ko_gqpa"]}, "unknown task 'ko_gqpa'.*did you mean 'ko_gpqa'"),
        ({"tasks": []}, "name at least one suite"),
        ({"models": []}, "field 'models'"),
        ({"models": ["no/such/folder"]}, r"field 'models.0' \(no/such/folder\)"),
        ({"data": "nowhere"}, "nowhere"),
        ({"modles": []}, "unknown field 'modles'.*did you mean 'models'"),
        ({"defaults": {"optoins": {}}}, "unknown field 'defaults.optoins'.*'options'"),
        ({"slurm": {"time": 480}}, "field 'slurm.time'|write it in quotes"),
        ({"slurm": {"extra": ["--account=x\n#SBATCH --uid=0"]}}, "field 'slurm.extra.0'"),
        ({"slurm": {"extra": ["--account=$(id)"]}}, "must be one option of sbatch"),
        ({"slurm": {"extra": ["--wrap=id"]}}, "set by ko-eval"),
        ({"name": "../up"}, "field 'name'"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_what_is_wrong_with_a_plan_is_told_with_its_field(
    plan: dict[str, Any], checked: Check, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    with pytest.raises(KoEvalError) as caught:
        checked({**plan, **change})
    assert_matches(told, str(caught.value))
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"options": {"lmit": 2}}, "no option 'lmit'.*did you mean 'limit'"),
        ({"options": {"limit": "many"}}, "would refuse.*--limit"),
        ({"options": {"limit": 0}}, "would refuse.*--limit"),
        ({"options": {"limit": [1, 2]}}, "takes one value, not a list"),
        ({"options": {"allow_pickle": "yes"}}, "is true or false"),
        ({"options": {"suite": "leaderboard2"}}, "the plan has the field 'suites'"),
        ({"options": {"engine": "vlm"}}, "--engine cannot be 'vlm'.*did you mean 'vllm'"),
        ({"options": {"dtype": "float8"}}, "unknown dtype 'float8'"),
        ({"options": {"tensor_parallel": 4, "device": "auto"}, "gpus": 2}, "use 4 GPUs.*is 2"),
        ({"gpus": 1000}, "1000 GPUs are asked for, but this machine has"),
        ({"slurm": {"tme": "10"}}, "models.0.slurm: tme"),
        ({"gpu": 1}, "unknown field 'models.0.gpu'.*did you mean 'gpus'"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_what_is_wrong_with_a_model_is_told_before_anything_starts(
    plan: dict[str, Any], checked: Check, tiny: Path, entry: dict[str, Any], told: str
) -> None:
    plan["models"] = [{"model": str(tiny), **entry}]
    with pytest.raises(KoEvalError) as caught:
        checked(plan)
    assert_matches(told, str(caught.value))


def test_all_models_that_are_wrong_are_counted(
    plan: dict[str, Any], checked: Check, tiny: Path
) -> None:
    plan["models"] = ["gone/a/b", str(tiny), "gone/c/d"]
    with pytest.raises(UsageError) as caught:
        checked(plan)
    assert "(and 1 more models: models.2)" in caught.value.what
    assert "models.0" in str(caught.value.where)


def test_two_models_of_one_name_or_twice_the_same_are_refused(
    plan: dict[str, Any], checked: Check, tiny: Path
) -> None:
    plan["models"] = [str(tiny), {"model": str(tiny), "options": {"limit": 1}}]
    with pytest.raises(UsageError, match=f"both named '{tiny.name}'"):
        checked(plan)
    plan["models"][1] = {"model": str(tiny), "name": "another"}
    with pytest.raises(UsageError, match="the same model with the same options"):
        checked(plan)


def test_an_output_that_cannot_be_written_is_refused(
    plan: dict[str, Any], checked: Check, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="cannot be written") as caught:
        checked({**plan, "out": "file/results"})
    assert "field 'out' (file/results)" in str(caught.value.where)


def test_another_limit_another_task_text_or_other_weights_make_another_key(
    plan: dict[str, Any], checked: Check, tiny: Path, tmp_path: Path
) -> None:
    task = tmp_path / "mine.yaml"
    text = shipped("tasks", "ko_gpqa.yaml").read_text(encoding="utf-8")
    task.write_text(text, encoding="utf-8")
    plan["tasks"] = ["mine.yaml"]
    keys = [checked(plan)[0].key, checked(plan)[0].key]
    plan["defaults"]["options"]["limit"] = 1
    keys.append(checked(plan)[0].key)
    task.write_text(text.replace("prompt: ", "stop: [x]\nprompt: ", 1), encoding="utf-8")
    keys.append(checked(plan)[0].key)
    (tiny / "README.md").write_text("a file more")
    keys.append(checked(plan)[0].key)
    (tiny / "README.md").unlink()
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4


def test_the_command_line_shows_what_it_would_run_and_starts_nothing(
    plan: dict[str, Any], tiny: Path, tmp_path: Path, ko_eval: Any
) -> None:
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan), encoding="utf-8")
    done = ko_eval("batch", "plan.yaml", "--check")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"ko-eval run {tiny} --tasks ko_gpqa")
    assert list((tmp_path / "results").iterdir()) == []


def test_a_model_that_the_hub_cannot_give_is_told_before_anything_starts(
    plan: dict[str, Any], tmp_path: Path, ko_eval: Any
) -> None:
    content = {**plan, "models": [*plan["models"], "owner/no-such-model"]}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    done = ko_eval("batch", "plan.yaml")
    assert done.returncode == 2
    assert "plan.yaml, field 'models.1' (owner/no-such-model)" in done.stderr
    assert not (tmp_path / "results").exists()


def test_slurm_is_missed_before_models_are_looked_at(
    plan: dict[str, Any], checked: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="not on this machine"):
        checked({**plan, "models": ["no/such/folder"]}, "slurm")


def test_a_slurm_that_does_not_answer_is_told_and_no_defect_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = tmp_path / "sbatch"
    busy.write_text("#!/bin/sh\nexec sleep 60\n")
    busy.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(slurm_queue, "_TIMEOUT", 0.2)
    with pytest.raises(RunError, match="does not answer"):
        slurm_queue.submit(tmp_path / "script.sh")


def test_every_option_of_run_is_known_or_has_a_field_of_its_own() -> None:
    known = set(run_command.run.__annotations__) - {"return", "context"}
    elsewhere = {"model", "revision", "suite", "tasks", "data", "out", "debug"}
    words = RunWords()
    for name in known - elsewhere:
        with pytest.raises(UsageError, match=r"takes|true or false"):
            words.words({name: None})
    for name in elsewhere - {"debug"}:
        with pytest.raises(UsageError, match="the plan has the field"):
            words.words({name: "x"})


def test_the_plans_that_are_shipped_can_be_read() -> None:
    paths = sorted(shipped("configs", "batch").glob("*.yaml"))
    assert paths
    for path in paths:
        assert read_plan(path).models


def test_the_script_of_an_array_asks_for_what_the_plan_says() -> None:
    settings = SlurmSettings(
        partition="gpu", time="1-00:00:00", cpus=8, memory="64G", gres="gpu:a100", at_once=3
    )
    folder = Path('/a folder/with "quotes"')
    lines = array_script("b", folder, ["x", "y.1"], 2, settings).splitlines()
    assert [line for line in lines if "array" in line or "gres" in line or "output" in line] == [
        "#SBATCH --array=0-1%3",
        '#SBATCH --output="/a folder/with \\"quotes\\"/slurm-%A_%a.txt"',
        "#SBATCH --gres=gpu:a100:2",
    ]
    assert "#SBATCH --signal=B:USR1@120" in lines
    assert "names=(x y.1)" in lines
    assert shlex.split(lines[-1])[-2:] == [str(folder), "${names[$SLURM_ARRAY_TASK_ID]}"]


def test_a_folder_that_slurm_would_read_as_a_pattern_is_refused() -> None:
    with pytest.raises(UsageError, match="'%'"):
        array_script("b", Path("/tmp/50%"), ["x"], 0, SlurmSettings())


def test_a_model_is_done_when_the_results_of_exactly_this_are_there(tmp_path: Path) -> None:
    job = Job(name="m", model="m", gpus=0, key="now", commands=[["run", "m"]])
    run = tmp_path / "run"
    run.mkdir()
    (run / "results.json").write_text("{}")
    done = JobRecord(name="m", key="now", state="done", results=[str(run)])
    assert is_done(done, job)
    assert not is_done(None, job)
    changes: list[dict[str, Any]] = [{"state": "failed"}, {"key": "before"}, {"results": []}]
    assert not any(is_done(done.model_copy(update=change), job) for change in changes)
    (run / "results.json").unlink()
    assert not is_done(done, job)


def test_a_model_that_another_process_is_at_is_left_to_it(tmp_path: Path) -> None:
    jobs = [Job(name=n, model=n, gpus=0, key="k", commands=[["run", n]]) for n in ("a", "b")]
    told: list[str] = []
    with held(tmp_path / "a"):
        assert take(tmp_path, jobs, told.append) == jobs[1:]
        with pytest.raises(RunError, match="another process"):
            take(tmp_path, jobs[:1], told.append)
    assert told[0].startswith("a: left alone: another process")
    assert take(tmp_path, jobs, told.append) == jobs


def test_the_end_of_a_log_is_its_last_error_or_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    assert last_lines(log) == []
    log.write_text("error: old\n" + "noise\n" * 9 + "10%\r\x1b[31m20%\x1b[0m\n")
    assert last_lines(log)[0] == "error: old"
    assert last_lines(log, start=11) == ["noise"] * 3 + ["10%", "20%"]
    log.write_bytes(b"\xff" * 50_000 + b"\nerror: new\n  where: there\n")
    assert last_lines(log) == ["error: new", "  where: there"]


def assert_matches(pattern: str, text: str) -> None:
    import re

    assert re.search(pattern, text, re.DOTALL), text
