"""Lists and objects that a cell of the data holds as text.

Public data writes them as JSON or as Python literals (FACTS 4); both are read, nothing is run.
"""

from __future__ import annotations

import ast
import json

from ko_eval.types import JsonValue


def parsed_cell(value: JsonValue) -> JsonValue:
    """What a text cell holds; any other value as it is.

    Raises:
        ValueError: the text is neither JSON nor a Python literal, or nested without end.
    """
    if not isinstance(value, str):
        return value
    for parse in (json.loads, ast.literal_eval):
        try:
            parsed: JsonValue = parse(value)
            return parsed
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    raise ValueError(f"neither JSON nor a Python literal: {value[:60]!r}")


def parsed_or_none(value: JsonValue) -> JsonValue:
    """As `parsed_cell`, with None for a text that cannot be read."""
    try:
        return parsed_cell(value)
    except ValueError:
        return None
