"""`ko-eval batch --on ray` with a real Ray and real models."""

from __future__ import annotations

import importlib.util
import os
import signal
from pathlib import Path

import pytest
from batch_plans import answers, copy_of, job_states, wait_until, write_plan
from command_server import CommandServer

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ko-eval[cluster]"),
]


def test_models_are_ray_tasks_that_stop_in_good_order_and_fail_alone(
    command_server: CommandServer, tiny: Path, tmp_path: Path
) -> None:
    copy_of(tiny, tmp_path / "broken", broken=True)
    models = [{"model": str(tiny), "options": {"limit": 12}}, "broken"]
    plan = write_plan(tmp_path, models, parallel=1)
    running = command_server.start(["batch", plan, "--on", "ray"], tmp_path)
    wait_until(lambda: answers(tmp_path) >= 2, 240)
    os.kill(running.process, signal.SIGINT)
    stopped = running.completed()
    assert stopped.returncode == 130, stopped.stderr
    before = answers(tmp_path)
    assert 2 <= before < 12
    assert job_states(tmp_path) == {"tiny": ("stopped", 1), "broken": ("waiting", 0)}

    again = command_server.start(["batch", plan, "--on", "ray"], tmp_path).completed()
    assert again.returncode == 1, again.stderr
    assert job_states(tmp_path) == {"tiny": ("done", 2), "broken": ("failed", 1)}
    assert "broken failed (exit code 2)" in again.stderr
    log = (tmp_path / "out" / "batch-tiny" / "tiny" / "log.txt").read_text(encoding="utf-8")
    assert f"Asked the model {12 - before} requests; {before} answered before." in log


def test_gpus_that_no_node_has_are_refused(
    command_server: CommandServer, tiny: Path, tmp_path: Path
) -> None:
    plan = write_plan(tmp_path, [{"model": str(tiny), "gpus": 1}])
    done = command_server.start(["batch", plan, "--on", "ray"], tmp_path).completed()
    assert done.returncode == 2
    assert "the largest node of the Ray cluster has 0" in done.stderr
    assert answers(tmp_path) == 0
