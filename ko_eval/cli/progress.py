"""Progress of a run on stderr: bars on a terminal; elsewhere only warnings."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class ConsoleReporter:
    """Draws a run's progress; a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: dict[str, TaskID] = {}
        self._tokens: dict[str, int] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def stage(self, text: str) -> None:
        if self._console.is_terminal:
            self._console.print(Text(text, style="dim"), soft_wrap=True)

    def warning(self, text: str) -> None:
        self._console.print(Text(f"warning: {text}", style="yellow"), soft_wrap=True)

    def task(self, name: str, done: int, total: int) -> None:
        self._tokens[name] = 0
        self._bars[name] = self._progress.add_task(name, total=total, completed=done, rate="")

    def answered(self, name: str, tokens: int) -> None:
        bar = self._bars[name]
        self._tokens[name] += tokens
        seconds = self._progress.tasks[bar].elapsed or 0.0
        rate = f"{self._tokens[name] / seconds:,.0f} tokens/s" if seconds > 0 else ""
        self._progress.update(bar, advance=1, rate=rate)
