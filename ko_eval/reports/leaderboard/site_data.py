"""What a site shows, and `leaderboard.json`: all of it for everybody, with names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import ko_eval
from ko_eval.reports.leaderboard.boards import Board, Entry
from ko_eval.reports.leaderboard.notes import Note
from ko_eval.reports.leaderboard.published import PublishedRow, published_rows
from ko_eval.reports.leaderboard.words import WORDS
from ko_eval.runs.cards import Card
from ko_eval.runs.result import Value
from ko_eval.types import JsonValue, Metric

FORMAT = "ko-eval-leaderboard/1"


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """All that a site shows.

    Attributes:
        notes: on runs that are not ranked.
        cards: published scores.
        found: results that were read, and those that could not be.
    """

    title: str
    boards: Sequence[Board]
    notes: Sequence[Note]
    cards: Sequence[Card]
    found: int
    published: dict[str, list[PublishedRow]] = field(init=False)

    def __post_init__(self) -> None:
        rows = {board.id: published_rows(self.cards, board) for board in self.boards}
        object.__setattr__(self, "published", rows)

    @property
    def newest(self) -> str | None:
        """Day of the newest run; the site holds no time of its own, so that the same runs make
        the same files."""
        days = [day for board in self.boards for entry in board.entries if (day := entry.day)]
        return max(days, default=None)


def as_json(site: Leaderboard) -> str:
    """`leaderboard.json`: everything, with names."""
    content: dict[str, JsonValue] = {
        "format": FORMAT,
        "title": site.title,
        "ko_eval": ko_eval.__version__,
        "newest_run": site.newest,
        "boards": [_board(board, site.published[board.id]) for board in site.boards],
        "not_ranked": [_note(note) for note in site.notes],
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n"


def _board(board: Board, published: Iterable[PublishedRow]) -> JsonValue:
    return {
        "id": board.id,
        "data": board.label,
        "suite": board.suite,
        "limit": board.limit,
        "index": board.index,
        "differs_from_largest": [_note(note) for note in board.differs],
        "tasks": [_task(board, key.name) for key in board.keys],
        "entries": [_entry(board, entry) for entry in board.entries],
        "published_not_reproduced": [
            {
                "model": row.card.model,
                "average": row.average,
                "scores": {task: rounded(value) for task, value in row.scores.items()},
                "inferred": sorted(row.inferred),
                "source": row.card.source,
                "url": row.card.url,
                "date": row.card.date,
                "data": row.card.data,
            }
            for row in published
        ],
    }


def _task(board: Board, name: str) -> dict[str, JsonValue]:
    report = board.report_of(name)
    key = next(key for key in board.keys if key.name == name)
    apart = board.separation.get(name)
    return {
        "name": name,
        "title": report.title,
        "variant": report.variant,
        "category": report.category,
        "metric": report.metric,
        "n": report.n,
        "shots": report.shots,
        "chat_template": key.chat_template or None,
        "data": {
            "label": report.data.label,
            "source": report.data.source,
            "sha256": report.data.sha256,
            "revision": report.data.revision,
        },
        "definition_sha256": key.definition,
        "separation": {
            "reliability": rounded(apart.reliability),
            "spread": rounded(apart.spread),
            "error": rounded(apart.error),
        }
        if apart
        else None,
    }


def _entry(board: Board, entry: Entry) -> JsonValue:
    used, index = entry.spent, board.index_of(entry)
    rank = entry.rank
    return {
        "model": entry.model,
        "standing": entry.standing,
        "rank": rank[0] if rank else None,
        "rank_best": rank[1] if rank else None,
        "rank_worst": rank[2] if rank else None,
        "average": _value(entry.average),
        "index": _value(index),
        "scores": {name: _value(task.shown) for name, task in entry.tasks.items()},
        "type": entry.facts.type,
        "parameters": entry.parameters,
        "licence": entry.facts.licence,
        "released": entry.facts.released,
        "link": entry.facts.link,
        "evaluated": entry.day,
        "tokens": {"read": used.read, "written": used.written, "thinking": used.thinking},
        "cost": {"amount": used.cost, "currency": used.currency, "from": used.cost_from}
        if used.cost is not None
        else None,
        "run": entry.run.path,
        "fingerprint": entry.run.result.fingerprint,
        "reasons": [_note(note) for note in entry.reasons],
    }


def _note(note: Note) -> dict[str, JsonValue]:
    text = WORDS[f"note_{note.code}"].en.format_map(note.values)
    told: dict[str, JsonValue] = {"code": note.code, "text": text}
    if note.model:
        told["model"] = note.model
    if note.path:
        told["run"] = note.path
    return {**told, **note.values}


def _value(value: Value | Metric | None) -> JsonValue:
    if value is None:
        return None
    return {
        "value": rounded(value.value),
        "stderr": rounded(value.stderr),
        "low": rounded(value.low),
        "high": rounded(value.high),
        "n": value.n,
    }


def rounded(value: float | None) -> float | None:
    """To six digits after the point: more are noise, and make files larger."""
    return None if value is None else round(value, 6)
