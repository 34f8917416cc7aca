"""What `ko-eval verify` found, in words and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from ko_eval.runs.layer_differences import Difference, Differences
from ko_eval.runs.layer_names import Layer
from ko_eval.runs.result import RunResult
from ko_eval.runs.verify import Checked
from ko_eval.types import JsonValue


def checked_lines(checked: Checked) -> list[str]:
    """One line per check, the faults first, and a last line that sums up."""
    result = checked.result
    lines = [
        *(f"wrong:     {text}" for text in checked.faults),
        *(f"sound:     {text}" for text in checked.sound),
        *(f"unchecked: {text}" for text in checked.unchecked),
    ]
    if checked.faults:
        end = f"not intact: {len(checked.faults)} things do not hold"
    elif checked.unchecked:
        end = "intact as far as it could be checked"
    else:
        end = "intact"
    return [f"{result.model.name} (run {result.fingerprint})", *lines, end]


def checked_json(checked: Checked) -> dict[str, JsonValue]:
    return {
        "fingerprint": checked.result.fingerprint,
        "intact": checked.intact,
        "faults": checked.faults,
        "unchecked": checked.unchecked,
        "sound": checked.sound,
    }


def differences_lines(found: Differences, a: RunResult, b: RunResult) -> list[str]:
    """The layers that differ, the first one first; then what follows from them."""
    lines = [
        f"A: {a.model.name} (run {a.fingerprint}, ko-eval {a.ko_eval})",
        f"B: {b.model.name} (run {b.fingerprint}, ko-eval {b.ko_eval})",
    ]
    causes = by_layer(found.causes)
    lines += [f"{'differs' if n else 'first'}:   {line}" for n, line in enumerate(causes)]
    if followed := list(dict.fromkeys(d.layer.words for d in found.follow)):
        lines.append(f"follows:   {', '.join(followed)}")
    if unknown := unknown_words(found.unknown):
        lines.append(f"unknown:   {unknown} (one of the results does not tell)")
    for name, tasks in (("A", found.only_a), ("B", found.only_b)):
        if tasks:
            lines.append(f"only in {name}: {', '.join(tasks)}")
    if not causes and not found.only_a and not found.only_b:
        lines.append("no layer differs" + (" as far as is known" if unknown else ""))
    return lines


def by_layer(found: Sequence[Difference]) -> list[str]:
    """One text per layer and pair of values: `stop strings (stop): ["\\n"] | [] in ko_gsm8k`."""
    tasks: dict[tuple[str, str, str, str], list[str]] = {}
    for each in found:
        key = (each.layer.name, each.layer.words, each.a, each.b)
        tasks.setdefault(key, []).extend([each.task] if each.task else [])
    return [
        f"{words} ({name}): {a} | {b}" + (f" in {', '.join(names)}" if names else "")
        for (name, words, a, b), names in tasks.items()
    ]


def unknown_words(unknown: Sequence[tuple[Layer, str | None]]) -> str:
    """The layers that could not be compared, each once."""
    return ", ".join(dict.fromkeys(layer.words for layer, _ in unknown))


def differences_json(found: Differences) -> dict[str, JsonValue]:
    """`first` is the name of the first layer that differs by itself, or null."""

    def listed(differences: Sequence[Difference]) -> list[JsonValue]:
        return [
            {
                "layer": each.layer.name,
                "words": each.layer.words,
                "task": each.task,
                "a": each.a,
                "b": each.b,
            }
            for each in differences
        ]

    return {
        "first": found.causes[0].layer.name if found.causes else None,
        "causes": listed(found.causes),
        "follow": listed(found.follow),
        "unknown": [{"layer": layer.name, "task": task} for layer, task in found.unknown],
        "only_a": list(found.only_a),
        "only_b": list(found.only_b),
    }
