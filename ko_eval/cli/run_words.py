"""The options of `ko-eval run`, read from the command itself, for those who start it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import typer
import typer.main

from ko_eval.cli import run_command
from ko_eval.errors import UsageError, near_miss
from ko_eval.types import JsonValue

# What a batch plan has a field for, and what makes no sense in one.
_ELSEWHERE = {
    **dict.fromkeys(("model", "revision"), "models"),
    "suite": "suites",
    "tasks": "tasks",
    "data": "data",
    "out": "out",
}
_LEFT_OUT = {"help", "debug"}
# A folder or file, where a word may also be something else.
_PATHS = {"adapter", "pack"}
# The library's own base of everything that can be wrong with a command line.
_REFUSED: type[Exception] = typer.BadParameter.__mro__[1]


class RunWords:
    """Turns options by name into words of a command line, and words into values."""

    def __init__(self) -> None:
        app = typer.Typer(add_completion=False)
        app.command("run")(run_command.run)
        self._command = typer.main.get_command(app)
        self._options = {
            parameter.name: parameter
            for parameter in self._command.params
            if parameter.name and parameter.name not in {*_ELSEWHERE, *_LEFT_OUT}
        }

    def words(self, options: Mapping[str, JsonValue]) -> list[str]:
        """Options by name as words of a command line, in the order of their names.

        Raises:
            UsageError: an option is unknown, of the wrong kind, or has a field of its own.
        """
        words: list[str] = []
        for name, value in sorted(options.items()):
            if name in _ELSEWHERE:
                raise UsageError(
                    f"'{name}' is not among a model's options",
                    hint=f"the plan has the field '{_ELSEWHERE[name]}' for it",
                )
            if name not in self._options:
                raise UsageError(
                    f"`ko-eval run` has no option '{name}'", hint=near_miss(name, self._options)
                )
            flag = self._options[name].opts[0]
            if getattr(self._options[name], "is_flag", False):
                if not isinstance(value, bool):
                    raise UsageError(f"option '{name}' is true or false, not {value!r}")
                words += [flag] if value else []
                continue
            many = value if isinstance(value, list) else [value]
            if isinstance(value, list) and not getattr(self._options[name], "multiple", False):
                raise UsageError(f"option '{name}' takes one value, not a list")
            for one in many:
                if isinstance(one, bool) or not isinstance(one, str | int | float):
                    raise UsageError(f"option '{name}' takes a text or number, not {one!r:.80}")
                # In one word, so that a value that begins with a dash stays a value.
                words.append(f"{flag}={_word(name, one)}")
        return words

    def values(self, words: Sequence[str]) -> Mapping[str, object]:
        """What `ko-eval run` would understand, by the names of its parameters.

        Raises:
            UsageError: it would refuse them.
        """
        try:
            return dict(self._command.make_context("run", list(words)).params)
        except _REFUSED as error:
            told = error.format_message() if hasattr(error, "format_message") else str(error)
            raise UsageError(
                f"`ko-eval run` would refuse an option: {told}",
                hint="`ko-eval run --help` lists what each option takes",
            ) from error


def _word(name: str, value: str | int | float) -> str:
    return str(Path(str(value)).resolve()) if name in _PATHS else str(value)
