"""The command `ko-eval`. Each command is a module of this package, imported when the command is
called; it imports what it needs when it runs, so that each command starts quickly."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

import ko_eval

_COMMANDS: Mapping[str, str] = {
    "run": "run_command:run",
    "plan": "plan_command:plan",
    "pack": "pack_command:pack",
    "batch": "batch_command:batch",
    "status": "status_command:status",
    "list": "list_command:list_",
    "show": "show_command:show",
    "report": "report_command:report",
    "leaderboard": "leaderboard_command:leaderboard",
    "score": "score_command:score",
    "compare": "compare_command:compare",
    "verify": "verify_command:verify",
    "reproduce": "reproduce_command:reproduce",
    "export": "export_command:export",
    "import-board": "import_board_command:import_board",
    "doctor": "doctor_command:doctor",
}
"""Module and function of each command, in the order of `--help`."""


@functools.cache
def _built(name: str) -> TyperCommand:
    """A command, imported and put together from the annotations of its function."""
    module, _, function = _COMMANDS[name].partition(":")
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name)(getattr(importlib.import_module(f"ko_eval.cli.{module}"), function))
    command = typer.main.get_command(alone)
    assert isinstance(command, TyperCommand)
    return command


class _WhenAskedFor(Mapping[str, TyperCommand]):
    """The commands by name. Start-up: each is built when it is looked up, as few ever are."""

    def __getitem__(self, name: str) -> TyperCommand:
        return _built(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


class _Group(TyperGroup):
    """The command line; of its commands, only the one that is called is built."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _WhenAskedFor()  # type: ignore[assignment]  # it is only read


app = typer.Typer(
    name="ko-eval",
    cls=_Group,
    help="How good is a language model in Korean? Evaluates it on the nine tasks of the Open "
    "Ko-LLM Leaderboard Season 2, and on your own.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(ko_eval.__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    pass


def main() -> None:
    """Entry point of the console script."""
    # Looking for plugins of pydantic reads the metadata of every installed package.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
    app()


if __name__ == "__main__":
    main()
