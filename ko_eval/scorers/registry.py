"""Scorers by the name that a task file gives.

scorer = create_scorer("eq_bench", {"boundary": "<5"})
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping

from ko_eval.errors import TaskError, near_miss
from ko_eval.scorers.base import Scorer
from ko_eval.scorers.choice_likelihood import ChoiceLikelihood
from ko_eval.scorers.context_likelihood import ContextLikelihood
from ko_eval.scorers.eq_bench import EqBench
from ko_eval.scorers.graded_choice import GradedChoice
from ko_eval.scorers.gsm8k import Gsm8k
from ko_eval.scorers.ifeval import Ifeval
from ko_eval.scorers.social_value import SocialValue
from ko_eval.types import JsonValue

SCORERS: Mapping[str, type] = {
    "choice_likelihood": ChoiceLikelihood,
    "context_likelihood": ContextLikelihood,
    "graded_choice": GradedChoice,
    "social_value": SocialValue,
    "gsm8k": Gsm8k,
    "eq_bench": EqBench,
    "ifeval": Ifeval,
}


def create_scorer(name: str, parameters: Mapping[str, JsonValue]) -> Scorer:
    """A scorer with its parameters checked.

    Raises:
        TaskError: unknown name or parameter, or a value that the parameter does not take.
    """
    if name not in SCORERS:
        raise TaskError(f"unknown scorer '{name}'", hint=near_miss(name, SCORERS))
    scorer = SCORERS[name]
    fields = {field.name for field in dataclasses.fields(scorer)}
    types = typing.get_type_hints(scorer)
    for parameter, value in parameters.items():
        if parameter not in fields:
            raise TaskError(
                f"scorer '{name}' has no parameter '{parameter}'",
                hint=near_miss(parameter, fields) if fields else "it takes no parameters",
            )
        allowed = typing.get_args(types[parameter])
        if value not in allowed:
            raise TaskError(
                f"scorer '{name}': {parameter} cannot be {value!r}",
                hint="one of: " + ", ".join(str(x) for x in allowed),
            )
    created: Scorer = scorer(**parameters)
    return created
