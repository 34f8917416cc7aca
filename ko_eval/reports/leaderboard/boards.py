"""Which runs are ranked with one another, and which are not, and why.

A board is a group of runs that were asked the same (see `task_keys`), so data labels never mix.
Within a board each model counts once. What is not ranked stays in sight with its reason.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeVar

from ko_eval.reports.leaderboard.found_runs import FoundRun
from ko_eval.reports.leaderboard.model_facts import NOTHING_KNOWN, ModelFacts
from ko_eval.reports.leaderboard.notes import Code, Note
from ko_eval.reports.leaderboard.task_keys import LAYERS, Keys, Layer, TaskKey, grouped
from ko_eval.reports.leaderboard.usage import Spent, spent
from ko_eval.runs.result import RunResult, TaskReport, Value
from ko_eval.runs.scoring import average
from ko_eval.stats.composite import Separation, separation
from ko_eval.stats.ranks import rank_intervals
from ko_eval.types import Metric

Label = Literal["private", "hub", "mixed", "bundled"]
# Private rows come first: nobody can have trained on them.
_ORDER: dict[str, int] = {"private": 0, "hub": 1, "mixed": 2, "bundled": 3}
_DIFFERS: dict[Layer, Code] = {
    "data": "differs_data",
    "variant": "differs_variant",
    "metric": "differs_metric",
    "fewshot": "differs_fewshot",
    "prompts": "differs_prompts",
    "definition": "differs_definition",
    "chat_template": "differs_chat_template",
}
_FEWEST_TO_SEPARATE = 3  # models; a variance between fewer says nothing
_OLDEST = datetime.min.replace(tzinfo=UTC)
_Item = TypeVar("_Item")
Identity = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Entry:
    """One model on a board.

    Attributes:
        model: the name shown; models of the same name are told apart by their hash.
        facts: what was said of the model apart from its run.
        average: plain mean of the shown values; None where tasks are missing.
        tasks: of the run, by name.
        reasons: why it is not ranked.
        replaced: other runs of the same model that are not shown.
        spent: what the run took.
        rank: the place of its average, and the best and the worst place that it may have with
            95 % confidence; None where it is not ranked.
    """

    model: str
    run: FoundRun
    facts: ModelFacts
    average: Metric | None
    tasks: Mapping[str, TaskReport]
    reasons: tuple[Note, ...]
    replaced: int
    spent: Spent
    rank: tuple[int, int, int] | None = None

    @property
    def standing(self) -> Literal["ranked", "not ranked"]:
        """Whether it is ranked."""
        return "not ranked" if self.reasons else "ranked"

    @property
    def day(self) -> str | None:
        """When the run was begun."""
        return self.run.created.date().isoformat() if self.run.created else None

    @property
    def parameters(self) -> float | None:
        """As was said of the model; else as the engine counted them."""
        if self.facts.parameters is not None:
            return self.facts.parameters
        counted = self.run.result.conditions.get("parameters")
        if isinstance(counted, int) and 0 < counted <= 10**15:
            return float(counted)
        return None


@dataclass(frozen=True, slots=True)
class Board:
    """Models that are ranked with one another, the best first; then those that are not ranked.

    Attributes:
        id: stable as long as what was asked is.
        suite: of most runs; None where tasks were named one by one.
        limit: rows per task, where only the first ones were asked.
        keys: what was asked, in the order of the tasks.
        separation: how well each task separates the ranked models; empty for few of them.
        index_definition: name and hash of the composite that all ranked models have; None where
            they do not.
        differs: how it differs from the largest board of the same label and tasks.
    """

    id: str
    label: Label
    suite: str | None
    limit: int | None
    keys: tuple[TaskKey, ...]
    entries: tuple[Entry, ...]
    separation: Mapping[str, Separation]
    index_definition: tuple[str, str] | None
    differs: tuple[Note, ...] = ()

    @property
    def ranked(self) -> list[Entry]:
        """Those that are ranked."""
        return [entry for entry in self.entries if entry.rank is not None]

    @property
    def index(self) -> str | None:
        """The name of the composite that all ranked models have."""
        return self.index_definition[0] if self.index_definition else None

    def report_of(self, task: str) -> TaskReport:
        """A task's report that stands for all: title, category, data and protocol are the same."""
        return next(entry.tasks[task] for entry in self.entries if task in entry.tasks)

    def index_of(self, entry: Entry) -> Value | None:
        """The entry's composite; None where not all ranked ones have the same."""
        index = entry.run.result.index
        if index is None or (index.name, index.definition_sha256) != self.index_definition:
            return None
        return index.shown


