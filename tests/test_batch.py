"""`ko-eval batch` on this machine, with real models in real processes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from batch_plans import answers, copy_of, job_states, wait_until, write_plan
from command_server import CommandServer
from safetensors.torch import load_file, save_file

pytestmark = pytest.mark.slow


def seen_gpus(folder: Path, name: str) -> str:
    record = json.loads((folder / "out" / "batch-tiny" / name / "job.json").read_bytes())
    gpus: str = record["environment"]["CUDA_VISIBLE_DEVICES"]
    return gpus


def test_a_broken_model_stops_no_other_and_alone_is_tried_again(
    command_server: CommandServer, tiny: Path, tmp_path: Path
) -> None:
    broken = copy_of(tiny, tmp_path / "broken", broken=True)
    # The GPUs are only names here: both models compute on the CPU.
    plan = write_plan(tmp_path, [{"model": str(path), "gpus": 1} for path in (broken, tiny)])
    gpus = "4,GPU-7"

    first = command_server.start(["batch", plan], tmp_path, CUDA_VISIBLE_DEVICES=gpus).completed()
    assert first.returncode == 1, first.stderr
    assert job_states(tmp_path) == {"broken": ("failed", 1), "tiny": ("done", 1)}
    assert "1 of 2 models are not done" in first.stderr
    assert "the model cannot be loaded" in first.stderr
    assert "Traceback" not in first.stderr

    assert {seen_gpus(tmp_path, name) for name in ("broken", "tiny")} == {"4", "GPU-7"}

    second = command_server.start(["batch", plan], tmp_path, CUDA_VISIBLE_DEVICES=gpus).completed()
    assert second.returncode == 1
    assert job_states(tmp_path) == {"broken": ("failed", 2), "tiny": ("done", 1)}
    assert "2 models, 1 of them done before" in second.stderr

    (broken / "config.json").write_bytes((tiny / "config.json").read_bytes())
    third = command_server.start(["batch", plan], tmp_path, CUDA_VISIBLE_DEVICES=gpus).completed()
    assert third.returncode == 0, third.stderr
    assert job_states(tmp_path) == {"broken": ("done", 1), "tiny": ("done", 1)}


def test_samples_that_fail_leave_no_other_suite_out(
    command_server: CommandServer, tiny: Path, tmp_path: Path
) -> None:
    numb = copy_of(tiny, tmp_path / "numb")
    tensors = load_file(numb / "model.safetensors")
    tensors["lm_head.weight"][:] = float("nan")
    save_file(tensors, numb / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "first.yaml").write_text("name: first\ntasks: [ko_gpqa]\n")
    plan = write_plan(tmp_path, ["numb"], suites=["first.yaml"], tasks=["ko_winogrande"])
    done = command_server.start(["batch", plan], tmp_path).completed()
    assert done.returncode == 1
    assert job_states(tmp_path) == {"numb": ("failed", 1)}
    assert "numb failed (exit code 1)" in done.stderr
    assert "2 samples failed; run the same command again" in done.stderr
    results = {path.parent.name for path in (tmp_path / "out" / "numb").glob("*/results.json")}
    assert {name.split("-")[0] for name in results} == {"first", "ko_winogrande"}


def test_a_folder_called_like_a_secret_does_not_hide_that_a_model_is_done(
    command_server: CommandServer, tiny: Path, tmp_path: Path
) -> None:
    plan = write_plan(tmp_path, [str(tiny)], suites=[], tasks=["ko_gpqa"], out="postgres")
    for told in ("1 models, 0 of them done before", "1 models, 1 of them done before"):
        done = command_server.start(["batch", plan], tmp_path, DB_PASSWORD="postgres").completed()
        assert done.returncode == 0, done.stderr
        assert told in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_batch_that_is_told_to_stop_ends_its_models_in_good_order_and_goes_on(
    command_server: CommandServer, tiny: Path, tmp_path: Path, number: int, code: int
) -> None:
    plan = write_plan(tmp_path, [{"model": str(tiny), "options": {"limit": 12}}])
    running = command_server.start(["batch", plan], tmp_path)
    wait_until(lambda: answers(tmp_path) >= 2, 120)
    os.kill(running.process, number)
    stopped = running.completed()
    assert stopped.returncode == code
    assert "to go on: ko-eval batch" in stopped.stderr
    before = answers(tmp_path)
    assert 2 <= before < 12
    assert job_states(tmp_path) == {"tiny": ("stopped", 1)}
    log = tmp_path / "out" / "batch-tiny" / "tiny" / "log.txt"
    assert "every finished response is kept" in log.read_text(encoding="utf-8")
    record = json.loads(log.with_name("job.json").read_bytes())
    for process in (record["process"], int(record["run_processes"][-1].split(":")[-1])):
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)

    again = command_server.start(["batch", plan], tmp_path).completed()
    assert again.returncode == 0, again.stderr
    assert answers(tmp_path) == 12
    assert f"{before} answered before" in log.read_text(encoding="utf-8")


def test_a_model_whose_process_is_killed_is_reported_and_resumed(
    command_server: CommandServer, tiny: Path, tmp_path: Path
) -> None:
    plan = write_plan(tmp_path, [{"model": str(tiny), "options": {"limit": 8}}])
    running = command_server.start(["batch", plan], tmp_path)
    wait_until(lambda: answers(tmp_path) >= 1, 120)
    path = tmp_path / "out" / "batch-tiny" / "tiny" / "job.json"
    os.kill(int(json.loads(path.read_bytes())["run_processes"][-1].split(":")[-1]), signal.SIGKILL)
    killed = running.completed()
    assert killed.returncode == 1
    assert json.loads(path.read_bytes())["exit_code"] == 137
    assert "it was killed" in killed.stderr
    again = command_server.start(["batch", plan], tmp_path).completed()
    assert again.returncode == 0, again.stderr
    assert job_states(tmp_path) == {"tiny": ("done", 2)}
