"""Consoles: data on stdout, everything else on stderr."""

from __future__ import annotations

import sys

from rich.console import Console

# Into a file or a pipe a table keeps its lines whole.
_WIDE = 200


def stdout_console() -> Console:
    """For data."""
    width = None if sys.stdout.isatty() else _WIDE
    return Console(width=width, highlight=False, markup=False, emoji=False)


def stderr_console() -> Console:
    """For progress, warnings and errors."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False)
