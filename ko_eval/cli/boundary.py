"""The one place where errors become messages and exit codes.

0 done; 1 finished, but some samples failed; 2 the user must change something; 130 or 143 stopped by
a signal, resumable.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from ko_eval.errors import KoEvalError


class Terminated(BaseException):
    """SIGTERM was received."""


def _terminate(signal_number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


@contextmanager
def boundary(*, debug: bool, resumable: bool = False) -> Iterator[None]:
    """Runs a command's body; shows its errors in two or three lines.

    Args:
        debug: show tracebacks as well.
        resumable: after a signal, say how to go on.
    """
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except KoEvalError as error:
        if debug:
            traceback.print_exc()
        leave(f"error: {error}", error.exit_code)
    except KeyboardInterrupt:
        leave(_stopped("interrupted", resumable), 130)
    except Terminated:
        leave(_stopped("terminated", resumable), 143)
    except BrokenPipeError:
        # The reader of stdout went away (`| head`): nothing is left to say, nor anyone to hear it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


def leave(message: str, code: int) -> NoReturn:
    """Ends the command with a message on stderr."""
    sys.stderr.write(message + "\n")
    raise SystemExit(code)


def _stopped(how: str, resumable: bool) -> str:
    if not resumable:
        return how
    command = shlex.join(["ko-eval", *sys.argv[1:]])
    return f"{how}; every finished response is kept\n  to go on: {command}"
