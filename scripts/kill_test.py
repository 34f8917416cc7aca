"""Kills `ko-eval run` at random moments, resumes it, and compares with a run that nobody disturbed.

    python scripts/kill_test.py --engine transformers --kills 50 [--seed N] [--keep FOLDER]
    python scripts/kill_test.py --engine vllm --kills 50

Each command is a process of its own, ended by SIGKILL; only the imports are shared: this process
does them once and is forked. The moments are drawn over the whole life of a run: start-up and
loading, asking, scoring. A run that ended before its kill is no kill. After ten of them a run may
finish, is compared, and the next one begins in an empty folder.

What is printed:

- asked again: responses that the engine had given but that were not on disk when the process died.
  The process notes in memory that outlives it what its engine gives, before the journal sees it.
  In flight is one response at most for each kill.
- identical: `results.json` equal in everything but times, sessions and conditions; outcomes,
  extracted answers and metric values of every sample equal; texts equal; log-likelihoods, and
  metrics that are computed from their values, within 1e-4 nats per token, since batches that are
  cut elsewhere round otherwise.

Exit code: 0 if all is as it must be, else 1.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import importlib
import json
import mmap
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ko_eval.runs.journal import Entry, decode_entry
from ko_eval.types import GenerateResponse, LoglikelihoodResponse

TOLERANCE = 1e-4
"""Of a log-likelihood in float32, in nats per token."""

_TASKS = (
    *("ko_gpqa", "ko_winogrande", "ko_gsm8k", "ko_eqbench", "ko_ifeval"),
    *("kornat_knowledge", "kornat_social_value", "ko_harmlessness", "ko_helpfulness"),
)
_GENERATED = ("ko_gsm8k", "ko_eqbench", "ko_ifeval")
# Before torch is imported: a tiny model is quickest on one thread, and no thread survives a fork.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
_PHASES = ("start-up", "asking", "scoring")
# How often a kill aims at each phase. Asking is where something can be lost.
_AIMS = (0.3, 0.5, 0.2)
_KILLS_OF_A_RUN = 10
_MOST_ANSWERS = 100_000


class Board:
    """What a process that was killed had done: memory that it shares with this one."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 16 + 8 * _MOST_ANSWERS)

    def clear(self) -> None:
        self._memory[:16] = bytes(16)

    @property
    def phase(self) -> int:
        """An index of `_PHASES`."""
        return self._memory[0]

    @phase.setter
    def phase(self, value: int) -> None:
        self._memory[0] = value

    @property
    def given(self) -> list[bytes]:
        """Of each response that the engine gave, its key's digest."""
        count = int.from_bytes(self._memory[8:16], "little")
        return [bytes(self._memory[16 + 8 * i : 24 + 8 * i]) for i in range(count)]

    def note(self, key: str) -> None:
        """The engine gives a response."""
        count = int.from_bytes(self._memory[8:16], "little")
        self._memory[16 + 8 * count : 24 + 8 * count] = digest(key)
        self._memory[8:16] = (count + 1).to_bytes(8, "little")


def digest(key: str) -> bytes:
    """Eight bytes that stand for a request's key."""
    return hashlib.sha256(key.encode()).digest()[:8]


