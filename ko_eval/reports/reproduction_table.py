"""How `ko-eval reproduce` shows its verdicts: a table with notes, or one JSON object."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from ko_eval.reports.reproduction import AVERAGE, Compared, Reproduction, Verdict
from ko_eval.types import JsonValue

_STYLES: dict[Verdict, str] = {
    "equivalent": "green",
    "different": "red",
    "undecided": "yellow",
    "not comparable": "dim",
}
# Digits of what a card of ours holds in full; a table needs no more of them.
_SHOWN_DIGITS = 2


def reproduction_table(found: Reproduction) -> Table:
    """Per score: published, ours, difference with its 90 % interval, k of N, and the verdict."""
    title = Text(f"{found.card}: {found.model}, reproduced within {found.margin:g} points?")
    table = Table(title=title, title_justify="left", header_style="bold")
    for heading in ("Task", "Metric"):
        table.add_column(heading)
    for heading in ("Published", "Ours", "Difference", "90% interval", "n"):
        table.add_column(heading, justify="right")
    for heading in ("Reachable", "Verdict"):
        table.add_column(heading)
    for row in found.scores:
        if row.task == AVERAGE:
            table.add_section()
        table.add_row(
            Text(row.title),
            Text(row.metric or ""),
            _published(row),
            "–" if row.ours is None else f"{row.ours:.2f}",
            "–" if row.difference is None else f"{row.difference:+.2f}",
            "–" if row.low is None else f"[{row.low:+.2f}, {row.high:+.2f}]",
            _counts(row),
            Text(row.reach),
            Text(_verdict(row), style=_STYLES[row.verdict]),
        )
    return table


def reproduction_notes(found: Reproduction) -> list[str]:
    """What stands below the table: the verdict, its grounds, and what is only assumed."""
    exact = ", exact: every item came out as on the card" if found.exact else ""
    notes = [
        f"Verdict: {found.verdict}{exact}. Margin: {found.margin:g} points ({found.margin_why})."
    ]
    reasons: dict[str, list[str]] = {}
    for row in found.scores:
        for reason in row.reasons:
            reasons.setdefault(reason, []).append(row.title)
    notes += [f"{', '.join(dict.fromkeys(titles))}: {text}." for text, titles in reasons.items()]
    if any(row.inferred for row in found.scores):
        notes.append("Values in parentheses were not published; they follow from the average.")
    assumed: dict[str, list[str]] = {}
    for row in found.scores:
        for fact in row.assumed:
            assumed.setdefault(fact, []).append(row.title)
    everywhere = len({row.title for row in found.scores if row.assumed})
    notes += [f"Assumed, {_where(titles, everywhere)}: {fact}" for fact, titles in assumed.items()]
    notes += [f"Unknown of the published scores: {fact}" for fact in found.unknown]
    return [*notes, *(f"Note: {text}." for text in found.notes)]


def reproduction_json(found: Reproduction) -> dict[str, JsonValue]:
    """The same as values; differences and intervals in points."""
    return {
        "card": found.card,
        "model": found.model,
        "run_model": found.run_model,
        "verdict": found.verdict,
        "exact": found.exact,
        "margin": {"points": found.margin, "why": found.margin_why},
        "scores": [_score(row) for row in found.scores],
        "unknown": list(found.unknown),
        "notes": list(found.notes),
    }


def _score(row: Compared) -> dict[str, JsonValue]:
    return {
        "task": row.task,
        "metric": row.metric,
        "published": row.published,
        "published_n": row.published_n,
        "inferred": row.inferred,
        "ours": row.ours,
        "n": row.n,
        "difference": row.difference,
        "interval_90": None if row.low is None else [row.low, row.high],
        "reachable": row.reach,
        "basis": row.basis,
        "verdict": row.verdict,
        "exact": row.exact,
        "reasons": list(row.reasons),
        "assumed": list(row.assumed),
    }


def _published(row: Compared) -> str:
    shown = f"{row.published:.{min(row.digits, _SHOWN_DIGITS)}f}"
    return f"({shown})" if row.inferred else shown


def _counts(row: Compared) -> str:
    if row.n is None:
        return "–"
    if row.basis == "part of the items":
        return f"{row.n:,} of {row.published_n:,}"
    other = row.basis == "other items" and row.published_n is not None
    return f"{row.n:,} for {row.published_n:,}" if other else f"{row.n:,}"


def _verdict(row: Compared) -> str:
    return f"{row.verdict}, exact" if row.exact and row.verdict == "equivalent" else row.verdict


def _where(titles: list[str], everywhere: int) -> str:
    names = list(dict.fromkeys(titles))
    return "all tasks" if len(names) == everywhere > 1 else ", ".join(names)
