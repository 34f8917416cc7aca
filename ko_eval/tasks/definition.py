"""What a task file and a suite file may say: the contract of `tasks/*.yaml` and `configs/suites/`.

Everything a user writes is checked here; a wrong field is named with its path and near misses.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

from ko_eval.types import RequestKind

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
SeedFile = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+\.jsonl$")]
Text = Annotated[str, StringConstraints(min_length=1)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Checked(BaseModel):
    # Start-up: validators are built at first use, as a command uses few of these models.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class Fact(_Checked):
    """A fact of the protocol, with how sure we are of it.

    `known`: published. `inferred`: follows from published figures. `assumed`: our choice, since
    nobody published it.
    """

    value: JsonValue
    status: Literal["known", "inferred", "assumed"]
    why: Text


class HubSource(_Checked):
    """A dataset on the Hugging Face hub.

    `name` is its configuration, or several whose rows are read one after another; each row then
    has a column `config`. `files` are read in place of a configuration, where a dataset's own
    loading script no longer runs or a split holds more than it should; `{name}` stands for each
    name. `revision` pins a commit; without it the commit at first use is recorded in the result.
    `sha256` pins the content of the rows; it is the hash that a result names. `columns` replaces
    entries of the task's own `columns`. `keep` is a Jinja expression over a row; rows for which it
    is false are left out, and their number is in the result.
    """

    path: Text
    name: Text | Annotated[list[Text], Field(min_length=1)] | None = None
    split: Text
    files: Text | None = None
    revision: str | None = None
    sha256: Sha256 | None = None
    columns: dict[str, str] = {}
    keep: str | None = None


class DataSources(_Checked):
    """Where rows come from: a bundled file in `seeds/`, and public equivalents."""

    bundled: SeedFile | None = None
    hub: list[HubSource] = []


class Fewshot(_Checked):
    """Solved examples in front of each question, always the first `count` of their file.

    `match` is a field: a question then gets the first `count` examples that share its value, such
    as those of its own subject.
    """

    count: Annotated[int, Field(ge=0, le=1000)] = 0
    match: Text | None = None
    bundled: SeedFile | None = None
    hub: HubSource | None = None
    separator: str = "\n\n"


class ScorerChoice(BaseModel):
    """The scorer's name; every other key is one of its parameters. A bare name is enough."""

    model_config = ConfigDict(extra="allow", frozen=True, defer_build=True)
    name: Text

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value

    @property
    def parameters(self) -> dict[str, JsonValue]:
        return dict(self.model_extra or {})


