"""`ko-eval batch --on slurm` with a real Slurm of two nodes on this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from batch_plans import answers, copy_of, job_states, wait_until, write_plan
from command_server import CommandServer, Running

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(
        shutil.which("slurmctld") is None or os.geteuid() != 0,
        reason="needs Slurm and root: apt-get install slurm-wlm munge",
    ),
]

HERE = Path(__file__).parents[1] / "scripts" / "slurm_here.sh"
SETTINGS = {"partition": "here", "time": "30", "cpus": 1}


class Slurm:
    """The cluster of the tests."""

    def __init__(self, folder: Path, server: CommandServer) -> None:
        self.variables = {"SLURM_CONF": str(folder / "slurm.conf")}
        self.server = server

    def said(self, *command: str) -> str:
        environment = {**os.environ, **self.variables}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    def elements(self) -> dict[int, str]:
        """By index, the states of all elements that are queued or running."""
        lines = self.said("squeue", "--noheader", "--array", "--format=%K %T").splitlines()
        return {int(index): state for index, state in map(str.split, lines)}

    def job(self, index: int) -> str:
        """The id of an element that is running."""
        lines = self.said("squeue", "--noheader", "--array", "--format=%K %A").splitlines()
        return next(job for number, job in map(str.split, lines) if int(number) == index)

    def tell_script(self, signal: str, job: str) -> None:
        """What Slurm does before the time limit: it sends a signal to the script alone.

        scancel can be told "try again later" although the signal has arrived. It sends it again
        for a minute then, also to the script that was started anew: so it is ended before that.
        """
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(
                ["scancel", "--batch", f"--signal={signal}", job],
                env={**os.environ, **self.variables},
                timeout=3,
                check=True,
            )

    def batch(self, folder: Path, *words: object) -> Running:
        return self.server.start(
            ["batch", "plan.yaml", "--on", "slurm", *words],
            folder,
            SLURM_CONF=self.variables["SLURM_CONF"],
        )


@pytest.fixture(scope="module")
def slurm(command_server: CommandServer) -> Iterator[Slurm]:
    # Not under pytest's own folder: a socket's path may have a hundred letters.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    subprocess.run([HERE, "start", folder], check=True)
    try:
        yield Slurm(folder, command_server)
    finally:
        subprocess.run([HERE, "stop", folder], check=True)
        shutil.rmtree(folder)


def test_five_of_six_models_complete_although_one_is_broken_and_two_are_sent_back(
    slurm: Slurm, tiny: Path, tmp_path: Path
) -> None:
    for name in ("a", "b", "c", "preempted", "timed-out"):
        copy_of(tiny, tmp_path / name)
    copy_of(tiny, tmp_path / "broken", broken=True)
    long = {"limit": 60}
    models = [
        *({"model": name, "options": long} for name in ("preempted", "timed-out")),
        *("broken", "a", "b", "c"),
    ]
    write_plan(tmp_path, models, slurm=SETTINGS)

    queued = slurm.batch(tmp_path, "--no-wait").completed()
    assert queued.returncode == 0, queued.stderr
    assert "scancel" in queued.stderr
    waiting = slurm.batch(tmp_path)

    wait_until(
        lambda: min(answers(tmp_path, name) for name in ("preempted", "timed-out")) >= 2, 240
    )
    slurm.said("scontrol", "requeue", slurm.job(0))
    slurm.tell_script("USR1", slurm.job(1))

    done = waiting.completed()
    assert done.returncode == 1, done.stderr
    assert "still in Slurm's queue, not submitted again" in done.stderr
    assert "broken failed (exit code 2)" in done.stderr
    assert "1 of 6 models are not done" in done.stderr
    assert job_states(tmp_path) == {
        **dict.fromkeys("abc", ("done", 1)),
        **dict.fromkeys(("preempted", "timed-out"), ("done", 2)),
        "broken": ("failed", 1),
    }
    for name in ("preempted", "timed-out"):
        log = (tmp_path / "out" / "batch-tiny" / name / "log.txt").read_text(encoding="utf-8")
        asked, before = map(
            int, re.findall(r"Asked the model (\d+) requests; (\d+) answered", log)[-1]
        )
        assert asked + before == 60
        assert 2 <= before < 60

    again = slurm.batch(tmp_path).completed()
    assert again.returncode == 1
    assert "6 models, 5 of them done before" in again.stderr
    assert job_states(tmp_path)["broken"] == ("failed", 2)
    assert {attempts for state, attempts in job_states(tmp_path).values() if state == "done"} == {
        1,
        2,
    }
    scripts = sorted((tmp_path / "out" / "batch-tiny").glob("*.sh"))
    assert "names=(broken)\n" in scripts[-1].read_text(encoding="utf-8")


def test_a_job_that_is_held_is_told_and_one_that_is_gone_is_reported(
    slurm: Slurm, tiny: Path, tmp_path: Path
) -> None:
    write_plan(tmp_path, [str(tiny)], slurm={**SETTINGS, "extra": ["--hold"]})
    waiting = slurm.batch(tmp_path)
    wait_until(lambda: slurm.elements() == {0: "PENDING"}, 60)
    wait_until(lambda: "holds job" in waiting.streams[1].read_text(encoding="utf-8"), 60)
    slurm.said("scancel", "--state=PENDING", "--user=root")
    gone = waiting.completed()
    assert gone.returncode == 1
    assert "gone without a word" in gone.stderr
    assert job_states(tmp_path) == {tiny.name: ("failed", 0)}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"partition": "hree"}, "no partition 'hree'"),
        ({"cpus": 64}, "Slurm does not take the job"),
        ({"extra": ["--nodelist=nowhere"]}, "Slurm does not take the job"),
    ],
)
def test_what_slurm_would_refuse_is_told_before_anything_is_queued(
    slurm: Slurm, tiny: Path, tmp_path: Path, settings: dict[str, object], told: str
) -> None:
    write_plan(tmp_path, [str(tiny)], slurm={**SETTINGS, **settings})
    done = slurm.batch(tmp_path).completed()
    assert done.returncode == 2
    assert told in done.stderr
    assert slurm.elements() == {}


def test_gpus_that_no_node_has_are_refused(slurm: Slurm, tiny: Path, tmp_path: Path) -> None:
    write_plan(tmp_path, [{"model": str(tiny), "gpus": 1}], slurm=SETTINGS)
    done = slurm.batch(tmp_path).completed()
    assert done.returncode == 2
    assert "1 GPUs are asked for, but the largest node has 0" in done.stderr
