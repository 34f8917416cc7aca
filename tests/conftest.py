"""Fixtures: tiny real models, made in a second or two, and a command line that is really run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

# Before torch is imported: a tiny model is quickest on one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hostile
import pytest
from browser import browser as browser  # fixtures, one Chromium for all tests
from browser import page as page
from command_server import CommandServer
from hypothesis import settings
from tiny_model import make_tiny_llama

# A busy machine is no failure. `.ci/run` asks for the thorough one with --hypothesis-profile.
settings.register_profile("fast", max_examples=30, deadline=None)
settings.register_profile("thorough", max_examples=300, deadline=None)
settings.load_profile("fast")

# A plain template in the manner of ChatML.
CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama with a Korean byte-level tokenizer and no chat template."""
    return make_tiny_llama(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny_chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a chat template."""
    return make_tiny_llama(
        tmp_path_factory.mktemp("models") / "tiny-chat", chat_template=CHAT_TEMPLATE
    )


@pytest.fixture(scope="session")
def tiny_bos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a tokenizer that puts BOS in front of every text."""
    return make_tiny_llama(tmp_path_factory.mktemp("models") / "tiny-bos", add_bos=True)


@pytest.fixture(scope="session")
def command_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandServer]:
    """Starts commands that need not import torch again."""
    with CommandServer(tmp_path_factory.mktemp("commands")) as server:
        yield server


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("KO_EVAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def sound_pack(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A pack of two tasks without a model."""
    from ko_eval.runs.pack import PackOptions, make_pack

    path = tmp_path_factory.mktemp("packs") / "sound.tar"
    make_pack(PackOptions(tasks=("ko_gpqa", "ko_gsm8k"), out=path))
    return path.read_bytes()


@pytest.fixture
def no_server_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server's key is in the environment."""
    monkeypatch.delenv("KO_EVAL_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def ko_eval(tmp_path: Path, command_server: CommandServer) -> Command:
    """Runs the command line in an empty folder, as a user would."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        cache = str(tmp_path / "cache")
        return command_server.start(arguments, tmp_path, KO_EVAL_CACHE=cache).completed()

    return run


@pytest.fixture(scope="session")
def built_command() -> Callable[[list[str]], object]:
    """The command line, put together once: that takes longer than most commands."""
    import typer.main

    from ko_eval.cli.main import app

    return typer.main.get_command(app)


@pytest.fixture
def here(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    built_command: Callable[[list[str]], object],
) -> hostile.Run:
    """Runs the command line in this process and an empty folder, bounded in time and memory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("KO_EVAL_CACHE", str(tmp_path / "cache"))

    def run(*arguments: object) -> hostile.Ended:
        capfd.readouterr()
        code = 0
        with hostile.limits():
            try:
                built_command([str(argument) for argument in arguments])
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
        return hostile.Ended(code, *capfd.readouterr())

    return run


@pytest.fixture
def apart(tmp_path: Path, command_server: CommandServer) -> hostile.Run:
    """As `here` in a process of its own, where it may wait or compute as it likes."""

    def run(*arguments: object) -> hostile.Ended:
        done = command_server.start(
            arguments,
            tmp_path,
            seconds=hostile.SECONDS,
            memory=hostile.MEMORY,
            KO_EVAL_CACHE=str(tmp_path / "cache"),
        ).completed()
        return hostile.Ended(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def ko_eval_afresh(tmp_path: Path) -> Command:
    """The same in an interpreter that has imported nothing."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "KO_EVAL_CACHE": str(tmp_path / "cache"),
        }
        command = [sys.executable, "-m", "ko_eval.cli.main", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
        )

    return run
