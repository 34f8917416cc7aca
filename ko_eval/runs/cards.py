"""Published score cards: `configs/published/*.yaml`, facts with their source."""

from __future__ import annotations

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from ko_eval.errors import TaskError
from ko_eval.resources import shipped


class Card(BaseModel):
    """Scores somebody published for one model, on the scale they were shown in.

    Attributes:
        suite: the suite whose tasks the scores belong to.
        average: as published.
        scores: task name to shown value.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    model: str
    suite: str
    source: str
    date: str
    average: float
    scores: dict[str, float]


def all_cards() -> dict[str, Card]:
    """Every card by its file's name.

    Raises:
        TaskError: a card is wrong.
    """
    cards: dict[str, Card] = {}
    for path in sorted(shipped("configs", "published").glob("*.yaml")):
        try:
            cards[path.stem] = Card.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (ValidationError, yaml.YAMLError, OSError) as error:
            raise TaskError(f"the score card cannot be read: {error}", where=str(path)) from error
    return cards
