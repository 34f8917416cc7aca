"""What the site's scripts read: the boards as lists without names, so that thousands of models load
at once, and in shards what only a model's own page needs.

Each file is one assignment or call whose value is JSON; the escapes of JSON keep any text in it
from becoming code, and `fetch` would not work from a folder on disk.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from ko_eval.reports.leaderboard.boards import Board, Entry
from ko_eval.reports.leaderboard.notes import Note
from ko_eval.reports.leaderboard.published import PublishedRow
from ko_eval.reports.leaderboard.site_data import Leaderboard
from ko_eval.runs.result import TaskReport, Value
from ko_eval.safe_text import visible
from ko_eval.types import JsonValue, Metric

PER_SHARD = 100  # models; about 150 kB
_MOST_WARNINGS = 20  # of a run; its own report has all
_LONGEST = 500  # characters of one


def board_script(site: Leaderboard) -> str:
    """`data.js`: all boards; a value is `[value, low, high]`."""
    numbers = _numbers(site)
    content: JsonValue = {
        "title": site.title,
        "newest": site.newest,
        "perShard": PER_SHARD,
        "models": list(numbers),
        "boards": [_board(board, site.published[board.id], numbers) for board in site.boards],
    }
    return f"const KO_EVAL = {_script(content)};\n"


def shard_scripts(site: Leaderboard) -> list[str]:
    """`data/<number>.js`: for each model, what is told of its runs, one per board."""
    details: dict[str, list[JsonValue]] = {name: [] for name in _numbers(site)}
    for place, board in enumerate(site.boards):
        for entry in board.entries:
            details[entry.model].append({"board": place, **_detail(board, entry)})
    told = list(details.values())
    return [
        f"KO_EVAL_SHARD({first // PER_SHARD}, {_script(told[first : first + PER_SHARD])});\n"
        for first in range(0, len(told), PER_SHARD)
    ]


def _numbers(site: Leaderboard) -> dict[str, int]:
    names = dict.fromkeys(entry.model for board in site.boards for entry in board.entries)
    return {name: number for number, name in enumerate(names)}


def _board(
    board: Board, published: Iterable[PublishedRow], numbers: Mapping[str, int]
) -> JsonValue:
    names = [key.name for key in board.keys]
    return {
        "id": board.id,
        "label": board.label,
        "suite": board.suite,
        "limit": board.limit,
        "index": board.index,
        "tasks": [_task(board, name) for name in names],
        "rows": [_row(board, entry, numbers) for entry in board.entries],
        "published": [
            {
                "model": row.card.model,
                "average": row.average,
                "scores": [row.scores.get(name) for name in names],
                "inferred": [name in row.inferred for name in names],
                "source": row.card.source,
                "url": row.card.url if (row.card.url or "").startswith("https://") else None,
                "date": row.card.date,
            }
            for row in published
        ],
        "differs": [_note(note) for note in board.differs],
    }


def _task(board: Board, name: str) -> JsonValue:
    report, apart = board.report_of(name), board.separation.get(name)
    return {
        "name": name,
        "title": report.title,
        "category": report.category,
        "metric": report.metric,
        "n": report.n,
        "shots": report.shots,
        "source": report.data.source,
        "sha256": report.data.sha256[:12],
        "revision": report.data.revision,
        "apart": [_short(apart.reliability, 4), _short(apart.spread), _short(apart.error)]
        if apart
        else None,
        "facts": [[fact_name, str(f.value), f.status] for fact_name, f in report.protocol.items()],
    }


def _row(board: Board, entry: Entry, numbers: Mapping[str, int]) -> JsonValue:
    facts, used = entry.facts, entry.spent
    return [
        numbers[entry.model],
        *(entry.rank or (None, None, None)),
        _value(entry.average),
        _value(board.index_of(entry)),
        [_value(entry.tasks[k.name].shown) if k.name in entry.tasks else None for k in board.keys],
        facts.type,
        entry.parameters,
        facts.licence,
        facts.released,
        entry.day,
        used.written,
        None if used.cost is None else _short(used.cost, 6),
        used.currency,
        [_note(reason) for reason in entry.reasons],
    ]


def _detail(board: Board, entry: Entry) -> dict[str, JsonValue]:
    result, used = entry.run.result, entry.spent
    conditions = {
        name: str(value)[:_LONGEST]
        for name, value in result.conditions.items()
        if isinstance(value, str | int | float | bool)
    }
    return {
        "run": entry.run.path,
        "fingerprint": result.fingerprint,
        "created": entry.run.created.isoformat() if entry.run.created else None,
        "version": result.ko_eval,
        "kind": result.model.type,
        "revision": result.model.revision,
        "sha256": result.model.sha256,
        "window": result.model.max_length,
        "seed": result.seed,
        "conditions": dict(list(conditions.items())[:20]),
        "link": entry.facts.link,
        "read": used.read,
        "thinking": used.thinking,
        "seconds": _short(used.seconds, 1),
        "costFrom": used.cost_from,
        "replaced": entry.replaced,
        "tasks": [
            _task_detail(entry.tasks[key.name]) if key.name in entry.tasks else None
            for key in board.keys
        ],
        "warnings": [text[:_LONGEST] for text in result.warnings[:_MOST_WARNINGS]],
        "moreWarnings": max(0, len(result.warnings) - _MOST_WARNINGS),
    }


def _task_detail(task: TaskReport) -> JsonValue:
    """Number of samples, outcomes that occurred, format loss, tokens written and seconds."""
    return [
        task.n,
        {name: count for name, count in task.outcomes.items() if count},
        _value(task.format_loss.shown) if task.format_loss else None,
        task.tokens.completion,
        _short(task.seconds, 1),
        task.chat_template,
    ]


def _note(note: Note) -> JsonValue:
    return [note.code, dict(note.values)]


def _value(value: Value | Metric | None) -> JsonValue:
    if value is None:
        return None
    if value.low is None or value.high is None:
        return [_short(value.value)]
    return [_short(value.value), _short(value.low), _short(value.high)]


def _short(value: float, digits: int = 3) -> float | int:
    short = round(value, digits)
    return int(short) if short == int(short) else short


def _script(value: JsonValue) -> str:
    """JSON without `<` and without signs that hide: it can neither end a script nor lie."""
    text = _dumped(value)
    if visible(text) != text or "\\u00" in text:  # rare, and slow for thousands of models
        text = _dumped(_visible(value))
    return text.replace("<", "\\u003c")


def _dumped(value: JsonValue) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _visible(value: JsonValue) -> JsonValue:
    """All texts in it, with what acts or hides written out."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible(name): _visible(inner) for name, inner in value.items()}
    return [_visible(inner) for inner in value] if isinstance(value, list | tuple) else value
