"""What runs in a replica's own process: an engine, fed from a queue, whose answers are fetched.

The driver always has one call of `exchange` open with a replica. It brings the next units and
returns as soon as there are answers; those that come within a moment of each other travel together.
What a replica has given back is safe when it dies; the rest is asked again.
"""

from __future__ import annotations

import os
import platform
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import ko_eval
from ko_eval.cluster.work_units import WorkUnit
from ko_eval.engines.base import Answer, Engine
from ko_eval.errors import KoEvalError, ModelError, first_line
from ko_eval.types import JsonValue

EngineMaker = Callable[[], Engine]
"""Loads the model, where the replica runs; must be picklable."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a replica says once its model is loaded.

    Attributes:
        host, process: where it runs.
    """

    host: str
    process: int
    conditions: dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Given:
    """What a call of `exchange` returns.

    Attributes:
        answers: each with the number of its unit.
        finished: numbers of units that the engine is through with.
        conditions, warnings: the engine's, as of now.
        error: the engine as a whole cannot go on.
    """

    answers: Sequence[tuple[int, Answer]]
    finished: Sequence[int]
    conditions: dict[str, JsonValue]
    warnings: Sequence[str]
    error: KoEvalError | None


@dataclass(slots=True)
class _Out:
    """What waits to be fetched."""

    answers: list[tuple[int, Answer]] = field(default_factory=list)
    finished: list[int] = field(default_factory=list)
    error: KoEvalError | None = None


class ReplicaActor:
    """Becomes an actor: Ray wraps it where the replica is started."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._inbox: deque[WorkUnit] = deque()
        self._out = _Out()
        self._changed = threading.Condition()

    def load(self, make: EngineMaker, threads: int, version: str) -> Loaded | KoEvalError:
        """Loads the model; an error of the user's is returned, any other is raised.

        Args:
            threads: for computing, where there is no GPU.
            version: of ko-eval, as the driver runs it.
        """
        host = platform.node()
        # Read when torch is imported, which is not yet.
        os.environ["OMP_NUM_THREADS"] = str(threads)
        try:
            if version != ko_eval.__version__:
                raise ModelError(
                    f"ko-eval {ko_eval.__version__} is installed there, {version} here",
                    hint="install the same version on every node",
                )
            self._engine = make()
        except KoEvalError as error:
            where = f"node {host}" + (f", {error.where}" if error.where else "")
            return type(error)(error.what, where=where, hint=error.hint)
        threading.Thread(target=self._work, args=(self._engine,), daemon=True).start()
        return Loaded(host, os.getpid(), self._engine.capabilities.conditions)

    def exchange(self, units: Sequence[WorkUnit], window: float) -> Given:
        """Takes units; returns what was answered, waiting until there is something.

        Args:
            window: seconds in which further answers may join the first, unless a unit is finished.
        """
        assert self._engine is not None
        with self._changed:
            self._inbox.extend(units)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._ended() or bool(self._out.answers))
            self._changed.wait_for(self._ended, timeout=window)
            out, self._out = self._out, _Out()
        return Given(
            out.answers,
            out.finished,
            self._engine.capabilities.conditions,
            tuple(self._engine.warnings),
            out.error,
        )

    def _ended(self) -> bool:
        return bool(self._out.finished) or self._out.error is not None

    def _work(self, engine: Engine) -> None:
        """Answers unit after unit, in a thread of its own."""
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: bool(self._inbox))
                    unit = self._inbox.popleft()
                for answer in engine.answers(unit.requests):
                    with self._changed:
                        self._out.answers.append((unit.number, answer))
                        self._changed.notify_all()
                with self._changed:
                    self._out.finished.append(unit.number)
                    self._changed.notify_all()
        except BaseException as error:  # even an exit: the driver is told, or it waits for ever
            if not isinstance(error, KoEvalError):
                error = ModelError(
                    f"the engine failed: {type(error).__name__}: {first_line(error)}"
                )
            with self._changed:
                self._out.error = error
                self._changed.notify_all()
