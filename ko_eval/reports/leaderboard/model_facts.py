"""`--models FILE`: what result files do not say of a model; what is not said stays unknown.

org/model-7b:
  type: instruction
  parameters: 7.6B
  licence: apache-2.0
  released: 2026-03
  link: https://example.org/model-7b
  price: {input_per_million: 0.1, output_per_million: 0.4, currency: USD}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from ko_eval.errors import TaskError
from ko_eval.tasks.registry import validated
from ko_eval.yaml_files import read_mapping

# "7.6B", "900M", "1.1T"; not "7 Bn", "8x7B" (whose parameters are not 56 billion).
_SIZE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)\s?([MBT])", re.IGNORECASE)
_UNITS = {"M": 1e6, "B": 1e9, "T": 1e12}


def _count(value: object) -> object:
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    return float(match[1]) * _UNITS[match[2].upper()] if match else value


def _date(value: object) -> object:
    # YAML makes a date of 2026-03-01, a number of 2026.
    return str(value) if value is not None else None


Word = Annotated[str, StringConstraints(min_length=1, max_length=60, strip_whitespace=True)]


Amount = Annotated[float, Field(ge=0, le=1e9)]


class Price(BaseModel):
    """What a million tokens cost, read and written."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    input_per_million: Amount
    output_per_million: Amount
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] = "USD"


class ModelFacts(BaseModel):
    """What is known of a model apart from its scores.

    Attributes:
        type: such as `pretrained`, `instruction`, `reasoning`, `merge`.
        parameters: how many; with M, B or T as well.
        released: year, month or day: `2026`, `2026-03`, `2026-03-01`.
        link: to where it is published.
        price: of a million tokens, for the chart of score and cost.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    type: Word | None = None
    parameters: Annotated[float, BeforeValidator(_count), Field(gt=0, le=1e15)] | None = None
    licence: Word | None = None
    released: (
        Annotated[
            str,
            BeforeValidator(_date),
            StringConstraints(
                pattern=r"^(19|20)[0-9]{2}(-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01]))?)?$"
            ),
        ]
        | None
    ) = None
    link: (
        Annotated[str, StringConstraints(pattern=r"^https://[^\s\"'<>\\]{1,500}$", max_length=510)]
        | None
    ) = None
    price: Price | None = None


NOTHING_KNOWN = ModelFacts()


class _ModelsFile(BaseModel):
    models: dict[str, ModelFacts | None]


def read_model_facts(path: Path) -> Mapping[str, ModelFacts]:
    """Facts by the model's name, as results show it.

    Raises:
        TaskError: the file cannot be read, or says something wrong (the field is named).
    """
    content = read_mapping(path, what="file of models")
    try:
        models = validated(_ModelsFile, {"models": content}, path).models
    except TaskError as error:
        # The user's file has no `models`, and is no task file.
        raise TaskError(
            error.what.replace("'models.", "'", 1),
            where=error.where and error.where.replace("field 'models.", "field '", 1),
            hint=f"a model has the fields {', '.join(ModelFacts.model_fields)}",
        ) from error
    return {name: facts or NOTHING_KNOWN for name, facts in models.items()}
