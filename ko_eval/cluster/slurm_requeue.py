"""What a Slurm job does for itself: before its time limit it goes back into the queue."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from ko_eval.cluster.batch_record import JobRecord, write_job

# Slurm ends the script within its KillWait; a script that left earlier would count as finished.
_UNTIL_SLURM_ENDS_IT = 120.0


def element() -> str | None:
    """The id of the Slurm job that this process belongs to; None outside Slurm."""
    return os.environ.get("SLURM_JOB_ID")


def requeue(directory: Path, record: JobRecord, most: int) -> int:
    """Puts this job back into the queue, and waits until Slurm ends it.

    Args:
        record: the stopped model's; it fails where the job cannot go on.
        most: how often a job may come back.

    Returns:
        The exit code, where Slurm does not end this process.
    """
    job = element()
    restarts = os.environ.get("SLURM_RESTART_COUNT", "0")
    if job is None:
        return 128 + signal.SIGTERM
    if restarts.isdecimal() and int(restarts) >= most:
        why = f"its time limit ended it, after {restarts} times back in the queue"
        return _failed(directory, record, why)
    try:
        done = subprocess.run(
            ["scontrol", "requeue", job], capture_output=True, text=True, timeout=60, check=False
        )
        problem = done.stderr.strip() if done.returncode else None
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    if problem is not None:
        return _failed(directory, record, f"`scontrol requeue {job}` failed: {problem[:200]}")
    time.sleep(_UNTIL_SLURM_ENDS_IT)
    return 128 + signal.SIGTERM


def _failed(directory: Path, record: JobRecord, problem: str) -> int:
    error = [f"error: {problem}", "  to do: give it more time (slurm: time), and run it again"]
    write_job(directory, record.model_copy(update={"state": "failed", "error": error}))
    sys.stderr.write("\n".join(error) + "\n")
    return 1
