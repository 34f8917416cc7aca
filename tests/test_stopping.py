"""A run that is told to stop: what is in hand is kept, and the code and the words say how to go on.

The first half signals real commands; the second half looks at single moments of `stopping`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from command_server import CommandServer, Running
from safetensors.torch import load_file, save_file

from ko_eval.errors import ModelError, Stopped
from ko_eval.runs import stopping as module
from ko_eval.runs.state import RunState, read_state
from ko_eval.runs.stopping import GRACE_SECONDS, stopping, while_loading

CODES = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
# Beyond the grace: cleaning up, on a busy machine.
SLACK = 3.0


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All kinds of tasks, with short answers."""
    path = tmp_path_factory.mktemp("suite") / "short.yaml"
    names = ["ko_gsm8k", "ko_eqbench", "ko_ifeval"]
    tasks = [*names, "ko_gpqa", "ko_winogrande", "kornat_social_value"]
    overrides = {name: {"max_tokens": 8} for name in names}
    content = {"name": "short", "tasks": tasks, "overrides": overrides}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite whose answers take half a minute with a model that never stops by itself."""
    path = tmp_path_factory.mktemp("suite") / "endless.yaml"
    content = {
        "name": "endless",
        "tasks": ["ko_gsm8k"],
        "overrides": {"ko_gsm8k": {"max_tokens": 1900, "stop": []}},
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite of which two answers come every second or so, never sooner than a quarter of it."""
    path = tmp_path_factory.mktemp("suite") / "slow.yaml"
    content = {
        "name": "slow",
        "tasks": ["ko_gsm8k"],
        "overrides": {"ko_gsm8k": {"max_tokens": 600, "stop": []}},
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tireless(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model without its wish to end."""
    folder = tmp_path_factory.mktemp("tireless") / "tireless"
    shutil.copytree(tiny, folder)
    weights = load_file(folder / "model.safetensors")
    end = json.loads((folder / "config.json").read_text(encoding="utf-8"))["eos_token_id"]
    weights["lm_head.weight"][end] = 0
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


class Command:
    """`ko-eval run`, and what it has written so far."""

    def __init__(self, server: CommandServer, model: Path, folder: Path) -> None:
        self.server = server
        self.folder = folder
        # A command that is shown must be quoted.
        self.out = folder / "my runs; rm *"
        self.words = ["run", str(model), "--dtype", "float32", "--device", "cpu"]
        self.words += ["--out", str(self.out)]

    def start(self, *more: object) -> Running:
        self.words += map(str, more)
        return self.server.start(self.words, self.folder)

    def again(self) -> Running:
        return self.server.start(self.words, self.folder)

    @property
    def state(self) -> RunState | None:
        for path in self.out.rglob("run.json"):
            return read_state(path.parent)
        return None

    @property
    def lines(self) -> int:
        return sum(path.read_bytes().count(b"\n") for path in self.out.rglob("responses/*.jsonl"))

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.001)

    def said(self) -> str:
        return self.server.commands[-1].streams[1].read_text(encoding="utf-8")

    def is_in(self, state: str) -> bool:
        found = self.state
        return found is not None and found.state == state


@pytest.fixture
def long_command(command_server: CommandServer, tireless: Path, tmp_path: Path) -> Command:
    return Command(command_server, tireless, tmp_path)


@pytest.fixture
def command(command_server: CommandServer, tiny: Path, tmp_path: Path) -> Command:
    return Command(command_server, tiny, tmp_path)


def assert_stopped(command: Command, running: Running, code: int) -> None:
    ended = running.completed()
    assert ended.returncode == code, ended.stderr
    assert "every finished response is kept" in ended.stderr
    assert "Traceback" not in ended.stderr
    _, _, shown = ended.stderr.partition("to go on: ")
    assert shlex.split(shown) == ["ko-eval", *command.words]
    state = command.state
    assert state is not None
    assert state.state == "stopped"


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), CODES)
def test_in_the_middle_of_asking_what_is_in_hand_is_kept_and_the_rest_is_asked_next_time(
    long_command: Command, slow: Path, sent: signal.Signals, code: int
) -> None:
    running = long_command.start("--suite", slow, "--shots", 0, "--batch-rows", 2, "--limit", 8)
    long_command.wait_until(lambda: long_command.lines > 0)
    os.kill(running.process, sent)
    started = time.monotonic()
    assert_stopped(long_command, running, code)
    assert time.monotonic() - started < GRACE_SECONDS + SLACK
    done = long_command.lines
    assert 0 < done < 8
    state = long_command.state
    assert state is not None
    assert sum(task.done for task in state.tasks.values()) == done
    again = long_command.again().completed()
    assert again.returncode == 0
    assert f"Asked the model {8 - done} requests; {done} answered before" in again.stdout
    assert long_command.is_in("done")


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), CODES)
def test_a_long_batch_is_given_five_seconds(
    long_command: Command, endless: Path, sent: signal.Signals, code: int
) -> None:
    running = long_command.start("--suite", endless, "--shots", 0, "--limit", 16)
    long_command.wait_until(lambda: long_command.is_in("asking"))
    time.sleep(0.5)
    os.kill(running.process, sent)
    started = time.monotonic()
    assert_stopped(long_command, running, code)
    assert GRACE_SECONDS - 0.5 < time.monotonic() - started < GRACE_SECONDS + SLACK
    assert long_command.lines == 0


def test_a_second_signal_ends_a_long_batch_at_once(long_command: Command, endless: Path) -> None:
    running = long_command.start("--suite", endless, "--shots", 0, "--limit", 16)
    long_command.wait_until(lambda: long_command.is_in("asking"))
    time.sleep(0.5)
    os.kill(running.process, signal.SIGINT)
    time.sleep(0.3)
    os.kill(running.process, signal.SIGINT)
    started = time.monotonic()
    assert_stopped(long_command, running, 130)
    assert time.monotonic() - started < SLACK
    assert "a second Ctrl-C ends at once" in running.completed().stderr


@pytest.mark.parametrize(("sent", "code"), CODES)
def test_while_the_model_is_loaded_the_run_stops_at_once(
    command: Command, endless: Path, sent: signal.Signals, code: int
) -> None:
    running = command.start("--suite", endless, "--shots", 0, "--limit", 2)
    command.wait_until(lambda: command.is_in("loading"))
    os.kill(running.process, sent)
    started = time.monotonic()
    assert_stopped(command, running, code)
    assert time.monotonic() - started < SLACK
    assert command.lines == 0


def test_while_responses_are_scored_the_run_stops_and_scores_them_next_time(
    command: Command, short: Path
) -> None:
    running = command.start("--suite", short, "--limit", 1)
    command.wait_until(lambda: any(command.out.rglob("samples/*.jsonl")))
    os.kill(running.process, signal.SIGTERM)
    assert_stopped(command, running, 143)
    assert not list(command.out.rglob("results.json"))
    assert not list(command.out.rglob("*.tmp"))
    again = command.again().completed()
    assert again.returncode == 0
    assert "Asked the model 0 requests; 6 answered before" in again.stdout


# --- single moments --------------------------------------------------------------------------


def nothing() -> None:
    pass


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Short times; and whatever a test does, no timer and no handler is left."""
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.3)
    monkeypatch.setattr(module, "_AGAIN_SECONDS", 0.2)
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]
    yield
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    after = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]
    assert after == before