def make_boards(
    runs: Sequence[FoundRun], facts: Mapping[str, ModelFacts]
) -> tuple[list[Board], list[Note]]:
    """All boards, private rows first and large ones before small ones; and notes on all runs that
    are not ranked.

    Args:
        facts: by the model's name.
    """
    names = _names(runs)
    boards, notes = [], []
    for keys, members in grouped(list(runs)).items():
        entries, replaced = _entries(keys, members, names, facts)
        notes += replaced
        boards.append(_board(keys, entries))
    boards.sort(
        key=lambda b: (
            _ORDER[b.label],
            b.limit is not None,
            -len(b.ranked),
            -len(b.keys),
            b.id,
        )
    )
    boards = _compared(boards)
    for board in boards:
        notes += [reason for entry in board.entries for reason in entry.reasons]
    return boards, notes


def _names(runs: Iterable[FoundRun]) -> dict[Identity, str]:
    """A name for each model, the hash behind it where another one has the same."""
    identities: defaultdict[str, set[Identity]] = defaultdict(set)
    for run in runs:
        identity = _identity(run.result)
        identities[_plain_name(identity)].add(identity)
    return {
        identity: plain if len(alike) == 1 else f"{plain} @{_short_hash(identity)}"
        for plain, alike in identities.items()
        for identity in alike
    }


def _identity(result: RunResult) -> Identity:
    """What makes two runs those of one model: its weights, where they are known."""
    model = result.model
    content = model.sha256 if model.sha256 != "unknown" else f"revision {model.revision}"
    return model.name, model.adapter or "", content


def _plain_name(identity: Identity) -> str:
    name, adapter, _ = identity
    return f"{name} + {adapter.rstrip('/').rpartition('/')[2]}" if adapter else name


def _short_hash(identity: Identity) -> str:
    return hashlib.sha256("\0".join(identity).encode("utf-8", "backslashreplace")).hexdigest()[:6]


def _entries(
    keys: Keys,
    members: Iterable[FoundRun],
    names: Mapping[Identity, str],
    facts: Mapping[str, ModelFacts],
) -> tuple[list[Entry], list[Note]]:
    """One entry per model, and a note on each of its other runs."""
    of_model: defaultdict[Identity, list[FoundRun]] = defaultdict(list)
    for run in members:
        of_model[_identity(run.result)].append(run)
    entries, notes = [], []
    for identity, runs in of_model.items():
        runs.sort(key=lambda run: (*_soundness(run), run.created or _OLDEST, run.path))
        kept, name = runs[-1], names[identity]
        notes += [
            Note(_why_replaced(run, kept), name, run.path, {"kept": kept.path}) for run in runs[:-1]
        ]
        complete = len(kept.result.tasks) == len(keys)
        shown = [_metric(task.shown) for task in kept.result.tasks]
        known = facts.get(kept.result.model.name, NOTHING_KNOWN)
        entries.append(
            Entry(
                model=name,
                run=kept,
                facts=known,
                average=average(shown) if complete else None,
                tasks={task.name: task for task in kept.result.tasks},
                reasons=_reasons(kept, name, keys),
                replaced=len(runs) - 1,
                spent=spent(kept.result, known.price),
            )
        )
    return entries, notes


def _soundness(run: FoundRun) -> tuple[int, bool]:
    """A run with fewer tasks, or with failed samples, does not replace one without, even later."""
    return len(run.result.tasks), not run.result.failed


def _why_replaced(run: FoundRun, kept: FoundRun) -> Code:
    if len(kept.result.tasks) > len(run.result.tasks):
        return "duplicate_fuller"
    return "duplicate_sounder" if _soundness(kept) > _soundness(run) else "duplicate_newer"


