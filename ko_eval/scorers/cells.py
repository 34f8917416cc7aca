"""Lists and objects that a cell of the data holds as text.

Public data writes them as JSON or as Python literals (FACTS 4); both are read, nothing is run.
"""

from __future__ import annotations

import ast
import warnings

from ko_eval.bounds import parsed_json
from ko_eval.types import JsonValue

# Python's own parser takes some 500 bytes of memory for each byte.
_LONGEST_LITERAL = 200_000


def parsed_cell(value: JsonValue) -> JsonValue:
    """What a text cell holds; any other value as it is.

    Raises:
        ValueError: the text is neither JSON nor a Python literal, or nested without end; or it is
            no JSON and longer than 200,000 characters.
    """
    if not isinstance(value, str):
        return value
    for parse in (parsed_json, _literal):
        try:
            return parse(value)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    raise ValueError(f"neither JSON nor a Python literal: {value[:60]!r}")


def _literal(text: str) -> JsonValue:
    if len(text) > _LONGEST_LITERAL:
        raise ValueError("too long for a Python literal")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes that Python does not know
        value: JsonValue = ast.literal_eval(text)
    return value


def parsed_or_none(value: JsonValue) -> JsonValue:
    """As `parsed_cell`, with None for a text that cannot be read."""
    try:
        return parsed_cell(value)
    except ValueError:
        return None
