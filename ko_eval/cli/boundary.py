"""The one place where errors become messages and exit codes.

0 done; 1 finished, but some samples failed; 2 the user must change something; 130 or 143 stopped by
a signal, resumable.
"""

from __future__ import annotations

import errno
import os
import select
import shlex
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from ko_eval.errors import KoEvalError, Stopped
from ko_eval.safe_text import redacted, visible


def _terminate(signal_number: int, frame: FrameType | None) -> NoReturn:
    raise Stopped(signal_number)


@contextmanager
def boundary(*, debug: bool, resumable: bool = False) -> Iterator[None]:
    """Runs a command's body; shows its errors in two or three lines.

    Args:
        debug: show tracebacks as well.
        resumable: after a signal, say how to go on.
    """
    if signal.getsignal(signal.SIGTERM) != signal.SIG_IGN:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except KoEvalError as error:
        if debug:
            traceback.print_exc()
        leave(f"error: {error}", error.exit_code)
    except KeyboardInterrupt:
        leave(_stopped(signal.SIGINT, resumable), 128 + signal.SIGINT)
    except Stopped as stop:
        leave(_stopped(stop.signal, resumable), 128 + stop.signal)
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        # `| head`: nothing is left to say, nor anyone to hear it.
        _forget_stdout()
        raise SystemExit(0) from None
    except OSError as error:
        # Files of ours are named; without a name it is what stdout goes to.
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        _forget_stdout()
        leave(
            "error: the output could not be written: no space left\n"
            "  to do: make room where stdout goes, and run the command again",
            2,
        )


def leave(message: str, code: int) -> NoReturn:
    """Ends the command with a message on stderr."""
    # A terminal that was closed hears nothing, and the code is to tell all the same.
    with suppress(OSError):
        sys.stderr.write(message + "\n")
        sys.stderr.flush()
    raise SystemExit(code)


def _forget_stdout() -> None:
    """What is still to be written goes nowhere, and is no second error at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _reader_is_gone() -> bool:
    """Whether stdout is a pipe that nobody reads; pipes to an engine's processes break, too."""
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):
        return False
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _stopped(number: int, resumable: bool) -> str:
    how = "interrupted" if number == signal.SIGINT else "terminated"
    if not resumable:
        return how
    # It goes to logs, and options of engines may hold tokens.
    command = shlex.join(["ko-eval", *(visible(redacted(word)) for word in sys.argv[1:])])
    return f"{how}; every finished response is kept\n  to go on: {command}"