@dataclass(frozen=True)
class Bench:
    """What all runs of this test share.

    Attributes:
        words: arguments of `ko-eval`, without `--out`.
    """

    board: Board
    words: Sequence[str]
    folder: Path

    def start(self, out: Path) -> int:
        """Starts the command; returns its process."""
        self.board.clear()
        streams = [str(self.folder / "run.out"), str(self.folder / "run.err")]
        for path in streams:
            Path(path).unlink(missing_ok=True)
        request = {
            "arguments": [*self.words, "--out", str(out)],
            "folder": str(self.folder),
            "variables": dict(os.environ),
            "streams": streams,
            "seconds": 0,
            "memory": 0,
        }
        from command_server import become_the_command

        process = os.fork()
        if process == 0:
            watch(self.board)
            become_the_command(request)
        return process

    def finish(self, out: Path) -> list[float]:
        """Runs the command to its end; returns the seconds of each phase.

        Raises:
            RuntimeError: it failed.
        """
        process = self.start(out)
        seconds, phase, since = [0.0, 0.0, 0.0], 0, time.monotonic()
        while True:
            ended, status = os.waitpid(process, os.WNOHANG)
            now = time.monotonic()
            if ended or self.board.phase != phase:
                seconds[phase] += now - since
                phase, since = self.board.phase, now
            if ended:
                break
            time.sleep(0.001)
        if os.waitstatus_to_exitcode(status):
            raise RuntimeError((self.folder / "run.err").read_text(encoding="utf-8"))
        return seconds

    def kill(self, out: Path, phase: int, seconds: float) -> bool:
        """Kills the command so many seconds after a phase began; False when it ended before."""
        process = self.start(out)
        moment = time.monotonic() + seconds if phase == 0 else None
        while moment is None or time.monotonic() < moment:
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                if os.waitstatus_to_exitcode(status):
                    raise RuntimeError((self.folder / "run.err").read_text(encoding="utf-8"))
                return False
            if moment is None and self.board.phase >= phase:
                moment = time.monotonic() + seconds
            time.sleep(0.0005)
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        return os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def watch(board: Board) -> None:
    """Has this process note its phases, and what its engine gives."""
    from ko_eval.cli.progress import ConsoleReporter

    def noting(answers: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def noted(self: Any, requests: Any) -> Iterator[Any]:
            board.phase = 1
            for answer in answers(self, requests):
                board.note(answer.key)
                yield answer

        return noted

    shown = ConsoleReporter.stage

    def stage(self: ConsoleReporter, text: str) -> None:
        if text == "scoring":
            board.phase = 2
        shown(self, text)

    ConsoleReporter.stage = stage  # type: ignore[method-assign]
    for name in ("transformers", "vllm"):
        module = sys.modules.get(f"ko_eval.engines.{name}_engine")
        if module is not None:
            engine = getattr(module, f"{name.title()}Engine")
            engine.answers = noting(engine.answers)


def load(engine: str) -> None:
    """Imports what every command needs."""
    names = ["ko_eval.cli.main", "ko_eval.runs.evaluate", f"ko_eval.engines.{engine}_engine"]
    if engine == "vllm":
        from ko_eval.engines.vllm_loading import prepare_environment

        prepare_environment("cpu", needs_longer_window=True)
        names += ["vllm.engine.arg_utils", "vllm.v1.engine.llm_engine"]
    else:
        names.append("transformers.models.llama.modeling_llama")
    for name in names:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # or each process would copy the memory that its own collections visit


def prepare(engine: str, folder: Path, limit: int) -> list[str]:
    """Makes a tiny model and a suite with short answers, since the model never stops by itself."""
    process = os.fork()  # no thread of torch's is to run in the process that is forked
    if process == 0:
        from tiny_model import make_tiny_llama

        make_tiny_llama(folder / "tiny")
        os._exit(0)
    os.waitpid(process, 0)
    suite = folder / "short.yaml"
    short = {name: {"max_tokens": 16} for name in _GENERATED}
    suite.write_text(yaml.safe_dump({"name": "short", "tasks": list(_TASKS), "overrides": short}))
    words = ["run", str(folder / "tiny"), "--suite", str(suite), "--engine", engine]
    words += ["--dtype", "float32", "--device", "cpu", "--limit", str(limit)]
    if engine == "vllm":
        return [*words, "--batch-rows", "8", "--engine-arg", "kv_cache_memory_bytes=134217728"]
    return [*words, "--batch-rows", "2", "--batch-tokens", "600"]


def entries(out: Path) -> dict[str, Entry]:
    """What is on disk: the whole lines of all journals, by key."""
    found = {}
    for path in out.rglob("responses/*.jsonl"):
        for line in path.read_bytes().split(b"\n"):
            if (decoded := decode_entry(line)) is not None:
                found[decoded[1].key] = decoded[1]
    return found


def differences(one: Path, other: Path) -> tuple[list[str], float]:
    """What is not identical, in words, and the largest difference of a log-likelihood."""
    found, worst = [], 0.0
    first, second = entries(one), entries(other)
    if first.keys() != second.keys():
        found.append("the journals hold other requests")
    for key in first.keys() & second.keys():
        a, b = first[key].response, second[key].response
        if isinstance(a, LoglikelihoodResponse) and isinstance(b, LoglikelihoodResponse):
            numbers = zip(a.loglikelihoods, b.loglikelihoods, a.token_counts, strict=True)
            worst = max(worst, *(abs(x - y) / count for x, y, count in numbers))
        elif not (isinstance(a, GenerateResponse) and a == b):
            found.append(f"another response to {key[:12]}: {a} / {b}"[:300])
    if worst > TOLERANCE:
        found.append(f"log-likelihoods differ by {worst:.1e} nats per token")
    for name in _TASKS:
        found += [f"{name}: {place}" for place in unlike(samples(one, name), samples(other, name))]
    found += [f"results.json: {place}" for place in unlike(result(one), result(other))]
    found += [f"left over: {path}" for path in other.rglob("*.tmp")]
    return found, worst


def unlike(one: Any, other: Any, place: str = "") -> Iterator[str]:
    """Where two JSON values differ; numbers by more than rounding."""
    if isinstance(one, float) and isinstance(other, float):
        if abs(one - other) > TOLERANCE:
            yield f"{place} {one} / {other}"
    elif isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            yield from unlike(one.get(key), other.get(key), f"{place}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            yield from unlike(a, b, f"{place}[{number}]")
    elif one != other:
        yield f"{place} {one} / {other}"[:300]


def samples(out: Path, task: str) -> list[dict[str, Any]]:
    """What became of each sample of a task."""
    (path,) = out.rglob(f"samples/{task}.jsonl")
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    wanted = ("id", "outcome", "extracted", "metrics", "key")
    return [{name: line[name] for name in wanted} for line in lines]


def result(out: Path) -> dict[str, Any]:
    """`results.json` without what may differ."""
    (path,) = out.rglob("results.json")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for name in ("created", "conditions", "environment"):
        del content[name]
    for task in content["tasks"]:
        del task["seconds"]
    return content


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--engine", choices=("transformers", "vllm"), default="transformers")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=24, help="samples of each of nine tasks")
    parser.add_argument("--keep", type=Path, help="a folder for the runs, which stays")
    asked = parser.parse_args()
    os.environ.update({k: v for k, v in _ENVIRONMENT.items() if k not in os.environ})
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = (asked.keep or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        load(asked.engine)
        bench = Bench(Board(), prepare(asked.engine, folder, asked.limit), folder)
        return kill_and_compare(bench, asked.kills, random.Random(asked.seed))


def kill_and_compare(bench: Bench, wanted: int, chance: random.Random) -> int:
    """The test; prints what it finds."""
    started = time.monotonic()
    undisturbed = bench.folder / "undisturbed"
    seconds = bench.finish(undisturbed)
    total = len(entries(undisturbed))
    kills: Counter[str] = Counter()
    given = runs = repeated = ended = 0
    wrong: list[str] = []
    worst = 0.0
    while kills.total() < wanted:
        runs += 1
        out = bench.folder / f"killed-{runs}"
        aims = chance.choices(range(3), _AIMS, k=min(_KILLS_OF_A_RUN, wanted - kills.total()))
        # Scoring last: it ends what could be asked.
        for phase in sorted(aims, key=lambda phase: phase == 2):
            left = 1 - len(entries(out)) / total
            if phase == 1 and not left:
                phase = 2
            longest = seconds[phase] * (left if phase == 1 else 1)
            killed = bench.kill(out, phase, chance.uniform(0, longest))
            ended += not killed
            if killed:
                kills[_PHASES[bench.board.phase]] += 1
            on_disk = {digest(key) for key in entries(out)}
            repeated += sum(key not in on_disk for key in bench.board.given)
            given += len(bench.board.given)
        bench.finish(out)
        given += len(bench.board.given)
        found, difference = differences(undisturbed, out)
        worst = max(worst, difference)
        wrong += [f"run {runs}: {text}" for text in found]
    if given != runs * total + repeated:
        wrong.append(f"{given} responses were given for {runs * total} requests")
    if repeated > kills.total():
        wrong.append("more was asked again than was in flight")
    say(f"kills: {kills.total()} ({', '.join(f'{kills[name]} {name}' for name in _PHASES)})")
    say(f"ended before their kill, not counted: {ended}")
    say(f"runs: {runs} of {total} requests each, {given} responses given")
    say(f"asked again: {repeated} (in flight: at most 1 for each kill, {kills.total()} in all)")
    say(f"largest log-likelihood difference: {worst:.1e} nats per token")
    say("\n".join(["NOT identical:", *wrong[:20]]) if wrong else "identical")
    say(f"{time.monotonic() - started:.0f} s; an undisturbed run takes {sum(seconds):.1f} s")
    return int(bool(wrong))


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
