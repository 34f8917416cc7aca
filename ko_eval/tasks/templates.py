"""Prompt templates and column expressions: Jinja2, sandboxed, undefined names are errors.

A data row is only ever a value, never a template, so a row cannot run anything.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ko_eval.errors import TaskError
from ko_eval.scorers.cells import parsed_cell
from ko_eval.types import JsonValue


@functools.cache
def _environment() -> ImmutableSandboxedEnvironment:
    # As in the reference: a template's own trailing line break is text, not layout.
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["literal"] = parsed_cell
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
        return _template(template).render(fields)
    except (TemplateError, ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise _explained(error, fields, where) from error


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
        value = _expression(source)(**fields)
    except (
        TemplateError,
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        SyntaxError,
    ) as error:
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
