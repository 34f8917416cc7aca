"""`leaderboard.csv`: a line per model and board, and per published row; tasks are columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from ko_eval.reports.leaderboard.boards import Board, Entry
from ko_eval.reports.leaderboard.published import PublishedRow
from ko_eval.reports.leaderboard.site_data import Leaderboard
from ko_eval.safe_text import visible

_COLUMNS = (
    *("board", "data", "suite", "standing", "model", "rank", "rank_best", "rank_worst"),
    *("average", "average_stderr", "average_low", "average_high", "index", "type", "parameters"),
    *("licence", "released", "evaluated", "tokens_written", "cost", "currency", "run"),
)
# What a spreadsheet would take for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(site: Leaderboard) -> str:
    """The whole file, with a heading; scores as shown, each with its standard error."""
    tasks = list(dict.fromkeys(key.name for board in site.boards for key in board.keys))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*_COLUMNS, *(task + end for task in tasks for end in ("", "_stderr"))])
    for board in site.boards:
        lines = [_line(board, entry, tasks) for entry in board.entries]
        lines += [_published(board, row, tasks) for row in site.published[board.id]]
        writer.writerows([[_cell(value) for value in line] for line in lines])
    return file.getvalue()


def _line(board: Board, entry: Entry, tasks: Iterable[str]) -> list[object]:
    average, used, index = entry.average, entry.spent, board.index_of(entry)
    values: list[object] = [board.id, board.label, board.suite, entry.standing, entry.model]
    values += entry.rank or [None] * 3
    values += [average.value, average.stderr, average.low, average.high] if average else [None] * 4
    values += [index.value if index else None, entry.facts.type, entry.parameters]
    values += [entry.facts.licence, entry.facts.released, entry.day, used.written]
    values += [used.cost, used.currency, entry.run.path]
    for task in tasks:
        shown = entry.tasks[task].shown if task in entry.tasks else None
        values += [shown.value, shown.stderr] if shown else [None, None]
    return values


def _published(board: Board, row: PublishedRow, tasks: Iterable[str]) -> list[object]:
    values: list[object] = [board.id, board.label, board.suite, "published", row.card.model]
    values += [None] * 3 + [row.average]
    values += [None] * (len(_COLUMNS) - len(values))
    for task in tasks:
        values += [row.scores.get(task), None]
    return values


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.10g}"
    text = visible(str(value))
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text
