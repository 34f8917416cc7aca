"""Published score cards: `configs/published/*.yaml`, facts with their source.

A card says what somebody published, and how sure we are of each part of it: a value is `known` as
published or `inferred` from other published values; what nobody published is listed as unknown and
never filled in. `ko-eval reproduce` compares a run with a card.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from ko_eval.errors import TaskError, near_miss
from ko_eval.resources import shipped
from ko_eval.tasks.definition import Fact, Name, Sha256
from ko_eval.tasks.registry import validated
from ko_eval.yaml_files import read_mapping

Line = Annotated[str, StringConstraints(min_length=1, max_length=500)]


def _as_text(value: object) -> object:
    """YAML reads 2024-11-22 as a date and 2024 as a number."""
    return str(value) if isinstance(value, date | int) else value


When = Annotated[Line, BeforeValidator(_as_text)]
Points = Annotated[float, Field(ge=-1e6, le=1e6)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Status = Literal["known", "inferred", "assumed"]
Label = Literal["bundled", "hub", "private"]


class _Checked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Score(_Checked):
    """One published value.

    Attributes:
        task: a task of ko-eval.
        metric: its metric, as ko-eval names it.
        value: on the scale it was published in.
        status: `known` as published, or `inferred` from other published values.
        scale: the value is the metric times this.
        digits: after the point; None where the card's own count holds.
        within: points that the value may be off, where that is more than its digits say: one that
            follows from nine rounded others carries the rounding of all of them.
        n: items it is a mean over, as far as known, with the status of that count.
        steps: the items' values are multiples of 1/steps, so that the metric is a multiple of
            1/(n·steps); None where it is no such share, and any value can be reached.
        shots: few-shot examples; None where nobody said, and so not compared.
        variant: the task's variant that was asked; None for the task as it is.
    """

    task: Name
    metric: Line
    value: Points
    status: Status = "known"
    scale: Annotated[float, Field(gt=0, le=1e6)] = 100.0
    digits: Annotated[int, Field(ge=0, le=15)] | None = None
    within: Annotated[float, Field(gt=0, le=1e6)] | None = None
    n: Count | None = None
    n_status: Status = "known"
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    shots: Annotated[int, Field(ge=0, le=1000)] | None = None
    variant: Name | None = None


class Margin(_Checked):
    """How far two scores may lie apart and still count as the same, in points, and why so far."""

    points: Annotated[float, Field(gt=0, le=1e6)]
    why: Line


class Items(_Checked):
    """The very items of a task that a card of ours was made on, and what became of them.

    Attributes:
        data_sha256: of the rows, as results name it.
        outcomes_sha256: over the items' outcomes and scores, without the near ties; see
            `ko_eval.runs.card_items`.
        near_ties: ids of items whose choice rounding might turn; they are not in the hash.
    """

    data_sha256: Sha256
    outcomes_sha256: Sha256
    near_ties: list[Line] = []


class Recipe(_Checked):
    """How to run what the card holds; options of `ko-eval run` of the same names."""

    model: Line | None = None
    data: Line | None = None
    limit: Count | None = None
    dtype: Line | None = None
    device: Line | None = None
    chat_template: Literal["auto", "on", "off"] = "auto"


class Card(_Checked):
    """Scores somebody published for one model.

    Attributes:
        suite: the suite whose tasks the scores belong to, by name or path; None for single tasks.
        source: where they were published, in words; `url` is its address.
        date: when, as exactly as is known.
        data: what was evaluated: bundled, public (`hub`) or private rows.
        dataset: on the hub, where the data are from there.
        revision: of the model; None where nobody said.
        digits: after the point, of all values that do not say otherwise.
        average: as published.
        scores: the first one of each task is the one that was shown.
        margin: within which a run reproduces them.
        run: how to run it again.
        items: by task, for cards of ours.
        protocol: what is known of how they came about; `unknown` lists what is not.
    """

    model: Line
    suite: Line | None = None
    source: Line
    url: Line | None = None
    date: When
    data: Label
    dataset: Line | None = None
    revision: Line | None = None
    digits: Annotated[int, Field(ge=0, le=15)] = 2
    average: Points | None = None
    scores: Annotated[list[Score], Field(min_length=1, max_length=1000)]
    margin: Margin
    run: Recipe = Recipe()
    items: dict[str, Items] = {}
    protocol: dict[str, Fact] = {}
    unknown: list[Line] = []

    @model_validator(mode="after")
    def _each_once(self) -> Card:
        seen: set[tuple[str, str, str | None]] = set()
        for score in self.scores:
            key = (score.task, score.metric, score.variant)
            if key in seen:
                raise ValueError(f"'{score.metric}' of task '{score.task}' is given twice")
            seen.add(key)
        for task in self.items:
            if task not in self.tasks:
                raise ValueError(f"'items' names the task '{task}', which 'scores' lacks")
        return self

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that have a score, in order."""
        return tuple(dict.fromkeys(score.task for score in self.scores))

    @property
    def shown(self) -> dict[str, Score]:
        """The score of each task that was shown."""
        shown: dict[str, Score] = {}
        for score in self.scores:
            shown.setdefault(score.task, score)
        return shown

    def digits_of(self, score: Score) -> int:
        """Digits after the point that a value was published with."""
        return self.digits if score.digits is None else score.digits

    def rounding_of(self, score: Score) -> float:
        """Points that a published value may lie from the one it was rounded from."""
        return 0.5 * 10.0 ** -self.digits_of(score) if score.within is None else score.within


def card_names() -> list[str]:
    """Names of all cards that ship with ko-eval, sorted."""
    return sorted(path.stem for path in shipped("configs", "published").glob("*.yaml"))


def all_cards() -> dict[str, Card]:
    """Every card that ships with ko-eval, by its name.

    Raises:
        TaskError: a card is wrong.
    """
    return {name: load_card(name) for name in card_names()}


def card_title(name: str) -> str:
    """What a card is called, by whose name or path it was loaded."""
    return name if name in card_names() else Path(name).stem


def load_card(name: str) -> Card:
    """A card by its name, or by the path of a YAML file.

    Raises:
        TaskError: there is no such card, or it is wrong (the field is named).
    """
    path = _path_of(name)
    return validated(Card, read_mapping(path, what="score card"), path)


def _path_of(name: str) -> Path:
    known = card_names()
    if name in known:
        return shipped("configs", "published", f"{name}.yaml")
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return Path(name)
    raise TaskError(
        f"there is no score card '{name}'",
        hint=near_miss(name, known) + "; or give the path of a card (.yaml)",
    )
