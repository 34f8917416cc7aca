"""Runs of the nine tasks with a tiny model: how they are asked for and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ko_eval.engines.transformers_loading import LoadOptions
from ko_eval.runs.plan import RunOptions
from ko_eval.runs.result import RunResult

NINE = (
    "ko_gpqa",
    "ko_winogrande",
    "ko_gsm8k",
    "ko_eqbench",
    "ko_ifeval",
    "kornat_knowledge",
    "kornat_social_value",
    "ko_harmlessness",
    "ko_helpfulness",
)


def make_suite(folder: Path) -> Path:
    """The nine tasks with short answers, since the tiny model never stops by itself."""
    path = folder / "short.yaml"
    short = {name: {"max_tokens": 16} for name in ("ko_gsm8k", "ko_eqbench", "ko_ifeval")}
    content = {"name": "short", "tasks": list(NINE), "overrides": short}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def options(model: Path, suite: Path, out: Path, **more: Any) -> RunOptions:
    fields: dict[str, Any] = {
        "limit": 6,
        "load": LoadOptions(dtype="float32", device="cpu"),
        **more,
    }
    return RunOptions(model=str(model), suite=str(suite), out=out, **fields)


def scores(result: RunResult) -> dict[str, Any]:
    """What must not depend on when and how often a run was stopped: everything but time."""
    content = result.model_dump(mode="json")
    content["created"] = None
    for task in content["tasks"]:
        task["seconds"] = None
    return content


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Equal but for rounding: the batches of the two runs differ."""
    if isinstance(one, float):
        assert one == pytest.approx(other, abs=1e-5), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for place, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}[{place}]")
    else:
        assert one == other, where