class TaskDefinition(_Checked):
    """A benchmark: where rows come from, what is asked, how it is judged.

    Templates are Jinja over the mapped fields. For likelihoods either `choices` (continuations of
    one `prompt`) or `contexts` with one `continuation` is given; for generation `target` says how
    a few-shot example is answered, and `choices` are the options of an answer in text.

    `unconditional` is a context without the question, after which each choice is scored as well
    (`acc_pmi`). `stem` and `options` say what a model is shown when it answers a choice task in
    text: the question without its options, and the options' texts; the defaults are the field
    `question` or else the prompt, and the field `choices` or else the scored choices. `group` is a
    field by whose values scores are also given apart, such as the subject. `cluster` is a field, or
    a Jinja expression over the fields, whose value is the same for items that share a passage, a
    twin or a stereotype and so are no independent evidence: it widens intervals and changes nothing
    else; an item for which it is empty stands alone. Subjects that a benchmark means to cover are
    no clusters: they are not a sample of subjects. `format_loss` is false where the reading that
    the scorer calls the published one is not that of this benchmark.
    """

    name: Name
    title: str = ""
    description: str = ""
    board_key: str | None = None
    category: str = "other"
    request: RequestKind
    columns: Annotated[dict[str, str], Field(min_length=1)]
    labels: list[str] = list("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    shuffle_choices: bool = False
    data: DataSources = DataSources()
    fewshot: Fewshot = Fewshot()
    prompt: str = ""
    target: str = ""
    choices: str | list[str] | None = None
    contexts: list[str] | None = None
    continuation: str | None = None
    delimiter: str = " "
    unconditional: str | None = None
    stem: Text | None = None
    options: Text | None = None
    group: Text | None = None
    cluster: Text | None = None
    stop: list[Text] = []
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    temperature: Annotated[float, Field(ge=0, le=10)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    scorer: ScorerChoice
    metric: str | None = None
    scale: float = 100.0
    format_loss: bool = True
    protocol: dict[str, Fact] = {}
    notes: list[str] = []
    variants: dict[str, dict[str, JsonValue]] = {}

    @model_validator(mode="after")
    def _consistent(self) -> TaskDefinition:
        if self.request is RequestKind.GENERATE:
            if not self.prompt:
                raise ValueError("a task with 'request: generate' needs a 'prompt'")
            if self.contexts is not None:
                raise ValueError("'contexts' belongs to 'request: loglikelihood'")
            return self
        if (self.choices is None) == (self.contexts is None):
            raise ValueError("'request: loglikelihood' needs either 'choices' or 'contexts'")
        if self.contexts is not None and self.continuation is None:
            raise ValueError("'contexts' needs the 'continuation' that is scored after each")
        if self.choices is not None and not self.prompt:
            raise ValueError("'choices' needs the 'prompt' that they continue")
        return self

    @model_validator(mode="after")
    def _named_fields_exist(self) -> TaskDefinition:
        cluster = self.cluster if (self.cluster or "").isidentifier() else None
        named = (("group", self.group), ("cluster", cluster), ("fewshot.match", self.fewshot.match))
        for key, field in named:
            if field is not None and field not in self.columns:
                raise ValueError(f"'{key}' names the field '{field}', which 'columns' lacks")
        return self


class Level(_Checked):
    """A score that has a meaning, on the scale that the board shows, and how sure we are of it."""

    value: float
    status: Literal["known", "inferred", "assumed"]
    why: Text


# Weights far beyond this have a sum that is no number.
Weight = Annotated[float, Field(gt=0, le=1_000_000)]


class IndexEntry(_Checked):
    """A task in an index.

    `metric` counts in the index, `published` in the plain average beside it; both are the task's
    leading metric where they are not given. `scale` turns them into the board's points. `chance`
    is what guessing earns, `best` what a perfect model earns; where a run computes both on its own
    rows, those are taken. `weight` is within the category.
    """

    metric: Name | None = None
    published: Name | None = None
    scale: Annotated[float, Field(gt=0)] = 100.0
    chance: Level
    best: Level = Level(value=100.0, status="known", why="the end of the scale")
    weight: Weight = 1.0

    @model_validator(mode="after")
    def _best_is_above_chance(self) -> IndexEntry:
        if self.best.value <= self.chance.value:
            raise ValueError(
                f"'best' ({self.best.value:g}) must be above 'chance' ({self.chance.value:g})"
            )
        return self


class IndexGroup(_Checked):
    """A category of an index: its weight with the reason, and its tasks by name."""

    weight: Weight
    why: Text
    tasks: Annotated[dict[Name, IndexEntry], Field(min_length=1)]


class IndexDefinition(_Checked):
    """A composite: tasks corrected for chance, averaged by category, categories by weight.

    Weights are relative: only their proportions count.
    """

    categories: Annotated[dict[Name, IndexGroup], Field(min_length=1)]

    @property
    def entries(self) -> dict[str, IndexEntry]:
        """All tasks of the index by name."""
        groups = self.categories.values()
        return {name: entry for group in groups for name, entry in group.tasks.items()}

    @model_validator(mode="after")
    def _each_task_once(self) -> IndexDefinition:
        names = [name for group in self.categories.values() for name in group.tasks]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"task '{twice[0]}' is in two categories of the index")
        return self


class SuiteDefinition(_Checked):
    """A set of tasks reported together; `average` is the plain mean of their shown values.

    `overrides`: per task, fields of its definition that this suite changes. `index`: a composite
    that stands beside the average.
    """

    name: Name
    title: str = ""
    description: str = ""
    tasks: Annotated[list[str], Field(min_length=1)]
    aggregation: Literal["mean"] = "mean"
    index: IndexDefinition | None = None
    overrides: dict[str, dict[str, JsonValue]] = {}
    protocol: dict[str, Fact] = {}
