"""The sbatch script of an array: an element per model. See `sbatch(1)` for its lines."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ko_eval.cluster.batch_plan import SlurmSettings
from ko_eval.errors import UsageError


def array_script(
    batch: str, directory: Path, names: Sequence[str], gpus: int, settings: SlurmSettings
) -> str:
    """A script whose element N evaluates the N-th model.

    Args:
        batch: its name.
        directory: of the batch; every node must see it.
        names: of the models; checked, without a sign that a shell knows.
        gpus: of each.

    Raises:
        UsageError: Slurm cannot write to a folder of that name.
    """
    text = str(directory)
    if "%" in text or any(not letter.isprintable() for letter in text):
        raise UsageError(
            "Slurm reads '%' in the name of an output file as a pattern",
            where=text,
            hint="name an 'out' without it",
        )
    throttle = f"%{settings.at_once}" if settings.at_once else ""
    lines = [
        f"--job-name=ko-eval-{batch}",
        f"--array=0-{len(names) - 1}{throttle}",
        f"--output={_quoted(f'{text}/slurm-%A_%a.txt')}",
        "--open-mode=append",
        "--requeue",
        "--nodes=1",
        "--ntasks=1",
        # To the script alone: it stops the run, and queues itself again.
        f"--signal=B:USR1@{settings.warn_seconds}",
        *([f"--partition={settings.partition}"] if settings.partition else []),
        *([f"--time={settings.time}"] if settings.time else []),
        *([f"--cpus-per-task={settings.cpus}"] if settings.cpus else []),
        *([f"--mem={settings.memory}"] if settings.memory else []),
        *([f"--gres={settings.gres}:{gpus}"] if gpus else []),
        *settings.extra,
    ]
    head = "\n".join(f"#SBATCH {line}" for line in lines)
    runner = shlex.join([sys.executable, "-P", "-m", "ko_eval.cluster.batch_job", text])
    # exec: signals of Slurm reach the program itself.
    return (
        f"#!/bin/bash\n{head}\n\n"
        f"names=({' '.join(names)})\n"
        f'exec {runner} "${{names[$SLURM_ARRAY_TASK_ID]}}"\n'
    )


def _quoted(text: str) -> str:
    """In double quotes, as sbatch reads them in a script's lines."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
