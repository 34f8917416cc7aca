"""What must be equal where scores are ranked with one another: one key per task of a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ko_eval.reports.leaderboard.found_runs import FoundRun
from ko_eval.runs.result import RunResult

Layer = Literal["variant", "metric", "data", "fewshot", "prompts", "definition", "chat_template"]
# From what a reader would look at first.
LAYERS: tuple[Layer, ...] = (
    "data",
    "variant",
    "metric",
    "fewshot",
    "prompts",
    "definition",
    "chat_template",
)


@dataclass(frozen=True, slots=True, order=True)
class TaskKey:
    """All of a task that must be equal.

    The tokens are not among them, since each tokenizer makes its own; nor are engine, precision and
    window, which belong to the model's side of a run.

    Attributes:
        name: of the task.
        variant, metric: as the result names them; an empty variant where there is none.
        data, fewshot, prompts, definition: hashes.
        chat_template: when it was to be used: auto, on or off.
    """

    name: str
    variant: str
    metric: str
    data: str
    fewshot: str
    prompts: str
    definition: str
    chat_template: str

    def difference(self, other: TaskKey) -> Layer | None:
        """The first layer in which two keys of one task differ."""
        for layer in LAYERS:
            if getattr(self, layer) != getattr(other, layer):
                return layer
        return None


Keys = frozenset[TaskKey]


def task_keys(result: RunResult) -> Keys:
    """What each task of a run was."""
    prompts = _mapping(result.layers.get("tasks"))
    template = _text(_mapping(result.layers.get("encoding")).get("chat_template"))
    return frozenset(
        TaskKey(
            name=task.name,
            variant=task.variant or "",
            metric=task.metric,
            data=task.data.sha256,
            fewshot=task.fewshot.sha256 if task.fewshot else f"{task.shots} of no rows",
            prompts=_text(_mapping(prompts.get(task.name)).get("prompts")),
            definition=task.definition_sha256,
            chat_template=template,
        )
        for task in result.tasks
    )


def grouped(runs: list[FoundRun]) -> dict[Keys, list[FoundRun]]:
    """Runs by what they were asked; those that lack tasks join the board that has the others.

    A run joins the largest group that holds all of its tasks, and more; unless more runs have just
    its tasks, which are then a board of their own.
    """
    groups: dict[Keys, list[FoundRun]] = defaultdict(list)
    for run in runs:
        groups[task_keys(run.result)].append(run)
    with_key: dict[TaskKey, set[Keys]] = defaultdict(set)
    for keys in groups:
        for key in keys:
            with_key[key].add(keys)
    # From the smallest up: what joined a group goes on with it.
    for keys in sorted(groups, key=lambda keys: (len(keys), sorted(keys))):
        rarest = min((with_key[key] for key in keys), key=len)
        wider = [other for other in rarest if keys < other]
        if not wider:
            continue
        best = max(wider, key=lambda other: (len(groups[other]), len(other), sorted(other)))
        if len(groups[best]) >= len(groups[keys]):
            groups[best] += groups.pop(keys)
            for key in keys:
                with_key[key].discard(keys)
    return dict(groups)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
