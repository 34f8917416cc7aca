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
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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

    model_config = ConfigDict(extra="allow", frozen=True)
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
    field by whose values scores are also given apart, such as the subject. `format_loss` is false
    where the reading that the scorer calls the published one is not that of this benchmark.
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
        for key, field in (("group", self.group), ("fewshot.match", self.fewshot.match)):
            if field is not None and field not in self.columns:
                raise ValueError(f"'{key}' names the field '{field}', which 'columns' lacks")
        return self


class SuiteDefinition(_Checked):
    """A set of tasks reported together; `average` is the plain mean of their shown values.

    `overrides`: per task, fields of its definition that this suite changes.
    """

    name: Name
    title: str = ""
    description: str = ""
    tasks: Annotated[list[str], Field(min_length=1)]
    aggregation: Literal["mean"] = "mean"
    overrides: dict[str, dict[str, JsonValue]] = {}
    protocol: dict[str, Fact] = {}
