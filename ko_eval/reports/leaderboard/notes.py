"""What is to be said about a run that is not ranked, or not with others, as data: a code and facts.

The words for each code, in English and Korean, are in `words.py` under `note_<code>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Code = Literal[
    "duplicate_newer",
    "duplicate_fuller",
    "duplicate_sounder",
    "missing_tasks",
    "failed",
    "limited",
    "differs_variant",
    "differs_metric",
    "differs_data",
    "differs_fewshot",
    "differs_prompts",
    "differs_definition",
    "differs_chat_template",
    "unreadable",
]


@dataclass(frozen=True, slots=True)
class Note:
    """One remark.

    Attributes:
        code: what kind of remark.
        model: whom it is about; empty where no model is known.
        path: the run it is about; empty where it is about a whole board.
        values: what fills the places of its words.
    """

    code: Code
    model: str = ""
    path: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
