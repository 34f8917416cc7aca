"""The command line in processes of their own that need not import torch and transformers again.

Importing takes most of the time of a command with a tiny model, so one process imports them once,
does nothing else, and is forked for each command. A command has its own folder, variables, streams,
signals and exit code, as when a shell starts it. Only the start of the interpreter is shared; a
test whose subject that is starts one afresh.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Never, Self


@dataclass(frozen=True)
class Running:
    """A command that was started.

    Attributes:
        process: its id; signals reach the command itself.
        streams: the files that hold its stdout and stderr.
    """

    server: CommandServer
    arguments: Sequence[str]
    process: int
    streams: tuple[Path, Path]

    @cached_property
    def returncode(self) -> int:
        """Waits for the end; the negative number of the signal where one ended it."""
        code: int = self.server.said()["code"]
        return code

    def completed(self) -> subprocess.CompletedProcess[str]:
        """Waits for the end."""
        code = self.returncode
        out, err = (path.read_text(encoding="utf-8") for path in self.streams)
        return subprocess.CompletedProcess(self.arguments, code, out, err)


class CommandServer:
    """Starts commands one after another; it is started by the first of them."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        """Args:
        folder: takes the files that hold what the commands print.
        environment: all variables of the commands; by default ours, and no hub is asked.
        """
        self.folder = folder
        self.environment = environment
        self.commands: list[Running] = []

    @cached_property
    def process(self) -> subprocess.Popen[str]:
        # The hub's client takes its settings when it is imported.
        return subprocess.Popen(
            [sys.executable, __file__],
            env=self.variables(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for the tests; it ends when they do
        )

    def start(
        self,
        arguments: Sequence[object],
        folder: Path,
        *,
        seconds: int = 0,
        memory: int = 0,
        **variables: str,
    ) -> Running:
        """Starts `ko-eval` in a folder, with the given variables changed.

        Args:
            seconds: after which it is ended by SIGALRM; 0 for never.
            memory: bytes of address space that it may add; 0 for any number.
        """
        if self.commands:
            self.commands[-1].returncode  # noqa: B018  # a test that failed did not wait for it
        number = len(self.commands)
        streams = (self.folder / f"{number}.out", self.folder / f"{number}.err")
        words = [str(argument) for argument in arguments]
        request = {
            "arguments": words,
            "folder": str(folder),
            "variables": {**self.variables(), **variables},
            "streams": [str(path) for path in streams],
            "seconds": seconds,
            "memory": memory,
        }
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        self.commands.append(Running(self, words, self.said()["process"], streams))
        return self.commands[-1]

    def variables(self) -> dict[str, str]:
        return dict(self.environment or {**os.environ, "HF_HUB_OFFLINE": "1"})

    def said(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if "process" in self.__dict__:
            self.process.communicate()


def serve() -> None:
    """Starts a command per line; says its process, then its exit code."""
    from transformers import LlamaForCausalLM  # noqa: F401

    import ko_eval.cli.main
    import ko_eval.doctor.model_checks
    import ko_eval.engines.transformers_engine
    import ko_eval.runs.evaluate  # noqa: F401

    gc.collect()
    gc.freeze()  # or each process would copy the memory that its own collections visit
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            become_the_command(json.loads(line))
        say(process=process)
        _, status = os.waitpid(process, 0)
        say(code=os.waitstatus_to_exitcode(status))


def say(**facts: int) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def become_the_command(request: Mapping[str, Any]) -> Never:
    """Ends the process with the code of the command, and without taking the interpreter apart."""
    for number, path in enumerate([os.devnull, *request["streams"]]):
        opened = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    # In the background, as in CI, a shell has its children ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.alarm(request["seconds"])
    if request["memory"]:
        room = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (room + request["memory"],) * 2)
    os.environ.clear()
    os.environ.update(request["variables"])
    os.chdir(request["folder"])
    sys.argv = ["ko-eval", *request["arguments"]]
    from ko_eval.cli.main import main

    code = 1
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
