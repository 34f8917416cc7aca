"""How many requests a server gets at once: as many as it takes, and fewer when it says so.

Additive increase, multiplicative decrease, as in TCP (Chiu and Jain 1989): a refusal halves the
limit, once for all requests that were in flight together; a limit's worth of answers raises it by
one, up to what the user allows.
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Self


class Pace:
    """A gate that every request passes; an asynchronous context manager.

    Attributes:
        limit: most requests in flight now.
    """

    def __init__(self, most: int) -> None:
        self.limit = most
        self._most = most
        self._running = 0
        self._answered = 0
        self._lowered = 0.0
        self._closed_until = 0.0
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._running < self.limit)
                left = self._closed_until - time.monotonic()
                if left <= 0:
                    self._running += 1
                    return self
            await asyncio.sleep(left)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._running -= 1
        async with self._changed:
            self._changed.notify_all()

    def answered(self) -> None:
        """A request was answered."""
        self._answered += 1
        if self._answered >= self.limit and self.limit < self._most:
            self.limit += 1
            self._answered = 0

    def refused(self, began: float, wait: float) -> None:
        """The server asked for fewer requests.

        Args:
            began: when the refused request was sent, by `time.monotonic`.
            wait: seconds in which nothing is sent.
        """
        now = time.monotonic()
        self._closed_until = max(self._closed_until, now + wait)
        if began >= self._lowered:
            self._lowered = now
            self._answered = 0
            self.limit = max(1, self.limit // 2)
