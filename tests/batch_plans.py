"""Plans of tiny models for tests that really run them, and what they left."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

# Answers of a second or so each, since the tiny model never stops by itself.
SLOW_SUITE = {
    "name": "slow",
    "tasks": ["ko_gsm8k"],
    "overrides": {"ko_gsm8k": {"max_tokens": 150}},
}


def write_plan(folder: Path, models: Sequence[Any], **fields: Any) -> Path:
    """A plan with a suite whose answers take a while, two of them unless a model says more."""
    (folder / "slow.yaml").write_text(yaml.safe_dump(SLOW_SUITE), encoding="utf-8")
    options = {"limit": 2, "dtype": "float32", "device": "cpu", "batch_rows": 1}
    content = {
        "name": "tiny",
        "models": list(models),
        "suites": ["slow.yaml"],
        "out": "out",
        "defaults": {"options": options},
        **fields,
    }
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def copy_of(model: Path, to: Path, *, broken: bool = False) -> Path:
    """A model of its own; broken: its weights do not have the shape that it says."""
    shutil.copytree(model, to)
    if broken:
        config = json.loads((to / "config.json").read_text(encoding="utf-8"))
        config["intermediate_size"] *= 2
        (to / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return to


def job_states(folder: Path) -> dict[str, tuple[str, int]]:
    """By name, the state of each model of the batch and how often it was begun."""
    records = (json.loads(p.read_bytes()) for p in (folder / "out").glob("batch-tiny/*/job.json"))
    return {record["name"]: (record["state"], record["attempts"]) for record in records}


def answers(folder: Path, model: str = "*") -> int:
    """How many answers are on disk."""
    paths = (folder / "out").glob(f"{model}/*/responses/*.jsonl")
    return sum(path.read_bytes().count(b"\n") for path in paths)


def wait_until(is_so: Callable[[], bool], seconds: float) -> None:
    """Waits for something to become so; fails after the given time."""
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, "it did not become so in time"
        time.sleep(0.05)
