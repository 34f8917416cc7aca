"""What must be known about a model beyond its folder: `configs/models/*.yaml`.

The first file (by name) whose `match` fits the model is used; `default.yaml` fits all others.
"""

from __future__ import annotations

import fnmatch
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ko_eval.engines.model_folder import ModelFolder
from ko_eval.engines.server_model import ServerModel
from ko_eval.errors import ModelError
from ko_eval.resources import shipped
from ko_eval.types import JsonValue


class Reasoning(BaseModel):
    """How a model marks the thought before its answer.

    Attributes:
        start, end: texts around the thought.
        enabled: `auto` gives the thought a token budget when the chat template knows the start
            mark; a thought that appears anyway is split off in any case.
        max_tokens: most tokens of a thought, on top of the answer's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    start: str = "<think>"
    end: str = "</think>"
    enabled: bool | Literal["auto"] = "auto"
    max_tokens: int = 8192


class Match(BaseModel):
    """Which models a file is for: shell patterns of the model's type or name."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    model_type: list[str] = []
    name: list[str] = []


_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Price(BaseModel):
    """What a server takes for a million tokens that it reads, and that it writes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    input_per_million: _Amount
    output_per_million: _Amount
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"


class ModelSettings(BaseModel):
    """Settings of one kind of model; a price is only used for servers."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    match: Match = Match()
    reasoning: Reasoning = Reasoning()
    chat_template_arguments: dict[str, bool | int | str] = {}
    price: Price | None = None

    def answers_layer(self) -> dict[str, JsonValue]:
        """What of the settings can move an answer."""
        layer: dict[str, JsonValue] = self.model_dump(mode="json", exclude={"price"})
        return layer


def all_settings() -> dict[str, ModelSettings]:
    """Every settings file by its name, `default` last.

    Raises:
        ModelError: a settings file is wrong.
    """
    found: dict[str, ModelSettings] = {}
    paths = sorted(
        shipped("configs", "models").glob("*.yaml"), key=lambda path: (path.stem == "default", path)
    )
    for path in paths:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            found[path.stem] = ModelSettings.model_validate(content)
        except (ValidationError, yaml.YAMLError, OSError) as error:
            raise ModelError(
                f"the model settings cannot be read: {error}", where=str(path)
            ) from error
    return found


def settings_for(model: ModelFolder | ServerModel) -> ModelSettings:
    """The settings of a model: the first that match, else the default ones.

    Raises:
        ModelError: a settings file is wrong.
    """
    settings = all_settings()
    for name, candidate in settings.items():
        if name != "default" and _fits(candidate.match, model):
            return candidate
    return settings.get("default", ModelSettings())


def _fits(match: Match, model: ModelFolder | ServerModel) -> bool:
    by_type = any(fnmatch.fnmatch(model.model_type, pattern) for pattern in match.model_type)
    by_name = any(fnmatch.fnmatch(model.name.lower(), pattern) for pattern in match.name)
    return by_type or by_name
