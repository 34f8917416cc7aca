"""Scores that others published, as rows beside the boards: never ranked, never mixed with runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ko_eval.reports.leaderboard.boards import Board
from ko_eval.runs.cards import Card


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """What a card says of a board's tasks.

    Attributes:
        average: as published, where it is one of just these tasks.
        scores: task to value, on the board's scale.
        inferred: tasks whose value follows from others that were published.
    """

    card: Card
    average: float | None
    scores: Mapping[str, float]
    inferred: frozenset[str]


def published_rows(cards: Iterable[Card], board: Board) -> list[PublishedRow]:
    """The cards that say something of a board's tasks by the board's metrics, the best first.

    Cards made with the bundled rows are left out: those runs can be repeated, and rank themselves.
    """
    rows = []
    for card in cards:
        if card.data == "bundled":
            continue
        scores, inferred = {}, set()
        for key in board.keys:
            score = card.shown.get(key.name)
            if score is None or score.metric != key.metric or (score.variant or "") != key.variant:
                continue
            scores[key.name] = score.value / score.scale * _scale(board, key.name)
            if score.status != "known":
                inferred.add(key.name)
        if scores:
            same_tasks = set(card.tasks) == {key.name for key in board.keys}
            average = card.average if same_tasks else None
            rows.append(PublishedRow(card, average, scores, frozenset(inferred)))
    return sorted(rows, key=lambda r: (r.average is None, -(r.average or 0.0), r.card.model))


def _scale(board: Board, task: str) -> float:
    """What a metric is multiplied with where the board shows it: 100 for shares, 1 for others."""
    for entry in board.entries:
        report = entry.tasks.get(task)
        own = report.metrics.get(report.metric) if report else None
        if report and own and abs(own.value) > 1e-9:
            return round(report.shown.value / own.value, 6)
    return 100.0
