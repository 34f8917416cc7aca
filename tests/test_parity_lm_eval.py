"""The script that compares us with lm-evaluation-harness: it finds differences, and finds none."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from parity_lm_eval import Comparison

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


@pytest.fixture
def comparison(monkeypatch: pytest.MonkeyPatch) -> Comparison:
    """Two items on which both sides agree."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from lm_eval_reference import Judged
    from parity_lm_eval import Comparison, Setup

    judged = Judged(
        loglikelihoods={"a": [-1.0, -2.0], "b": [-900.0, -3.0]},
        right={"acc": {"a": 1.0, "b": 0.0}},
        metrics={"acc": (0.5, 0.5)},
    )
    return Comparison("task", Setup(tasks=("task",)), judged, judged, {})


def test_equal_sides_have_no_differences(comparison: Comparison) -> None:
    assert comparison.differences() == []


def test_a_shifted_loglikelihood_is_a_difference(comparison: Comparison) -> None:
    shifted = {**comparison.theirs.loglikelihoods, "b": [-900.0, -3.0002]}
    theirs = dataclasses.replace(comparison.theirs, loglikelihoods=shifted)
    (found,) = dataclasses.replace(comparison, theirs=theirs).differences()
    assert found == "log-likelihoods of 1 items, first 'b', by up to 0.0002"


@pytest.mark.parametrize("settled", [-900.0, -900.00005])
def test_what_agrees_when_asked_again_in_float64_is_equal(
    comparison: Comparison, settled: float
) -> None:
    rounded = {**comparison.theirs.loglikelihoods, "b": [-900.00012, -3.0]}
    theirs = dataclasses.replace(comparison.theirs, loglikelihoods=rounded)
    once = dataclasses.replace(comparison, theirs=theirs)
    assert once.differences()
    assert not dataclasses.replace(once, again={"b": [settled, -3.0]}).differences()


@pytest.mark.parametrize("theirs", [{"a": [-1.0, -2.0]}, {"a": [-1.0, -2.0], "b": [-900.0]}])
def test_a_missing_item_or_choice_is_a_difference(
    comparison: Comparison, theirs: dict[str, list[float]]
) -> None:
    fewer = dataclasses.replace(comparison.theirs, loglikelihoods=theirs)
    assert "inf" in dataclasses.replace(comparison, theirs=fewer).differences()[0]


def test_not_a_number_is_a_difference(comparison: Comparison) -> None:
    broken = {**comparison.theirs.loglikelihoods, "a": [float("nan"), -2.0]}
    theirs = dataclasses.replace(comparison.theirs, loglikelihoods=broken)
    assert dataclasses.replace(comparison, theirs=theirs).differences()


def test_verdicts_values_and_standard_errors_are_compared(comparison: Comparison) -> None:
    theirs = dataclasses.replace(
        comparison.theirs,
        right={"acc": {"a": 0.0, "b": 1.0}},
        metrics={"acc": (0.5, 0.5 + 1e-9)},
    )
    verdicts, stderr = dataclasses.replace(comparison, theirs=theirs).differences()
    assert verdicts == "acc of 2 items, first 'a'"
    assert stderr.startswith("stderr of acc")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed")
def test_bundled_tasks_are_judged_as_by_the_reference(tmp_path: Path) -> None:
    # A process of its own: lm-eval seeds all generators and sets up logging.
    finished = subprocess.run(
        [sys.executable, SCRIPTS / "parity_lm_eval.py", "--limit", "3"],
        env={**os.environ, "KO_EVAL_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr[-2000:]
    assert "skipped the public tasks" in finished.stdout
    assert finished.stdout.endswith("all equal\n")
