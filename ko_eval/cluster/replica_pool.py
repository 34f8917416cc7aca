"""Engines in processes of their own, as one engine: work is shared out, and no death loses any.

Each replica is a Ray actor in a placement group of its own, so that the GPUs of a tensor-parallel
group lie on one node. Work begins when the first replica is loaded; the others join. One that dies
is started again, where there is room, and what it had not answered is given to the others.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import ko_eval
from ko_eval.cluster.replica_actor import EngineMaker, Given, Loaded, ReplicaActor
from ko_eval.cluster.work_units import MOST_DEATHS, Loss, WorkQueue
from ko_eval.engines.base import (
    Answer,
    Capabilities,
    EncodedGenerate,
    EncodedLoglikelihood,
    EncodedRequest,
)
from ko_eval.errors import KoEvalError, ModelError, RunError
from ko_eval.types import FailedResponse, JsonValue

# A replica that was lost so often without an answer in between is not started again.
_MOST_STARTS = 3
# Answers that come within this time of each other travel together; the driver is called at most so
# often, however many replicas there are.
_WINDOW_SECONDS = 0.05
_CALLS_PER_SECOND = 100
# How long the driver waits before it looks for signals and for room.
_TICK_SECONDS = 0.2
_ROOM_SECONDS = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shape:
    """What a replica takes of its node.

    Attributes:
        threads: for computing, where there is no GPU.
    """

    gpus: int
    cpus: float
    threads: int

    def __str__(self) -> str:
        return f"{self.gpus} GPUs and {self.cpus:g} CPUs"


@dataclass(slots=True, eq=False)
class _Replica:
    """A replica as the driver knows it.

    Attributes:
        state: `waiting` for room, `loading`, `ready`, or `gone` for good.
        call: the open call, if there is one.
        failures: deaths since its last answer.
    """

    number: int
    state: Literal["waiting", "loading", "ready", "gone"] = "waiting"
    host: str = "not known"
    group: Any = None
    actor: Any = None
    call: Any = None
    failures: int = 0
    conditions: dict[str, JsonValue] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"replica {self.number} on node {self.host}"


class ReplicaPool:
    """An `Engine` of many; needs a Ray session. To be closed when it is not needed any more.

    Args:
        make: loads the model, on the node where a replica runs.
        count: replicas, if there is room for all.
        rows: generations that one engine answers side by side.
        patience: seconds without any replica after which there is no hope for room.

    Raises:
        KoEvalError: no replica could load the model.
    """

    def __init__(
        self, make: EngineMaker, count: int, shape: Shape, *, rows: int, patience: float = 600.0
    ) -> None:
        self._make = make
        self._shape = shape
        self._rows = rows
        self._patience = patience
        self._window = max(_WINDOW_SECONDS, count / _CALLS_PER_SECOND)
        self._deaths: dict[str, int] = {}
        self._warnings: dict[str, None] = {}
        self._of_engines: dict[str, None] = {}
        self._last_error: KoEvalError | None = None
        self._alive_at = self._looked_at = time.monotonic()
        self._work = WorkQueue(count, rows, self._deaths)
        self._replicas = [_Replica(number) for number in range(count)]
        try:
            for replica in self._replicas:
                self._ask_for_room(replica)
            while not self.ready:
                with _signals():
                    self._step()
        except BaseException:
            self.close()
            raise

    @property
    def capabilities(self) -> Capabilities:
        seen: dict[str, list[JsonValue]] = {}
        for replica in self._replicas:
            for name, value in replica.conditions.items():
                if value not in seen.setdefault(name, []):
                    seen[name].append(value)
        merged: dict[str, JsonValue] = {
            name: values[0] if len(values) == 1 else ", ".join(sorted(map(str, values)))
            for name, values in seen.items()
        }
        return Capabilities(True, True, {**merged, "replicas": len(self._replicas)})

    @property
    def ready(self) -> int:
        """Replicas with their model loaded."""
        return sum(replica.state == "ready" for replica in self._replicas)

    @property
    def warnings(self) -> Sequence[str]:
        return (*self._of_engines, *self._warnings)

    def loglikelihood(self, requests: Sequence[EncodedLoglikelihood]) -> Iterator[Answer]:
        """Answers as replicas give them."""
        return self.answers(requests)

    def generate(self, requests: Sequence[EncodedGenerate]) -> Iterator[Answer]:
        """Answers as replicas give them."""
        return self.answers(requests)

    def answers(self, requests: Sequence[EncodedRequest]) -> Iterator[Answer]:
        """Answers as replicas give them.

        Raises:
            KoEvalError: no replica is left, or none has had room for too long.
        """
        work = self._work = WorkQueue(len(self._replicas), self._rows, self._deaths)
        deadly = [r for r in requests if self._deaths.get(r.key, 0) >= MOST_DEATHS]
        yield from self._given_up(deadly)
        spared = {request.key for request in deadly}
        work.add(request for request in requests if request.key not in spared)
        try:
            self._feed()
            while not work.done:
                with _signals():
                    answers = self._step()
                yield from answers
        finally:
            if not work.done:
                # What the replicas are at belongs to nobody any more.
                self.close()

    def close(self) -> None:
        """Ends all replicas."""
        for replica in self._replicas:
            self._stop(replica)
            replica.state = "gone"

    def _step(self) -> list[Answer]:
        """Waits for a moment; handles what happened, and gives work to whoever has none."""
        import ray

        self._look_for_room()
        calls = {replica.call: replica for replica in self._replicas if replica.call is not None}
        if not calls:
            time.sleep(_TICK_SECONDS)
            return []
        ready, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0)
        if not ready:
            ready, _ = ray.wait(list(calls), num_returns=1, timeout=_TICK_SECONDS)
        answers: list[Answer] = []
        for call in ready:
            replica = calls[call]
            replica.call = None
            try:
                result = ray.get(call)
            except ray.exceptions.RayError as error:
                if replica.state == "loading" and isinstance(error, ray.exceptions.RayTaskError):
                    self._refused(replica, _cannot_load(error))
                    continue
                answers += self._lost(replica, _reason(error))
                continue
            match result:
                case Given():
                    answers += self._take(replica, result)
                case Loaded(host, _, conditions):
                    replica.state, replica.host, replica.conditions = "ready", host, conditions
                case KoEvalError():
                    self._refused(replica, result)
        self._feed()
        return answers

    def _take(self, replica: _Replica, given: Given) -> list[Answer]:
        """What a replica gave, and the failures that follow from what it did not."""
        for number, answer in given.answers:
            self._work.answered(replica.number, number, answer.key)
        if given.answers:
            replica.failures = 0
        replica.conditions = given.conditions
        self._of_engines.update(dict.fromkeys(given.warnings))
        answers = [answer for _, answer in given.answers]
        for number in given.finished:
            loss = self._work.finished(replica.number, number)
            if loss.requeued or loss.given_up:
                self._warn(f"{replica} left requests out; {_fate(loss)}")
            answers += self._given_up(loss.given_up)
        if given.error is not None:
            self._last_error = given.error
            answers += self._lost(replica, given.error.what)
        return answers

    def _lost(self, replica: _Replica, reason: str) -> list[Answer]:
        """Sees to what a dead replica leaves, and starts it again."""
        loss = self._work.lost(replica.number)
        self._warn(f"{replica} was lost ({reason}); {_fate(loss)}")
        replica.failures += 1
        if replica.failures < _MOST_STARTS:
            self._stop(replica)
            self._ask_for_room(replica)
        else:
            self._give_up(replica, f"it was lost {replica.failures} times, the last time: {reason}")
        return self._given_up(loss.given_up)

    def _refused(self, replica: _Replica, error: KoEvalError) -> None:
        """Goes on without a replica that cannot load the model."""
        self._last_error = error
        self._give_up(replica, error.what)

    def _given_up(self, requests: Iterable[EncodedRequest]) -> list[Answer]:
        failed = FailedResponse(f"{MOST_DEATHS} replicas were lost while they answered it")
        return [Answer(request.key, failed, 0.0) for request in requests]

    def _feed(self) -> None:
        """Opens a call with each replica that is ready, if there is anything to give or to get."""
        for replica in self._replicas:
            if replica.state != "ready" or replica.call is not None:
                continue
            units = []
            if self._work.wanted(replica.number):
                units.append(self._work.take(replica.number))
            if units or self._work.holds(replica.number):
                replica.call = replica.actor.exchange.remote(units, self._window)

    def _ask_for_room(self, replica: _Replica) -> None:
        from ray.util.placement_group import placement_group

        wanted = {"CPU": self._shape.cpus, "GPU": self._shape.gpus}
        bundle = {name: amount for name, amount in wanted.items() if amount}
        replica.group = placement_group([bundle], strategy="STRICT_PACK")
        replica.state = "waiting"

    def _look_for_room(self) -> None:
        """Starts the replicas that have got room; gives up when there is none for too long."""
        from ray.util.placement_group import placement_group_table

        now = time.monotonic()
        waiting = [replica for replica in self._replicas if replica.state == "waiting"]
        if any(replica.state in ("loading", "ready") for replica in self._replicas):
            self._alive_at = now
        if not waiting or now - self._looked_at < _ROOM_SECONDS:
            return
        self._looked_at = now
        for replica in waiting:
            if placement_group_table(replica.group)["state"] == "CREATED":
                self._start(replica)
        if now - self._alive_at > self._patience:
            raise RunError(
                f"no node has had room for a replica for {self._patience:.0f} seconds; one needs "
                f"{self._shape}",
                hint="wait for other work on the cluster, or add nodes; then run the same command "
                "again: nothing that was answered is lost",
            )

    def _start(self, replica: _Replica) -> None:
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        replica.actor = (
            ray.remote(ReplicaActor)
            .options(
                num_cpus=self._shape.cpus,
                num_gpus=self._shape.gpus,
                scheduling_strategy=PlacementGroupSchedulingStrategy(replica.group),
            )
            .remote()
        )
        version = ko_eval.__version__
        replica.call = replica.actor.load.remote(self._make, self._shape.threads, version)
        replica.state = "loading"

    def _stop(self, replica: _Replica) -> None:
        import ray
        from ray.util.placement_group import remove_placement_group

        if replica.actor is not None:
            ray.kill(replica.actor)
        if replica.group is not None:
            remove_placement_group(replica.group)
        replica.actor = replica.group = replica.call = None

    def _give_up(self, replica: _Replica, reason: str) -> None:
        """Goes on without a replica.

        Raises:
            KoEvalError: it was the last one.
        """
        self._stop(replica)
        replica.state = "gone"
        if any(each.state != "gone" for each in self._replicas):
            self._warn(f"the run goes on without {replica}: {reason}")
            return
        raise self._last_error or ModelError(
            f"no replica is left; of the last one: {reason}",
            hint="run the same command again, which asks only what is missing; if that does not "
            "help, --replicas 1 shows more",
        )

    def _warn(self, text: str) -> None:
        self._warnings[text] = None
        _log.warning(text)


@contextmanager
def _signals() -> Iterator[None]:
    """Lets through what a signal handler raises while Ray waits: Ray wraps it."""
    try:
        yield
    except SystemError as error:
        raise error.__cause__ or error from None


def _fate(loss: Loss) -> str:
    """What becomes of unfinished requests, in words."""
    again = f"{len(loss.requeued)} unfinished requests are asked again"
    return again + (f", {len(loss.given_up)} count as failed" if loss.given_up else "")


def _reason(error: Exception) -> str:
    """Why a replica was lost, in few words where Ray needs many."""
    import ray

    text = str(error).lower()
    if isinstance(error, ray.exceptions.RayTaskError):
        return _last_line(error)
    if "low on memory" in text or "memory pressure" in text:
        return "its node ran out of memory"
    if "node has died" in text or "node died" in text:
        return "its node is gone"
    if isinstance(error, ray.exceptions.ActorUnavailableError):
        return "it cannot be reached any more"
    return "its process died"


def _cannot_load(error: Exception) -> ModelError:
    return ModelError(
        f"a replica cannot be started: {_last_line(error)}",
        hint="install the same ko-eval, Python and engine on every node",
    )


def _last_line(error: Exception) -> str:
    """The last line of Ray's message, where the cause stands."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip()[:200] if lines else type(error).__name__