def _reasons(run: FoundRun, name: str, keys: Keys) -> tuple[Note, ...]:
    result = run.result
    reasons = []
    have = {task.name for task in result.tasks}
    if missing := sorted(key.name for key in keys if key.name not in have):
        reasons.append(Note("missing_tasks", name, run.path, {"tasks": ", ".join(missing)}))
    if result.failed:
        counts = {"count": str(result.failed), "n": str(sum(task.n for task in result.tasks))}
        reasons.append(Note("failed", name, run.path, counts))
    return tuple(reasons)


def _board(keys: Keys, entries: Sequence[Entry]) -> Board:
    fullest = max(entries, key=lambda entry: len(entry.tasks))
    order = {name: place for place, name in enumerate(fullest.tasks)}
    in_order = tuple(sorted(keys, key=lambda key: order[key.name]))
    ranked = _ranked([entry for entry in entries if not entry.reasons])
    rest = sorted((entry for entry in entries if entry.reasons), key=_by_average)
    labels = {task.data.label for task in fullest.tasks.values()}
    indices = {
        (index.name, index.definition_sha256) if (index := entry.run.result.index) else None
        for entry in ranked
    }
    return Board(
        id=_short_hash(("board", str(in_order), "")),
        label=labels.pop() if len(labels) == 1 else "mixed",
        suite=_most_common(entry.run.result.suite for entry in entries),
        limit=_most_common(entry.run.result.limit for entry in entries),
        keys=in_order,
        entries=(*ranked, *rest),
        separation=_separation(in_order, ranked),
        index_definition=indices.pop() if len(indices) == 1 else None,
    )


def _by_average(entry: Entry) -> tuple[float, str, str]:
    value = entry.average.value if entry.average else -math.inf
    return -value, entry.model, entry.run.path


def _ranked(entries: Iterable[Entry]) -> list[Entry]:
    """The entries with their places, the best first; equal averages share a place."""
    ordered = sorted(entries, key=_by_average)
    averages = [entry.average for entry in ordered if entry.average is not None]
    if not averages:
        return []
    values = [metric.value for metric in averages]
    errors = [math.nan if m.stderr is None else m.stderr for m in averages]
    first: dict[float, int] = {}
    return [
        dataclasses.replace(entry, rank=(first.setdefault(value, place), best, worst))
        for place, (entry, value, (best, worst)) in enumerate(
            zip(ordered, values, rank_intervals(values, errors), strict=True), start=1
        )
    ]


def _separation(keys: Sequence[TaskKey], ranked: Sequence[Entry]) -> dict[str, Separation]:
    found = {}
    for key in keys:
        shown = [entry.tasks[key.name].shown for entry in ranked]
        known = [(value.value, value.stderr) for value in shown if value.stderr is not None]
        if len(known) >= _FEWEST_TO_SEPARATE:
            apart = separation([value for value, _ in known], [error for _, error in known])
            if apart is not None:
                found[key.name] = apart
    return found


def _compared(boards: Sequence[Board]) -> list[Board]:
    """The boards, each told how it differs from the largest one of the same label and tasks."""
    largest: dict[tuple[str, frozenset[str]], Board] = {}
    told = []
    for board in boards:
        family = (board.label, frozenset(key.name for key in board.keys))
        first = largest.setdefault(family, board)
        told.append(dataclasses.replace(board, differs=_differences(board, first)))
    return told


def _differences(board: Board, first: Board) -> tuple[Note, ...]:
    theirs = {key.name: key for key in first.keys}
    tasks: defaultdict[Layer, list[str]] = defaultdict(list)
    for key in board.keys:
        if layer := key.difference(theirs[key.name]):
            tasks[layer].append(key.name)
    notes = []
    if board.limit is not None:
        notes.append(Note("limited", values={"n": str(board.limit)}))
    for layer in LAYERS:
        if layer in tasks:
            values = {"tasks": ", ".join(tasks[layer]), "board": first.id}
            notes.append(Note(_DIFFERS[layer], values=values))
    return tuple(notes)


def _metric(value: Value) -> Metric:
    return Metric(value.value, value.stderr, value.low, value.high, value.n)


def _most_common(values: Iterable[_Item]) -> _Item:
    return Counter(values).most_common(1)[0][0]
