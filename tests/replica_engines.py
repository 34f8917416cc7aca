"""Engines without a model, for what is about replicas alone: they sleep, and some die.

They are made in the replicas' own processes, by `functools.partial` objects that Ray pickles.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ko_eval.engines.base import (
    Answer,
    Capabilities,
    EncodedGenerate,
    EncodedLoglikelihood,
    EncodedPair,
    EncodedRequest,
)
from ko_eval.errors import ModelError
from ko_eval.types import ContextContinuation, LoglikelihoodRequest, LoglikelihoodResponse


def requests(count: int, *, tokens: int = 100, task: str = "task") -> list[EncodedRequest]:
    """Log-likelihood requests with keys `task-0`, `task-1`, … that share no beginning."""
    return [
        EncodedLoglikelihood(
            key=f"{task}-{number}",
            request=LoglikelihoodRequest(task, str(number), (ContextContinuation("", ""),)),
            pairs=(EncodedPair((number + 10,) * (tokens - 1), (1,)),),
            truncated_tokens=0,
        )
        for number in range(count)
    ]


class SleepingEngine:
    """Sleeps for each token.

    Args:
        seconds: per token.
        deadly: keys of requests on which its process dies.
    """

    def __init__(self, seconds: float = 0.0, deadly: Sequence[str] = ()) -> None:
        self.seconds = seconds
        self.deadly = frozenset(deadly)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(True, True, {"engine": "sleeping"})

    @property
    def warnings(self) -> Sequence[str]:
        return ("slept",)

    def answers(self, requests: Sequence[EncodedRequest]) -> Iterator[Answer]:
        for request in requests:
            if request.key in self.deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            assert isinstance(request, EncodedLoglikelihood)
            pair = request.pairs[0]
            started = time.perf_counter()
            time.sleep(self.seconds * (len(pair.context) + 1))
            seconds = time.perf_counter() - started
            response = LoglikelihoodResponse((-float(pair.context[0]),), (1,), len(pair.context))
            yield Answer(request.key, response, seconds)

    def loglikelihood(self, requests: Sequence[EncodedLoglikelihood]) -> Iterator[Answer]:
        return self.answers(requests)

    def generate(self, requests: Sequence[EncodedGenerate]) -> Iterator[Answer]:
        return self.answers(requests)


def dying_while_it_loads() -> SleepingEngine:
    os._exit(1)


def not_on_this_node() -> SleepingEngine:
    raise ModelError("the folder '/models/x' is not on this node", hint="copy it")


def loading_only_once(mark: Path) -> SleepingEngine:
    """Loads where it is called first; elsewhere the model is missing."""
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return not_on_this_node()
    return SleepingEngine(0.0001)


def broken(_: object = None) -> SleepingEngine:
    """Loads, and fails at the first request."""
    return SleepingEngine(-1.0)
