"""What must be known about a model beyond its folder: `configs/models/*.yaml`.

The first file (by name) whose `match` fits the model is used; `default.yaml` fits all others.
"""

from __future__ import annotations

import fnmatch
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from ko_eval.engines.model_folder import ModelFolder
from ko_eval.errors import ModelError
from ko_eval.resources import shipped


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


class ModelSettings(BaseModel):
    """Settings of one kind of model."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    match: Match = Match()
    reasoning: Reasoning = Reasoning()
    chat_template_arguments: dict[str, bool | int | str] = {}


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


def settings_for(folder: ModelFolder) -> ModelSettings:
    """The settings of a model: the first that match, else the default ones.

    Raises:
        ModelError: a settings file is wrong.
    """
    settings = all_settings()
    for name, candidate in settings.items():
        if name != "default" and _fits(candidate.match, folder):
            return candidate
    return settings.get("default", ModelSettings())


def _fits(match: Match, folder: ModelFolder) -> bool:
    by_type = any(fnmatch.fnmatch(folder.model_type, pattern) for pattern in match.model_type)
    by_name = any(fnmatch.fnmatch(folder.name.lower(), pattern) for pattern in match.name)
    return by_type or by_name
