"""What a batch plan may say: `configs/batch/*.yaml`.

A plan names models and what each of them is evaluated on. Relative paths in it are taken from the
folder that the command is started in, like those on the command line.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)

from ko_eval.cluster.batch_record import Name
from ko_eval.tasks.definition import Text
from ko_eval.tasks.registry import validated
from ko_eval.yaml_files import read_mapping

# An option of sbatch in one word. No space, quote, comment or shell sign, since it becomes a line
# of a script: "--account=nlp", "--constraint=a100&nvlink", "--dependency=afterok:17".
_SBATCH_OPTION = re.compile(r"--[a-z][a-z-]*+(?:=[\w./:,@%+&|*!-]++)?", re.ASCII)
_OUR_OWN = frozenset(
    {
        *("array", "chdir", "cpus-per-task", "error", "gres", "input", "job-name", "mem"),
        *("no-requeue", "open-mode", "output", "partition", "requeue", "signal", "time", "wait"),
        *("wrap", "parsable", "test-only", "nodes", "ntasks", "help", "version", "clusters"),
    }
)


def _text_of_time(value: object) -> object:
    if isinstance(value, int):
        raise ValueError('YAML reads this as a number: write it in quotes, such as "8:00:00"')
    return value


def _checked_option(text: str) -> str:
    if not _SBATCH_OPTION.fullmatch(text):
        raise ValueError(f"'{text}' must be one option of sbatch, such as --account=nlp")
    if text[2:].split("=")[0] in _OUR_OWN:
        raise ValueError(f"'{text}' is set by ko-eval, or by a field of its own")
    return text


# Slurm's own forms: minutes, minutes:seconds, hours:minutes:seconds, days-hours and so on.
_Time = Annotated[
    str,
    BeforeValidator(_text_of_time),
    StringConstraints(pattern=r"^([0-9]{1,3}-)?[0-9]{1,6}(:[0-9]{2}){0,2}$"),
]
_SbatchOption = Annotated[str, AfterValidator(_checked_option)]
Count = Annotated[int, Field(ge=1, le=100_000)]


class _Checked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SlurmSettings(_Checked):
    """What each element of a Slurm array asks for; what is not given is the cluster's default.

    `memory` is of a node (`64G`). `gres` is the name of a GPU there: `gpu` or `gpu:a100`. `at_once`
    is the most elements at the same time. `warn_seconds` before its time limit a run is stopped and
    queued again, at most `requeues` times. `extra` are further options of sbatch.
    """

    partition: Name | None = None
    time: _Time | None = None
    cpus: Count | None = None
    memory: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}[KMGT]?$")] | None = None
    gres: Annotated[str, StringConstraints(pattern=r"^[a-z]+(:[A-Za-z0-9_.-]+)?$")] = "gpu"
    at_once: Count | None = None
    warn_seconds: Annotated[int, Field(ge=30, le=3600)] = 120
    requeues: Annotated[int, Field(ge=0, le=1000)] = 20
    extra: list[_SbatchOption] = []


class BatchModel(_Checked):
    """One model of a plan; a bare name or path is enough.

    `model` is what `ko-eval run` takes. `name` tells it from others (default: from its path or id).
    `gpus`: None for as many as its options use. `options` are those of `ko-eval run` by name, and
    `slurm` replaces single fields of the plan's.
    """

    model: Text
    name: Name | None = None
    revision: Text | None = None
    gpus: Annotated[int, Field(ge=0, le=1024)] | None = None
    options: dict[str, JsonValue] = {}
    slurm: dict[str, JsonValue] = {}

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        return {"model": value} if isinstance(value, str) else value


class BatchDefaults(_Checked):
    """For every model that does not say otherwise."""

    gpus: Annotated[int, Field(ge=0, le=1024)] | None = None
    options: dict[str, JsonValue] = {}


class BatchPlan(_Checked):
    """Models, what they are evaluated on, and where the results go.

    Each suite is a run of its own; all `tasks` together are another. `out` is the output root of
    `ko-eval run`. `parallel` is the most models at a time on this machine (default: as many as have
    their GPUs; one where a model uses none).
    """

    name: Name
    description: str = ""
    models: Annotated[list[BatchModel], Field(min_length=1, max_length=1000)]
    suites: list[Text] = []
    tasks: list[Text] = []
    data: Text = "bundled"
    out: Text = "results"
    parallel: Count | None = None
    defaults: BatchDefaults = BatchDefaults()
    slurm: SlurmSettings = SlurmSettings()

    @model_validator(mode="after")
    def _something_is_asked(self) -> BatchPlan:
        if not self.suites and not self.tasks:
            raise ValueError("name at least one suite (suites: [leaderboard2]) or task (tasks: …)")
        for index, entry in enumerate(self.models):
            try:
                self.slurm_of(entry)
            except ValueError as error:
                problem = str(error).splitlines()
                raise ValueError(f"models.{index}.slurm: {' '.join(problem[1:3])}") from None
        return self

    def slurm_of(self, entry: BatchModel) -> SlurmSettings:
        """The Slurm settings of a model, its own laid over the plan's."""
        return SlurmSettings.model_validate({**self.slurm.model_dump(), **entry.slurm})


def read_plan(path: Path) -> BatchPlan:
    """A plan from its file.

    Raises:
        TaskError: the file cannot be read, or a field is wrong; it is named with its path.
    """
    return validated(BatchPlan, read_mapping(path, what="batch plan"), path)
