"""`ko-eval` where no socket leads out of the process: run as a script, with its arguments.

Python's audit hook sees every connection and every name that is looked up, also where a library
kept the functions of `socket`. Each is refused, and written down to the file in BLOCKED_SOCKETS.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_EVENTS = {
    *("socket.connect", "socket.sendto", "socket.sendmsg"),
    *("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"),
}


def block(record: Path) -> None:
    """Refuses every connection from now on, and writes it to a file."""

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in _EVENTS:
            with record.open("a", encoding="utf-8") as file:
                file.write(f"{event} {arguments[-1]!r} {arguments!r}\n")
            raise OSError(101, f"blocked: {event}")

    record.write_text("", encoding="utf-8")
    sys.addaudithook(hook)


if __name__ == "__main__":
    block(Path(os.environ["BLOCKED_SOCKETS"]))
    from ko_eval.cli.main import main

    main()
