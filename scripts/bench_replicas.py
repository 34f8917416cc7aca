"""Replicas: throughput of eight against one, and what the driver spends on a request.

    python scripts/bench_replicas.py [--replicas 8] [--requests 1000] [--simulated 64]

The engine sleeps for each token and computes nothing, so that as many replicas as wanted fit on any
machine: what is measured is the sharing of the work. Replicas are real Ray actors in processes of
their own, loaded before the clock starts. Requests differ in length by a factor of ten.

Throughput: `--requests` for one replica, then as many for each of eight, so that both take equally
long. Overhead: processor time of the driving process, all its threads, for each request, while 64
replicas answer 20 requests a second each. Starting so many processes takes a minute or two;
`--simulated 0` leaves that part out.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from bench_common import REPOSITORY, Row, heading, print_table, require, say

TESTS = str(REPOSITORY / "tests")
sys.path.insert(0, TESTS)

from replica_engines import SleepingEngine, requests  # noqa: E402

from ko_eval.cluster.ray_session import ray_session  # noqa: E402
from ko_eval.cluster.replica_pool import ReplicaPool, Shape  # noqa: E402
from ko_eval.engines.base import EncodedRequest  # noqa: E402

_SHORTEST, _LONGEST = 80, 800
# A replica answers 80 requests a second, or 20 of them among many others.
_QUICK, _SLOW = (seconds / ((_SHORTEST + _LONGEST) / 2) for seconds in (0.0125, 0.05))
_TARGET_SPEED = 7.5
_TARGET_OVERHEAD_MS = 0.2


def workload(count: int) -> list[EncodedRequest]:
    """Requests of different lengths, the same each time."""
    chance = random.Random(0)
    found: list[EncodedRequest] = []
    for number in range(count):
        found += requests(1, tokens=chance.randint(_SHORTEST, _LONGEST), task=f"t{number}")
    return found


@contextlib.contextmanager
def loaded_pool(count: int, seconds_per_token: float) -> Iterator[ReplicaPool]:
    """A pool of which every replica is ready."""
    make = partial(SleepingEngine, seconds_per_token)
    shape = Shape(gpus=0, cpus=0.01, threads=1)
    with contextlib.closing(ReplicaPool(make, count, shape, rows=1)) as pool:
        while pool.ready < count:
            for _ in pool.answers(requests(count, tokens=10)):
                pass
            time.sleep(0.2)
        yield pool


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds that requests took.

    Attributes:
        wall: from the first to the last.
        processor: of the driving process.
        asleep: of all replicas together, as the engines measured it.
    """

    wall: float
    processor: float
    asleep: float


def measure(pool: ReplicaPool, asked: Sequence[EncodedRequest]) -> Measured:
    """Asks all requests."""
    wall, processor = time.perf_counter(), time.process_time()
    asleep = [answer.seconds for answer in pool.answers(asked)]
    if len(asleep) != len(asked):
        raise AssertionError(f"{len(asleep)} of {len(asked)} requests were answered")
    return Measured(time.perf_counter() - wall, time.process_time() - processor, sum(asleep))


def throughput(replicas: int, count: int) -> Row:
    """One replica, then many."""
    speeds = []
    for number in (1, replicas):
        with loaded_pool(number, _QUICK) as pool:
            found = measure(pool, workload(count * number))
        speeds.append(count * number / found.wall)
        busy = found.asleep / found.wall / number
        say(f"{number} replicas: {speeds[-1]:.1f} requests/s, at work {busy:.1%} of the time")
    return Row(
        what=f"throughput, {replicas} replicas against 1",
        theirs=f"{speeds[0]:.1f} requests/s",
        ours=f"{speeds[1]:.1f} requests/s",
        measured=speeds[1] / speeds[0],
        at_least=_TARGET_SPEED * replicas / 8,
        extra={"at work": f"{busy:.1%}"},
    )


def overhead(replicas: int) -> Row:
    """The driver's processor time with many replicas."""
    count = replicas * 200
    asked = workload(count)
    with loaded_pool(replicas, _SLOW) as pool:
        found = measure(pool, asked)
    milliseconds = found.processor / count * 1000
    return Row(
        what=f"driver's ms per request, {replicas} simulated replicas",
        ours=f"{milliseconds:.3f} ms",
        measured=milliseconds,
        at_most=_TARGET_OVERHEAD_MS,
        extra={"requests/s": f"{count / found.wall:.0f}", "requests": str(count)},
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; 1 when a target is missed."""
    options = _parser().parse_args(argv)
    require("ray", "pip install 'ko-eval[cluster]'")
    # Replicas find the engine where we find it.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [TESTS, os.environ.get("PYTHONPATH")]))
    heading(__doc__, "ray")
    rows = []
    with ray_session(None, cpus=max(options.replicas, options.simulated), gpus=0):
        rows.append(throughput(options.replicas, options.requests))
        if options.simulated:
            rows.append(overhead(options.simulated))
    say()
    print_table("Replicas with an engine that sleeps for each token", rows, ratio="measured")
    return int(any(row.verdict == "missed" for row in rows))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--replicas", type=int, default=8)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--simulated", type=int, default=64, help="0: no such measurement")
    return parser


if __name__ == "__main__":
    sys.exit(main())
