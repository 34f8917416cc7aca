"""Requests to a server, sent again as long as that may help.

A failure is followed by another attempt after a time that doubles, with jitter, so that what
failed together does not come back together. Refusals for lack of room (429 and the like) do not
count as attempts, and many of them are borne: they are the server's way to set the pace.
"""

from __future__ import annotations

import asyncio
import random
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from queue import SimpleQueue
from typing import Any, TypeVar

from ko_eval.engines.server_client import Trouble
from ko_eval.engines.server_options import ServerOptions
from ko_eval.engines.server_pace import Pace

_T = TypeVar("_T")

_LONGEST_BACKOFF = 60.0
# A server that wants to be left alone for longer is not waited for.
_LONGEST_WAIT = 600.0


class GaveUp(Exception):
    """A request was sent as often as it may be; the message is the last reason.

    Attributes:
        busy: the server had no room for it.
        for_long: it has none for anything, for longer than a run waits.
    """

    def __init__(self, reason: str, *, busy: bool, for_long: bool = False) -> None:
        super().__init__(reason)
        self.busy = busy
        self.for_long = for_long


class Ended(Exception):
    """The run is told to stop, and this request was not in flight."""


class Calls:
    """Sends requests at the pace that the server sets.

    Args:
        ending: once it is set, nothing is sent any more.
    """

    def __init__(self, options: ServerOptions, ending: threading.Event | None = None) -> None:
        self.pace = Pace(options.concurrency)
        self._ending = ending or threading.Event()
        self._options = options
        self._random = random.Random()

    async def answer(self, send: Callable[[], Awaitable[_T]]) -> _T:
        """The answer to one request.

        Raises:
            GaveUp: the server does not give one.
            Ended: it was not sent, since the run ends.
            Refusal, ModelError: see `ServerClient`.
        """
        failures = refusals = 0
        while True:
            try:
                return await self._sent(send)
            except Trouble as trouble:
                failures += not trouble.busy
                refusals += trouble.busy
                if failures >= self._options.attempts or refusals >= self._options.refusals:
                    times = f" (asked {failures + refusals} times)"
                    raise GaveUp(trouble.reason + times, busy=trouble.busy) from trouble
                wait = trouble.wait or 0.0
                if wait > _LONGEST_WAIT:
                    reason = f"{trouble.reason} (to be left alone for {wait:,.0f} s)"
                    raise GaveUp(reason, busy=trouble.busy, for_long=trouble.busy) from trouble
                await asyncio.sleep(max(wait, self._delay(failures + refusals)))

    async def _sent(self, send: Callable[[], Awaitable[_T]]) -> _T:
        async with self.pace:
            if self._ending.is_set():
                raise Ended
            began = time.monotonic()
            try:
                found = await send()
            except Trouble as trouble:
                if trouble.busy:
                    wait = trouble.wait if trouble.wait is not None else self._delay(1)
                    # What is too long is not waited for: the run ends.
                    self.pace.refused(began, wait if wait <= _LONGEST_WAIT else 0.0)
                raise
            self.pace.answered()
            return found

    def _delay(self, attempt: int) -> float:
        longest = min(_LONGEST_BACKOFF, self._options.backoff * 2.0 ** (attempt - 1))
        return longest * self._random.uniform(0.5, 1.0)


def wait_for(work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Does asynchronous work in a thread of its own: in a notebook, a loop runs in this one."""
    results: SimpleQueue[tuple[_T | None, BaseException | None]] = SimpleQueue()

    def run() -> None:
        try:
            results.put((asyncio.run(work()), None))
        except BaseException as error:
            results.put((None, error))

    threading.Thread(target=run, name="server", daemon=True).start()
    # Ctrl-C is blocked while an engine loads, for the processes that it starts; here are none.
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    try:
        found, error = results.get()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if error is not None:
        raise error
    return found  # type: ignore[return-value]
