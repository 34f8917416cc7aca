"""A comparison as tables, lines and JSON."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from ko_eval.reports.comparability import Comparability
from ko_eval.reports.comparison import Compared, ItemDifference, Pair
from ko_eval.reports.verify_words import by_layer, unknown_words
from ko_eval.types import JsonValue

_LONGEST_ANSWER = 40
_COLOURS = {"better": "green", "worse": "red", "undecided": "yellow"}


def pair_table(pair: Pair) -> Table:
    """One row per task, and the average; everything on the board's scale."""
    table = Table(
        title=Text(f"B: {pair.b.label}, against A: {pair.a.label}", style="bold"),
        title_justify="left",
        header_style="bold",
    )
    table.add_column("Task")
    for heading in ("n", "A", "B", "B − A", "95% interval", "Gained", "Lost", "p (Holm)"):
        table.add_column(heading, justify="right")
    table.add_column("Detectable", justify="right")
    table.add_column("B is")
    for task in pair.tasks:
        table.add_row(*_row(task))
    if pair.average is not None:
        table.add_section()
        table.add_row(*_row(pair.average))
    return table


def pair_lines(pair: Pair) -> list[str]:
    """What stands under the table: a sentence, the items, and what must be known with it."""
    lines = [_sentence(pair)]
    for task in pair.tasks:
        lines += [f"{task.title}: {note}" for note in task.notes]
        if task.items:
            lines.append(f"{task.title}, items of the largest difference (A | B):")
            lines += [f"  {_item(one)}" for one in task.items]
    lines += comparability_lines(pair.comparability)
    if pair.left_out:
        lines.append(f"In one of the runs only, left out: {', '.join(pair.left_out)}")
    return lines


def comparability_lines(found: Comparability) -> list[str]:
    """What differs, and what could not be checked."""
    lines = [
        f"Compared all the same (--allow): they differ in {line}"
        for line in by_layer(found.allowed)
    ]
    lines += [f"Note: they differ in {line}" for line in by_layer(found.noted)]
    if found.with_model:
        words = dict.fromkeys(each.layer.words for each in found.with_model)
        lines.append(f"Differ as the models do: {', '.join(words)}")
    if found.harnesses:
        lines.append(
            f"Made by {found.harnesses[0]} and {found.harnesses[1]}: only metric, number of rows, "
            "few-shot count, use of the template and precision could be compared; see to it that "
            "prompts and rows agree"
        )
    elif found.unknown:
        lines.append(
            f"Could not be compared, since a result does not tell: {unknown_words(found.unknown)}"
        )
    return lines


COMPARISON_NOTE = (
    "p: exact McNemar for right and wrong, flipped signs else, two-sided, after Holm's correction "
    "over all tasks and runs; a verdict is given at 0.05, where the interval excludes 0. "
    "Detectable: the true difference that a comparison of this size finds four times of five. The "
    "average's p is from its interval."
)


def comparison_json(pairs: Sequence[Pair]) -> dict[str, JsonValue]:
    """The comparison as one object."""
    return {
        "baseline": pairs[0].a.label,
        "alpha": 0.05,
        "comparisons": [
            {
                "a": pair.a.label,
                "b": pair.b.label,
                "a_source": pair.a.source,
                "b_source": pair.b.source,
                "tasks": [_task_json(task) for task in pair.tasks],
                "average": None if pair.average is None else _task_json(pair.average),
                "left_out": list(pair.left_out),
                "allowed": sorted({each.layer.name for each in pair.comparability.allowed}),
                "noted": sorted({each.layer.name for each in pair.comparability.noted}),
                "with_model": sorted({each.layer.name for each in pair.comparability.with_model}),
                "unknown": sorted({layer.name for layer, _ in pair.comparability.unknown}),
            }
            for pair in pairs
        ],
    }


def _row(task: Compared) -> tuple[str | Text, ...]:
    return (
        Text(task.title),
        str(task.n),
        f"{task.a:.2f}",
        f"{task.b:.2f}",
        f"{task.difference:+.2f}",
        "–" if task.low is None else f"[{task.low:+.2f}, {task.high:+.2f}]",
        "–" if task.method in ("unpaired", "tasks") else str(task.gained),
        "–" if task.method in ("unpaired", "tasks") else str(task.lost),
        f"{task.p_adjusted:.4f}" if task.p_adjusted >= 0.0001 else "<0.0001",
        "–" if task.detectable is None else f"{task.detectable:.2f}",
        Text(task.verdict, style=_COLOURS[task.verdict]),
    )


def _sentence(pair: Pair) -> str:
    """`B is better in 2 tasks, worse in 0, undecided in 7.`"""
    counts = {
        verdict: sum(task.verdict == verdict for task in pair.tasks)
        for verdict in ("better", "worse", "undecided")
    }
    said = ", ".join(f"{verdict} in {count}" for verdict, count in counts.items())
    overall = "" if pair.average is None else f"; on average {pair.average.verdict}"
    return f"{pair.b.label} against {pair.a.label}: {said}{overall}."


def _item(one: ItemDifference) -> str:
    answers = " | ".join(_answer(item.answer, item.outcome) for item in (one.a, one.b))
    return f"{one.id}: {one.a.own:.3g} | {one.b.own:.3g}   {answers}"


def _answer(answer: str | None, outcome: str | None) -> str:
    if answer is None:
        return f"({outcome})" if outcome else "–"
    flat = " ".join(answer.split())
    return flat if len(flat) <= _LONGEST_ANSWER else f"{flat[:_LONGEST_ANSWER]}…"


def _task_json(task: Compared) -> dict[str, JsonValue]:
    return {
        "task": task.name,
        "metric": task.metric,
        "n": task.n,
        "a": task.a,
        "b": task.b,
        "difference": task.difference,
        "stderr": task.stderr,
        "low": task.low,
        "high": task.high,
        "p": task.p_value,
        "p_holm": task.p_adjusted,
        "detectable": task.detectable,
        "method": task.method,
        "gained": task.gained,
        "lost": task.lost,
        "verdict": task.verdict,
        "items": [
            {
                "id": one.id,
                "a": one.a.own,
                "b": one.b.own,
                "a_answer": one.a.answer,
                "b_answer": one.b.answer,
            }
            for one in task.items
        ],
        "notes": list(task.notes),
    }
