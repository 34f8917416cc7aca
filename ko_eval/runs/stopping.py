"""A run that is told to stop finishes what it has in hand.

After the first SIGINT or SIGTERM answers are still taken as long as they come: the first within
five seconds, more of them within a quarter of a second of each other, and five seconds in all. What
comes so late was computed before the signal, or nearly; without it, a batch's work would be lost. A
second signal ends the run at once. Neither cuts an answer that is being written down.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ko_eval.errors import ModelError, Stopped

GRACE_SECONDS = 5.0
"""Most time between the first signal and the end of asking."""

GAP_SECONDS = 0.25
"""Most time between two answers after the signal, where more of them could be begun."""

# Where a library swallowed the exception, it comes again; later where a library may clean up.
_AGAIN_SECONDS = 1.0
_LOADING_AGAIN_SECONDS = 4.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_Handler = Callable[[int, FrameType | None], object] | int | None


class Stopping:
    """What is known of a stop.

    Attributes:
        signal: the number of the first signal; None as long as there was none.
    """

    def __init__(self, announce: Callable[[], None], gap: float = GAP_SECONDS) -> None:
        self.signal: int | None = None
        self._announce = announce
        self._gap = gap
        self._until = 0.0
        self._taking = False
        self._over: int | None = None
        self._closed = False
        self._alarm: _Handler = None

    @contextmanager
    def taking(self) -> Iterator[None]:
        """While an answer is written down; a signal waits until it is.

        Raises:
            Stopped: at the end, when the time for answers is over.
        """
        self._taking = True
        try:
            yield
        finally:
            self._taking = False
        if self._over is not None:
            raise Stopped(self._over)
        if self.signal is None:
            return
        left = self._until - time.monotonic()
        if left <= 0:
            raise Stopped(self.signal)
        signal.setitimer(signal.ITIMER_REAL, min(self._gap, left), _AGAIN_SECONDS)

    def received(self, number: int, frame: FrameType | None) -> None:
        """Handles a signal."""
        if self.signal is not None:
            self._end(number)
            return
        self.signal = number
        if self._closed:
            return
        self._until = time.monotonic() + GRACE_SECONDS
        # Not before: until then, whoever else has set a timer keeps it.
        self._alarm = signal.signal(signal.SIGALRM, self.too_late)
        signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS, _AGAIN_SECONDS)
        # The signal may have come in the middle of writing to the same stream.
        with contextlib.suppress(RuntimeError, OSError):
            self._announce()

    def too_late(self, number: int, frame: FrameType | None) -> None:
        """Handles the timer."""
        self._end(self.signal or number)

    def close(self) -> None:
        """From here on signals are only noted."""
        self._closed = True
        if self._until:
            # Left over, the timer would end the process long after.
            signal.setitimer(signal.ITIMER_REAL, 0)
            _restore([(signal.SIGALRM, self._alarm)])

    def _end(self, number: int) -> None:
        if self._closed:
            return
        if self._taking:
            self._over = number
            return
        raise Stopped(number)


@contextmanager
def stopping(announce: Callable[[], None], gap: float = GAP_SECONDS) -> Iterator[Stopping]:
    """Takes care of signals while requests are asked.

    Signals that the program was started to ignore, as a shell does for what runs in its background,
    are still ignored. Elsewhere than in the main thread, where Python lets nobody handle signals,
    they do what they did before.

    Args:
        announce: called when the first signal arrives.
        gap: most seconds between two answers after it; longer for an engine that begins nothing new
            (`EndsSoon`), whose answers end by themselves.

    Raises:
        Stopped: in the body, when a stop was asked for and what was in hand is taken.
    """
    state = Stopping(announce, gap)
    if threading.current_thread() is not threading.main_thread():
        yield state
        return
    wanted = [n for n in _SIGNALS if signal.getsignal(n) != signal.SIG_IGN]
    before = [(number, signal.signal(number, state.received)) for number in wanted]
    try:
        yield state
    except ModelError as error:
        if state.signal is not None:
            # Ctrl-C reaches an engine's own processes, too: it is no failure that they end.
            raise Stopped(state.signal) from error
        raise
    finally:
        state.close()
        _restore(before)
    if state.signal is not None:
        # It came with the last answers: what follows is not begun.
        raise Stopped(state.signal)


@contextmanager
def while_loading() -> Iterator[None]:
    """While an engine is imported and started.

    A signal ends the loading; again and again, where a library swallows what that raises. What
    libraries do to the handlers of signals is undone. Ctrl-C, which a terminal sends to every
    process, is kept from those that the engine starts, since they inherit what is blocked: they
    would end in the middle of the batch that the run is to finish.

    Raises:
        Stopped: a signal asked for it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    state = _Ending()
    wanted = [n for n in _SIGNALS if signal.getsignal(n) != signal.SIG_IGN]
    before = [(number, signal.getsignal(number)) for number in _SIGNALS]
    for number in wanted:
        signal.signal(number, state.received)
    ended = threading.Event()
    # Blocked here, Ctrl-C must find another thread of this process, or it would wait for the end.
    threading.Thread(target=ended.wait, name="takes Ctrl-C", daemon=True).start()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        state.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _restore(before)
        ended.set()
    if state.signal is not None:
        raise Stopped(state.signal)


class _Ending:
    """Ends what is done at once.

    Attributes:
        signal: the number of the last signal; None as long as there was none.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._alarm: _Handler = None
        self._closed = False

    def received(self, number: int, frame: FrameType | None) -> None:
        """Handles a signal."""
        first, self.signal = self.signal is None, number
        if self._closed:
            return
        if first:
            self._alarm = signal.signal(signal.SIGALRM, self.again)
            every = _LOADING_AGAIN_SECONDS
            signal.setitimer(signal.ITIMER_REAL, every, every)
        raise Stopped(number)

    def again(self, number: int, frame: FrameType | None) -> None:
        """Handles the timer."""
        if not self._closed:
            raise Stopped(self.signal or number)

    def close(self) -> None:
        """From here on signals are only noted."""
        self._closed = True
        if self._alarm is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            _restore([(signal.SIGALRM, self._alarm)])


def _restore(handlers: list[tuple[signal.Signals, _Handler]]) -> None:
    for number, handler in handlers:
        # None: a handler that was not set from Python, and cannot be set from there.
        signal.signal(number, signal.SIG_DFL if handler is None else handler)
