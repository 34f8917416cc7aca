"""How work is cut into units, and what becomes of what a lost replica held; without Ray."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replica_engines import SleepingEngine, requests

import ko_eval
from ko_eval.cluster.ray_session import Node
from ko_eval.cluster.replica_actor import Given, ReplicaActor
from ko_eval.cluster.replicas import engine_loader, room
from ko_eval.cluster.work_units import MOST_DEATHS, WorkQueue, WorkUnit, cut, ordered
from ko_eval.engines.base import (
    Answer,
    EncodedGenerate,
    EncodedLoglikelihood,
    EncodedPair,
    EncodedRequest,
)
from ko_eval.errors import UsageError
from ko_eval.runs.plan import RunOptions
from ko_eval.types import ContextContinuation, GenerateRequest, LoglikelihoodRequest


def generation(key: str, tokens: int, *, task: str = "text", most: int = 100) -> EncodedGenerate:
    request = GenerateRequest(task, key, "", (), (), most)
    return EncodedGenerate(key, request, (5,) * tokens, 0, False, 0, 0)


def likelihood(key: str, context: tuple[int, ...]) -> EncodedLoglikelihood:
    request = LoglikelihoodRequest("choice", key, (ContextContinuation("", ""),) * 2)
    pairs = (EncodedPair(context, (1,)), EncodedPair(context, (2, 3)))
    return EncodedLoglikelihood(key, request, pairs, 0)


def test_generations_come_longest_first_and_tasks_stay_together() -> None:
    mixed: list[EncodedRequest] = [
        generation("a", 10),
        likelihood("l", (1, 2)),
        generation("long", 5, task="other", most=900),
        generation("b", 30),
    ]
    generations, likelihoods = ordered(mixed)
    assert [(s.request.key, s.tokens) for s in generations] == [
        ("long", 905),
        ("b", 130),
        ("a", 110),
    ]
    assert [s.request.key for s in likelihoods] == ["l"]


def test_a_common_beginning_is_counted_once_and_kept_together() -> None:
    header, other = tuple(range(100, 600)), tuple(range(700, 1200))
    mixed: list[EncodedRequest] = [
        likelihood("a1", (*header, 1)),
        likelihood("b1", (*other, 1)),
        likelihood("a2", (*header, 2)),
        likelihood("b2", (*other, 2)),
    ]
    _, sized = ordered(mixed)
    names = [s.request.key for s in sized]
    assert sorted([names[:2], names[2:]]) == [["a1", "a2"], ["b1", "b2"]]
    # 501 tokens of context, shared by the request's pairs, and three that are scored.
    assert [s.tokens for s in sized] == [504, 4, 504, 4]


def test_units_become_smaller_and_every_replica_has_one_of_each_size() -> None:
    _, sized = ordered(requests(4000, tokens=500))
    sizes = [len(unit) for unit in cut(sized, 4, 1)]
    assert sum(sizes) == 4000
    assert sizes[:4] == [500, 500, 500, 500]
    assert sizes[4:8] == [250, 250, 250, 250]
    assert sizes[-5:] == [8, 8, 8, 8, 4]  # 4096 tokens, and what is left


def test_few_generations_are_dealt_out_at_once() -> None:
    # An engine answers 256 side by side: smaller units would take as long as large ones.
    sized, _ = ordered([generation(str(i), 50) for i in range(1319)])
    sizes = [len(unit) for unit in cut(sized, 8, 256)]
    assert len(sizes) <= 9
    assert max(sizes) == 165


def test_little_work_is_still_shared_by_all() -> None:
    _, sized = ordered(requests(8, tokens=50))
    assert [len(unit) for unit in cut(sized, 4, 1)] == [2, 2, 2, 2]


@given(
    lengths=st.lists(st.integers(2, 9000), max_size=60),
    replicas=st.integers(1, 9),
    rows=st.integers(1, 40),
)
def test_cutting_loses_nothing_and_keeps_the_order(
    lengths: list[int], replicas: int, rows: int
) -> None:
    given_requests = [generation(str(i), length) for i, length in enumerate(lengths)]
    sized, _ = ordered(given_requests)
    units = list(cut(sized, replicas, rows))
    assert [r.key for unit in units for r in unit] == [s.request.key for s in sized]
    assert all(units)


def queue(count: int, replicas: int) -> WorkQueue:
    work = WorkQueue(replicas, 1, {})
    work.add(requests(count, tokens=500))
    return work


def test_half_through_its_unit_a_replica_is_given_the_next() -> None:
    work = queue(2000, 2)
    unit = work.take(0)
    for place, request in enumerate(unit.requests):
        assert work.wanted(0) == (place >= len(unit.requests) / 2)
        work.answered(0, unit.number, request.key)
    work.take(0)
    assert not work.wanted(0)


def test_the_last_units_are_for_whoever_is_free_first() -> None:
    work = queue(16, 2)  # two units
    unit = work.take(0)
    for request in unit.requests:
        work.answered(0, unit.number, request.key)
    assert work.unanswered == 8
    assert not work.wanted(0)
    assert work.wanted(1)
    work.finished(0, unit.number)
    assert work.wanted(0)


def test_what_a_lost_replica_had_answered_is_not_asked_again() -> None:
    work = queue(400, 2)
    unit = work.take(0)
    for request in unit.requests[:30]:
        work.answered(0, unit.number, request.key)
    loss = work.lost(0)
    assert [r.key for r in loss.requeued] == [r.key for r in unit.requests[30:]]
    assert loss.given_up == ()
    assert work.unanswered == 370


def test_a_unit_that_only_waited_counts_as_no_death() -> None:
    work = queue(4000, 2)
    first = work.take(0)
    for request in first.requests[:300]:
        work.answered(0, first.number, request.key)
    second = work.take(0)
    loss = work.lost(0)
    assert len(loss.requeued) == len(first.requests) - 300 + len(second.requests)
    assert set(work.deaths) == {request.key for request in first.requests[300:]}


def test_a_request_that_kills_replicas_is_alone_in_the_end() -> None:
    work = queue(3000, 4)
    deadly = "task-1234"
    given_up: list[str] = []
    deaths = 0
    while not work.done:
        unit = work.take(0)
        for request in unit.requests:
            if request.key == deadly:
                given_up += [r.key for r in work.lost(0).given_up]
                deaths += 1
                break
            work.answered(0, unit.number, request.key)
        else:
            work.finished(0, unit.number)
    assert (given_up, deaths) == ([deadly], MOST_DEATHS)


def test_what_an_engine_leaves_out_is_asked_again_and_given_up_in_the_end() -> None:
    work = queue(1, 2)
    for _ in range(MOST_DEATHS - 1):
        assert len(work.finished(0, work.take(0).number).requeued) == 1
    assert len(work.finished(0, work.take(0).number).given_up) == 1
    assert work.done


@given(seed=st.integers(0, 10_000), replicas=st.integers(1, 6))
def test_whoever_dies_whenever_each_request_is_answered_once_or_given_up(
    seed: int, replicas: int
) -> None:
    chance = random.Random(seed)
    work = WorkQueue(replicas, 1, {})
    everything = requests(chance.randint(1, 80), tokens=chance.choice([10, 900]))
    work.add(everything)
    done: list[str] = []
    units: dict[int, list[tuple[int, list[str]]]] = {n: [] for n in range(replicas)}
    while not work.done:
        replica = chance.randrange(replicas)
        while work.wanted(replica):
            unit = work.take(replica)
            units[replica].append((unit.number, [r.key for r in unit.requests]))
        if chance.random() < 0.1:
            done += [r.key for r in work.lost(replica).given_up]
            units[replica] = []
        elif units[replica]:
            number, left = units[replica][0]
            if left:
                done.append(left.pop())
                work.answered(replica, number, done[-1])
            else:
                work.finished(replica, number)
                del units[replica][0]
    assert sorted(done) == sorted(request.key for request in everything)


def test_a_replica_takes_what_leaves_room_for_the_others() -> None:
    eight_gpus = [Node("a", 128, 8), Node("b", 128, 8)]
    assert room(eight_gpus, 0, 1)[0] == 16
    count, shape = room(eight_gpus, 0, 4)
    assert (count, shape.gpus, shape.cpus) == (4, 4, 16)
    small = [Node("a", 4, 0), Node("b", 4, 0)]
    assert room(small, 0, 0)[0] == 2
    count, shape = room(small, 4, 0)
    assert (count, shape.gpus, shape.cpus) == (4, 0, 2)


@pytest.mark.parametrize(
    ("nodes", "asked", "gpus", "text"),
    [
        ([Node("a", 2, 0)], 3, 0, "3 replicas were asked for, but there is room for 2"),
        ([Node("a", 64, 8), Node("b", 64, 8)], 5, 4, "5 replicas of 4 GPUs each .* room for 4"),
        ([Node("a", 64, 8), Node("b", 64, 8)], 1, 16, "1 replicas of 16 GPUs each .* room for 0"),
        ([Node("a", 64, 1)], 0, 2, "any replicas of 2 GPUs each .* room for 0"),
    ],
)
def test_more_than_there_is_is_refused_with_what_is_there(
    nodes: list[Node], asked: int, gpus: int, text: str
) -> None:
    with pytest.raises(UsageError, match=text) as refused:
        room(nodes, asked, gpus)
    assert refused.value.where is not None
    assert f"a: {nodes[0].gpus} GPUs, {nodes[0].cpus} CPUs" in refused.value.where


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (RunOptions(model="http://127.0.0.1:1/v1", replicas=2), "models that are loaded here"),
        (RunOptions(model="tiny", replicas=-1), "less than 1"),
    ],
)
def test_what_cannot_have_replicas_is_refused_before_anything_is_read(
    options: RunOptions, text: str
) -> None:
    with pytest.raises(UsageError, match=text), engine_loader(options):
        pass


def test_without_ray_the_user_is_told_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(UsageError, match="not installed") as refused,
        engine_loader(RunOptions(model="tiny", replicas=2)),
    ):
        pass
    assert "pip install 'ko-eval[cluster]'" in str(refused.value.hint)


@pytest.mark.slow
def test_one_replica_neither_needs_nor_imports_ray(tiny: Path, tmp_path: Path) -> None:
    program = f"""
