"""Which layers of two runs differ, in words, and which of them only follow from others.

    found = differences(layers_of(read_result(a)), layers_of(read_result(b)))

Where a layer differs and so does one that it follows from, only the latter is a cause. Results of
before 1.4 hold fewer layers; what cannot be told from them is said, never guessed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ko_eval.runs.layer_names import OF_RUN, OF_TASK, Layer
from ko_eval.runs.result import RunResult, TaskReport

_LONGEST_SHOWN = 60
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class RunLayers:
    """What is known of a run's layers: values by layer name; a name that is missing is unknown."""

    run: Mapping[str, object]
    tasks: Mapping[str, Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Difference:
    """A layer that differs.

    Attributes:
        task: whose layer it is; None for one of the whole run.
        a, b: the values, as short texts.
    """

    layer: Layer
    task: str | None
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Differences:
    """What differs between two runs.

    Attributes:
        causes: layers that differ by themselves, the first one first.
        follow: layers that differ because others do.
        unknown: layers that a result does not tell, with their tasks (None: the run).
        only_a, only_b: tasks that only one of the runs has.
    """

    causes: tuple[Difference, ...]
    follow: tuple[Difference, ...]
    unknown: tuple[tuple[Layer, str | None], ...]
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()


def differences(a: RunLayers, b: RunLayers) -> Differences:
    """The layers that differ; those of tasks only for the tasks of both."""
    found = _Found()
    found.of_run(a.run, b.run)
    for name in (name for name in a.tasks if name in b.tasks):
        found.of_task(name, a.tasks[name], b.tasks[name])
    return Differences(
        causes=tuple(found.causes),
        follow=tuple(found.follow),
        unknown=tuple(found.unknown),
        only_a=tuple(name for name in a.tasks if name not in b.tasks),
        only_b=tuple(name for name in b.tasks if name not in a.tasks),
    )


@dataclass(slots=True)
class _Found:
    causes: list[Difference] = field(default_factory=list)
    follow: list[Difference] = field(default_factory=list)
    unknown: list[tuple[Layer, str | None]] = field(default_factory=list)
    _changed: frozenset[str] = frozenset()

    def of_run(self, a: Mapping[str, object], b: Mapping[str, object]) -> None:
        changed = self._compared(OF_RUN, None, a, b)
        self._changed = frozenset(changed)

    def of_task(self, task: str, a: Mapping[str, object], b: Mapping[str, object]) -> None:
        self._compared(OF_TASK, task, a, b)

    def _compared(
        self,
        layers: Sequence[Layer],
        task: str | None,
        a: Mapping[str, object],
        b: Mapping[str, object],
    ) -> set[str]:
        """Sorts the layers into causes, what follows, and unknown; gives those that differ."""
        known = [layer for layer in layers if layer.name in a and layer.name in b]
        changed = {layer.name for layer in known if a[layer.name] != b[layer.name]}
        # Only a hash proves what it is over; what a server says of its model is a mapping.
        hashes = [layer for layer in known if not isinstance(a[layer.name], Mapping | list)]
        proved = {name for layer in hashes if layer.name not in changed for name in layer.proves}
        proved |= {layer.name for layer in known}
        missing = [layer for layer in layers if layer.name not in proved]
        self.unknown += [(layer, task) for layer in missing]
        gone = {layer.name for layer in missing}
        for layer in known:
            if layer.name not in changed:
                continue
            found = Difference(layer, task, shown(a[layer.name]), shown(b[layer.name]))
            sources = set(layer.follows)
            if a[layer.name] is None or b[layer.name] is None:
                sources |= set(layer.follows_where_none)
            explained = (changed | self._changed) & sources
            if explained:
                self.follow.append(found)
            elif not layer.exact and gone & set(layer.follows):
                self.unknown.append((layer, task))
            else:
                self.causes.append(found)
        return changed


def shown(value: object) -> str:
    """A layer's value as a short text; of a hash its beginning."""
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if len(text) == 64 and not set(text) - set("0123456789abcdef"):
        return text[:12]
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def layers_of(result: RunResult) -> RunLayers:
    """What a result tells of its layers."""
    reports = {task.name: task for task in result.tasks}
    found = read_layers(result.layers)
    # A result names its tasks in `tasks`, whatever else stands in its layers.
    tasks = {
        name: {**_of_report(report, result.limit), **found.tasks.get(name, {})}
        for name, report in reports.items()
    }
    return RunLayers(found.run, tasks)


def _of_report(task: TaskReport, limit: int | None) -> dict[str, object]:
    """What older results tell of a task beside their layers."""
    return {
        "data.order": task.data.sha256,
        "data.limit": limit if task.n == limit else None,
        "fewshot.count": task.shots,
        "fewshot.order": None if task.fewshot is None else task.fewshot.sha256,
        "metric": task.metric,
        "definition": None if task.definition_sha256 == "unknown" else task.definition_sha256,
    }


def read_layers(layers: Mapping[str, object]) -> RunLayers:
    """The layers as `run.json` and `results.json` hold them, by their names here."""
    details = _mapping(layers, "details")
    return RunLayers(
        run=_known(
            {
                **{
                    f"model.{part}": _at(details, "model", part)
                    for part in ("weights", "configuration", "tokenizer", "quantization")
                },
                "model": _at(layers, "model"),
                "adapter": _at(layers, "adapter"),
                "engine.name": _at(layers, "engine", "name"),
                "engine.dtype": _at(layers, "engine", "dtype"),
                "engine.quantization": _engine_quantization(layers),
                "engine.options": _engine_options(layers),
                "template.policy": _at(layers, "encoding", "chat_template"),
                "template.text": _at(layers, "encoding", "template"),
                "template.arguments": _at(
                    layers, "encoding", "settings", "chat_template_arguments"
                ),
                "thinking.budget": _thinking_budget(layers),
                "thinking.marks": _thinking_marks(layers),
                "bos": _at(details, "bos"),
                "max_length": _at(layers, "encoding", "max_length"),
                "seed": _at(layers, "encoding", "seed"),
            }
        ),
        tasks={
            name: _of_task(_mapping(layers, "tasks", name), _mapping(details, "tasks", name))
            for name in _mapping(layers, "tasks")
        },
    )


def _of_task(layer: Mapping[str, object], parts: Mapping[str, object]) -> dict[str, object]:
    values: dict[str, object] = {
        "data.rows": _at(parts, "rows"),
        "data.order": _at(layer, "data"),
        "data.limit": _at(parts, "limit"),
        "data.items": _at(parts, "items"),
        "choice_order": _at(parts, "choice_order"),
        "fewshot.count": _at(parts, "shots"),
        "fewshot.rows": _at(parts, "fewshot_rows"),
        "fewshot.order": _at(layer, "fewshot"),
        "fewshot.form": _at(parts, "fewshot_form"),
        "prompts": _at(layer, "prompts"),
        "tokens": _at(layer, "tokens"),
    }
    same = ("columns", "request", "prompt", "stop", "max_tokens", "sampling")
    for name in (*same, "scorer", "metric", "scale"):
        values[name] = _at(parts, name)
    return _known(values)


def _engine_options(layers: Mapping[str, object]) -> object:
    """What is said of an engine beside its name and precision; nothing said is no option."""
    engine = _mapping(layers, "engine")
    if not engine:
        return _ABSENT
    own = {"name", "dtype", "quantization", "arguments"}
    return {
        **{name: value for name, value in engine.items() if name not in own},
        **_mapping(engine, "arguments"),
    }


def _engine_quantization(layers: Mapping[str, object]) -> object:
    """None where a local engine takes weights as they are; unknown behind a server."""
    engine = _mapping(layers, "engine")
    return _ABSENT if engine.get("name", "server") == "server" else engine.get("quantization")


def _thinking_budget(layers: Mapping[str, object]) -> object:
    of_server = _at(layers, "encoding", "thinking_tokens")
    if of_server is not _ABSENT:
        return of_server
    return _at(layers, "encoding", "settings", "reasoning", "max_tokens")


def _thinking_marks(layers: Mapping[str, object]) -> object:
    reasoning = _mapping(layers, "encoding", "settings", "reasoning")
    return {k: v for k, v in reasoning.items() if k != "max_tokens"} if reasoning else _ABSENT


def _known(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not _ABSENT}


def _at(content: object, *path: str) -> object:
    """What stands at a path of keys, or `_ABSENT`; files hold anything anywhere."""
    for key in path:
        if not isinstance(content, Mapping) or key not in content:
            return _ABSENT
        content = content[key]
    return content


def _mapping(content: object, *path: str) -> Mapping[str, object]:
    found = _at(content, *path)
    return found if isinstance(found, Mapping) else {}
