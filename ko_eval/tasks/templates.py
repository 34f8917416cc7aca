"""Prompt templates and column expressions: Jinja2, sandboxed, undefined names are errors.

A data row is only ever a value, never a template, so a row cannot run anything.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, UndefinedError
from jinja2.exceptions import SecurityError
from jinja2.filters import do_round
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ko_eval.errors import TaskError
from ko_eval.scorers.cells import parsed_cell
from ko_eval.types import JsonValue

_LONGEST = 10_000_000  # characters of a filled template; no model reads as many
_HIGHEST_POWER = 1000
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_REFUSED = (
    *(TemplateError, ValueError, TypeError, LookupError, ArithmeticError, SyntaxError),
    *(AttributeError, RecursionError),
)
"""What compiling or filling a template raises, besides running out of time or memory."""


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox without the arithmetic that one operation can make endless.

    Loops and long texts end with the bounds under which samples are built.
    """

    # What is intercepted is not computed when the template is compiled, either.
    intercepted_binops = frozenset({"**", "*"})

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        """As the base class.

        Raises:
            SecurityError: a power or a repetition is too large.
        """
        if operator == "**" and not (_is_small(left) and _is_small(right)):
            raise SecurityError("a power is too large")
        for text, times in ((left, right), (right, left)):
            if isinstance(text, str | bytes | list | tuple) and isinstance(times, int):
                _check_repetition(len(text), times)
        return super().call_binop(context, operator, left, right)


def _check_repetition(length: int, times: int) -> None:
    if length * times > _LONGEST:
        raise SecurityError("a repetition is too large")


def _rounded(value: float, precision: int = 0, method: str = "common") -> float:
    """Jinja's filter, which computes a power of ten."""
    if not _is_small(precision):
        raise SecurityError("a precision is too large")
    rounded: float = do_round(value, precision, method)  # type: ignore[arg-type]
    return rounded


def _is_small(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) <= _HIGHEST_POWER


@functools.cache
def _environment() -> ImmutableSandboxedEnvironment:
    # As in the reference: a template's own trailing line break is text, not layout.
    environment = _Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters["literal"] = parsed_cell
    environment.filters["round"] = _rounded
    return environment


@functools.lru_cache(maxsize=1024)
def _template(source: str) -> Template:
    return _environment().from_string(source)


@functools.lru_cache(maxsize=1024)
def _expression(source: str) -> Callable[..., JsonValue]:
    return _environment().compile_expression(source, undefined_to_none=False)


def render(template: str, fields: Mapping[str, JsonValue], *, where: str) -> str:
    """A template filled with fields.

    Args:
        where: names the template in an error, e.g. "tasks/x.yaml, field 'prompt'".

    Raises:
        TaskError: the template is wrong, or names a field that does not exist.
    """
    if "{" not in template:
        return template
    try:
        text = _template(template).render(fields)
    except _REFUSED as error:
        raise _explained(error, fields, where) from error
    if len(text) > _LONGEST:
        raise TaskError(f"the filled template has {len(text):,} characters", where=where)
    # A template can write half of a surrogate pair, which is no text.
    if not text.isascii() and _HALF_PAIR.search(text):
        raise TaskError("the filled template holds half of a surrogate pair", where=where)
    return text


def evaluate(expression: str, fields: Mapping[str, JsonValue], *, where: str) -> JsonValue:
    """The value of a Jinja expression such as ``row["Correct Answer"]`` or ``[A, B, C, D]``.

    Surrounding braces are allowed: ``{{ choices }}`` is ``choices``.

    Raises:
        TaskError: the expression is wrong, or names a field that does not exist.
    """
    source = expression.strip()
    if source.startswith("{{") and source.endswith("}}"):
        source = source[2:-2]
    try:
        value = _expression(source)(fields)
    except _REFUSED as error:
        raise _explained(error, fields, where) from error
    if isinstance(value, StrictUndefined):
        raise _explained(UndefinedError(value._undefined_message), fields, where)
    return value


def _explained(error: Exception, fields: Mapping[str, JsonValue], where: str) -> TaskError:
    known = ", ".join(name for name in fields if name != "row")
    if isinstance(error, TemplateSyntaxError):
        return TaskError(f"the template is not valid: {error.message}", where=where)
    if isinstance(error, UndefinedError):
        return TaskError(
            f"the template needs what is not there: {error.message}",
            where=where,
            hint=f"known here: {known}",
        )
    return TaskError(
        f"the template cannot be filled: {error}", where=where, hint=f"known here: {known}"
    )
