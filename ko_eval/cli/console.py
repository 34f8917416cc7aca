"""Consoles: data on stdout, everything else on stderr.

What is shown may come from models, data and files: whatever goes through here is made safe for a
terminal, and holds no secrets.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from ko_eval.safe_text import redacted, visible

# Into a file or a pipe a table keeps its lines whole.
_WIDE = 200


class SafeConsole(Console):
    """A console that writes control characters out, except those of its own colours."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # Start-up: a table renders what it holds once more at each of its levels, and to look each
        # time for secrets in the environment takes longer than all else of it.
        self._safe = functools.lru_cache(maxsize=1024)(_safe)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """As the base class, with the texts made safe."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(self._safe(segment.text), segment.style)


def _safe(text: str) -> str:
    return visible(redacted(text))


def stdout_console() -> Console:
    """For data."""
    width = None if sys.stdout.isatty() else _WIDE
    return SafeConsole(width=width, highlight=False, markup=False, emoji=False)


def stderr_console() -> Console:
    """For progress, warnings and errors."""
    return SafeConsole(stderr=True, highlight=False, markup=False, emoji=False)
