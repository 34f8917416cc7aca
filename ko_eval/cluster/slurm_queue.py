"""Slurm's own commands: what is queued, what its nodes have, and handing in a script.

Only `sbatch`, `squeue` and `sinfo` are used: `sacct` needs an accounting database, which many
clusters, and every test cluster, do without.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ko_eval.errors import RunError, UsageError

# "gpu:8", "gpu:a100:8(S:0-1)"; not "shard:32" nor "(null)".
_GPUS = re.compile(r"\bgpu(?::[A-Za-z_][\w.-]*+)?:([0-9]{1,6})")
_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Queued:
    """An element of an array that Slurm still knows: it waits, runs, or just ends.

    Attributes:
        state: Slurm's own word, such as `PENDING`.
        reason: why it waits.
    """

    array: int
    index: int
    state: str
    reason: str


def check_slurm() -> None:
    """Raise `UsageError` where this machine cannot hand in jobs."""
    if any(shutil.which(name) is None for name in ("sbatch", "squeue", "sinfo", "scontrol")):
        raise UsageError(
            "Slurm's commands (sbatch, squeue, sinfo, scontrol) are not on this machine",
            hint="run it on a login node of the cluster, or use --on local",
        )


def queued() -> list[Queued]:
    """The user's elements that are waiting or running.

    Raises:
        RunError: the controller does not answer.
    """
    found = []
    for line in _said("squeue", "--noheader", "--array", "--me", "--format=%F|%K|%T|%r"):
        array, index, state, reason = (line.split("|", 3) + [""] * 4)[:4]
        if array.isdecimal() and index.isdecimal():
            found.append(Queued(int(array), int(index), state, reason))
    return found


def most_gpus() -> int:
    """How many GPUs the node with most of them has.

    Raises:
        RunError: the controller does not answer.
    """
    lines = _said("sinfo", "--noheader", "--Node", "--format=%G")
    return max((sum(map(int, _GPUS.findall(line))) for line in lines), default=0)


def partitions() -> list[str]:
    """Names of all partitions.

    Raises:
        RunError: the controller does not answer.
    """
    return _said("sinfo", "--noheader", "--format=%R")


def submit(script: Path) -> int:
    """Hands in an array and returns its id.

    Raises:
        UsageError: Slurm does not take it.
        RunError: the controller does not answer.
    """
    said = _sbatch("--parsable", str(script))
    return int(said.split(";")[0])


def check_script(script: Path) -> None:
    """Raise `UsageError` for a script that Slurm would not take; nothing is queued.

    Raises:
        RunError: the controller does not answer.
    """
    _sbatch("--test-only", str(script))


def _sbatch(*arguments: str) -> str:
    done = _ended("sbatch", *arguments)
    if done.returncode:
        problem = done.stderr.strip().splitlines()
        said = problem[-1].removeprefix("allocation failure: ") if problem else "no reason given"
        raise UsageError(
            f"Slurm does not take the job: {said[:300]}",
            where=arguments[-1],
            hint="change the plan's field 'slurm' (partition, time, cpus, memory, gres, extra)",
        )
    return done.stdout.strip()


def _said(*command: str) -> list[str]:
    done = _ended(*command)
    if done.returncode:
        raise _no_answer(command[0], done.stderr)
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def _ended(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _no_answer(command[0], str(error)) from error


def _no_answer(command: str, problem: str) -> RunError:
    said = problem.strip().splitlines() or ["no reason given"]
    return RunError(
        f"Slurm's controller does not answer: {said[0][:200]}",
        where=command,
        hint="`scontrol ping` tells whether it runs; jobs that were queued go on",
    )