def send(number: signal.Signals = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


def wait(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.01)


def test_asking_ends_when_the_time_for_answers_is_over(quick: None) -> None:
    started = time.monotonic()
    with pytest.raises(Stopped) as caught, stopping(nothing):
        send()
        wait(5)
    assert caught.value.signal == signal.SIGTERM
    assert 0.25 < time.monotonic() - started < 2


def test_a_library_that_swallows_the_end_is_told_again(quick: None) -> None:
    swallowed = 0
    with pytest.raises(Stopped), stopping(nothing):
        send()
        try:
            wait(5)
        except Stopped:
            swallowed += 1
        wait(5)
    assert swallowed == 1


def test_a_signal_with_the_last_answer_begins_nothing_more_and_leaves_no_timer(
    quick: None,
) -> None:
    with pytest.raises(Stopped), stopping(nothing) as stop, stop.taking():
        send()


def test_neither_the_timer_nor_a_second_signal_cuts_what_is_written_down(quick: None) -> None:
    written = []
    with pytest.raises(Stopped) as caught, stopping(nothing) as stop, stop.taking():
        send(signal.SIGTERM)
        wait(0.5)
        send(signal.SIGINT)
        wait(0.1)
        written.append("whole")
    assert written == ["whole"]
    assert caught.value.signal == signal.SIGINT


def test_an_engine_that_ends_with_the_same_signal_did_not_fail(quick: None) -> None:
    with pytest.raises(Stopped), stopping(nothing):
        send(signal.SIGINT)
        raise ModelError("the engine's process died")
    with pytest.raises(ModelError), stopping(nothing):
        raise ModelError("the engine's process died")


def test_an_announcement_that_cannot_be_made_is_left_out(quick: None) -> None:
    def broken() -> None:
        raise BrokenPipeError

    with pytest.raises(Stopped), stopping(broken):
        send()
        wait(5)


def test_what_was_started_to_ignore_a_signal_still_ignores_it(quick: None) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping(nothing) as stop:
            send(signal.SIGINT)
            wait(0.05)
        assert stop.signal is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_without_a_signal_a_timer_of_somebody_else_goes_on(quick: None) -> None:
    rung = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with stopping(nothing) as stop, stop.taking():
            wait(0.05)
        wait(0.2)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert rung == [signal.SIGALRM]


def test_one_within_another_stops_both(quick: None) -> None:
    with pytest.raises(Stopped), stopping(nothing) as outer:
        with stopping(nothing):
            send()
            wait(5)
        raise AssertionError
    assert outer.signal is None


def test_outside_the_main_thread_signals_are_left_alone(quick: None) -> None:
    found = []

    def work() -> None:
        with stopping(nothing) as stop, stop.taking():
            found.append(stop.signal)
        with while_loading():
            found.append(None)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [None, None]


def test_a_library_that_takes_signals_for_itself_gives_them_back(quick: None) -> None:
    with while_loading():
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_loading_ends_though_a_library_swallows_its_end(
    quick: None, sent: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pyzmq does while vLLM waits for its processes."""
    monkeypatch.setattr(module, "_LOADING_AGAIN_SECONDS", 0.1)
    with pytest.raises(Stopped) as caught, while_loading():
        try:
            send(sent)
            wait(5)
        except Stopped:
            pass
        wait(5)
    assert caught.value.signal == sent
    with pytest.raises(Stopped), while_loading(), contextlib.suppress(Stopped):
        send(sent)
        wait(5)


def test_ctrl_c_is_kept_from_the_processes_that_an_engine_starts(quick: None) -> None:
    code = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    command = [sys.executable, "-c", code]
    with while_loading():
        during = subprocess.run(command, capture_output=True, text=True, check=True)
    after = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (during.stdout, after.stdout) == ("True\n", "False\n")
