"""Where errors and signals become messages and exit codes: single moments of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ko_eval.cli.boundary import boundary


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    """The handler of SIGTERM is as it was, whatever a test does."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.05)


def test_a_pipe_that_breaks_elsewhere_is_no_reader_that_left() -> None:
    with pytest.raises(BrokenPipeError), boundary(debug=False):
        raise BrokenPipeError


def test_a_command_that_was_started_to_ignore_sigterm_still_does() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    went_on = False
    with boundary(debug=False):
        terminate()
        went_on = True
    assert went_on


def test_the_command_to_go_on_holds_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hidden-from-logs")
    words = ["ko-eval", "run", "m", "--engine-arg", "hf_token=hidden-from-logs"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended, boundary(debug=False, resumable=True):
        terminate()
    assert ended.value.code == 143
    assert "ko-eval run m --engine-arg 'hf_token=***'" in capsys.readouterr().err


def test_output_without_room_is_told_in_two_lines() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ko_eval.cli.main", "list"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "no space left" in done.stderr.lower()
    assert len(done.stderr.splitlines()) <= 3
