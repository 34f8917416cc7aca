"""May two runs be compared? Their layers say so; a user may overrule one by its name.

Models may differ, and with them what comes with a model: its tokenizer and so the token ids, its
template's text, its window. Everything else that moves a score must agree: rows and their order,
few-shot examples, prompts, limits, scorer, use of the template, precision.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass

from ko_eval.errors import DataError
from ko_eval.reports.compared_runs import ComparedRun
from ko_eval.reports.verify_words import by_layer
from ko_eval.runs.layer_differences import Difference, Differences, RunLayers, differences
from ko_eval.runs.layer_names import Layer

# Values, not hashes: the same whoever wrote them.
_OF_ANY_HARNESS = frozenset(
    {"engine.dtype", "template.policy", "data.limit", "fewshot.count", "metric"}
)


@dataclass(frozen=True, slots=True)
class Comparability:
    """What differs between two runs that are compared.

    Attributes:
        allowed: layers that should agree, and that the user overruled.
        noted: layers that differ and hinder nothing.
        with_model: layers that differ because the models do.
        unknown: layers that should agree and could not be compared, with their tasks (None: of
            the run).
        harnesses: that made the runs, where they are two.
    """

    allowed: tuple[Difference, ...]
    noted: tuple[Difference, ...]
    with_model: tuple[Difference, ...]
    unknown: tuple[tuple[Layer, str | None], ...]
    harnesses: tuple[str, str] | None = None


def check_comparable(
    a: ComparedRun, b: ComparedRun, tasks: Collection[str], allowed: Set[str]
) -> Comparability:
    """What differs, where it may.

    Args:
        tasks: those that are compared.
        allowed: names of layers that may differ.

    Raises:
        DataError: a layer that must agree differs; the first one is named.
    """
    shared = None if a.harness == b.harness else _OF_ANY_HARNESS
    found = differences(_only(a, tasks, shared), _only(b, tasks, shared))
    other_model = shared is not None or _models_differ(found)
    must = [
        each
        for each in found.causes
        if each.layer.kind == "protocol" or (each.layer.kind == "bound" and not other_model)
    ]
    refused = [each for each in must if each.layer.name not in allowed]
    if refused:
        raise _refusal(a, b, refused)
    return Comparability(
        allowed=tuple(must),
        noted=tuple(each for each in found.causes if each.layer.kind == "note"),
        with_model=tuple(
            each for each in found.causes if each.layer.kind in ("model", "bound") and other_model
        ),
        unknown=tuple(
            (layer, task)
            for layer, task in found.unknown
            if layer.kind == "protocol" or (layer.kind == "bound" and not other_model)
        ),
        harnesses=None if shared is None else (a.harness, b.harness),
    )


def _only(run: ComparedRun, tasks: Collection[str], names: Collection[str] | None) -> RunLayers:
    """The layers of these tasks and, where given, of these names."""
    of_run = dict(run.layers.run)
    if names is not None:
        # Our "auto" says less than what became of it.
        of_run.pop("template.policy", None)
        used = {run.tasks[name].uses_template for name in tasks}
        if used in ({True}, {False}):
            of_run["template.policy"] = "on" if True in used else "off"

    def kept(values: Mapping[str, object]) -> dict[str, object]:
        return {name: v for name, v in values.items() if names is None or name in names}

    return RunLayers(
        kept(of_run), {name: kept(v) for name, v in run.layers.tasks.items() if name in tasks}
    )


def _models_differ(found: Differences) -> bool:
    """Whether it is two models; a template or BOS of another kind does not make another model."""
    if any(each.layer.kind == "model" for each in found.causes):
        return True
    of_folder = any(each.layer.name == "model" for each in found.follow)
    return of_folder and any(layer.name == "model.weights" for layer, _ in found.unknown)


def _refusal(a: ComparedRun, b: ComparedRun, refused: list[Difference]) -> DataError:
    first = refused[0].layer.name
    lines = by_layer([each for each in refused if each.layer.name == first])
    others = [name for name in dict.fromkeys(d.layer.name for d in refused) if name != first]
    also = f"; they differ in {', '.join(others)} as well" if others else ""
    return DataError(
        f"'{a.label}' and '{b.label}' cannot be compared: they differ in {'; '.join(lines)}{also}",
        where=f"{a.source} | {b.source}",
        hint=f"run both alike, or compare them all the same with --allow {first}",
    )