import sys
sys.modules["ray"] = None  # importing it fails
from pathlib import Path
from ko_eval.cluster.replicas import engine_loader
from ko_eval.runs.evaluate import evaluate
from ko_eval.runs.plan import RunOptions
for replicas in (1, 0):
    out = Path({str(tmp_path)!r}) / str(replicas)
    options = RunOptions(
        model={str(tiny)!r}, tasks=("kornat_knowledge",), limit=2, replicas=replicas, out=out
    )
    with engine_loader(options) as load:
        print(evaluate(options, load=load).asked)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert ended.stdout.split() == ["2", "2"], ended.stderr


class LeavingEngine(SleepingEngine):
    """Ends its thread in a way that is no `Exception`, as some libraries do."""

    def answers(self, requests: Sequence[EncodedRequest]) -> Iterator[Answer]:
        yield from super().answers(requests[:1])
        raise SystemExit(3)


def test_an_engine_that_exits_is_told_of_and_nobody_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    replica = ReplicaActor()
    replica.load(LeavingEngine, 1, ko_eval.__version__)
    found: list[Given] = []
    units = [WorkUnit(0, tuple(requests(3)))]

    def exchange() -> None:
        found.append(replica.exchange(units, 0.5))

    caller = threading.Thread(target=exchange, daemon=True)
    caller.start()
    caller.join(10)
    assert len(found) == 1
    assert [answer.key for _, answer in found[0].answers] == ["task-0"]
    assert found[0].error is not None
    assert "SystemExit: 3" in found[0].error.what
