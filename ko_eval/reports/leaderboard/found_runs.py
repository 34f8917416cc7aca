"""Finds the results under folders that others may have prepared, and reads each of them.

Links are not followed, pipes are not waited for, and depth, number and size are bounded. A file
that holds no sound result is not passed over: it is listed with what is wrong.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ko_eval.errors import DataError
from ko_eval.runs.result import RunResult, Value, read_result

_DEEPEST = 8  # levels below a folder given; `run` and `batch` use two
_MOST_FOLDERS = 1_000_000
_MOST_RUNS = 50_000
_LARGEST = 50_000_000  # bytes; a result with every subject of a large suite is below 2 MB
_MOST_TASKS = 500  # of one run
_LONGEST_NAME = 300  # characters of a model's or task's name


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A finished run.

    Attributes:
        path: of its directory, from the name of the folder given on.
        result: what it found.
        created: when it was begun; None where the result does not say it soundly.
    """

    path: str
    result: RunResult
    created: datetime | None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A result file that cannot be used, and why."""

    path: str
    problem: str


def find_results(roots: Sequence[Path]) -> tuple[list[FoundRun], list[Unreadable]]:
    """All results under run directories, or folders of them, in the order of their paths.

    Raises:
        DataError: a folder is not there; or there are more folders or runs than can be.
    """
    runs: list[FoundRun] = []
    unreadable: list[Unreadable] = []
    seen: set[tuple[int, int]] = set()
    for root in roots:
        if not root.is_dir():
            raise DataError(
                f"there is no folder '{root}'", hint="give run directories, or folders of them"
            )
        name = Path(root.resolve().name)
        for folder in _folders_with_results(root):
            where = folder.stat()
            if (where.st_dev, where.st_ino) in seen:  # given twice, or one within the other
                continue
            seen.add((where.st_dev, where.st_ino))
            if len(seen) > _MOST_RUNS:
                raise DataError(f"there are more than {_MOST_RUNS:,} runs", where=str(root))
            # Without the folders above: a public page must not tell a machine's paths.
            path = (name / folder.relative_to(root)).as_posix()
            try:
                runs.append(_read(folder / "results.json", path))
            except (DataError, ValueError) as problem:
                unreadable.append(Unreadable(path, _short(problem, root)))
    return runs, unreadable


def _read(file: Path, path: str) -> FoundRun:
    facts = file.lstat()
    if not stat.S_ISREG(facts.st_mode):
        raise ValueError("not a plain file")
    if facts.st_size > _LARGEST:
        raise ValueError(f"larger than {_LARGEST:,} bytes")
    result = read_result(file)
    _check(result)
    return FoundRun(path, result, _moment(result.created))


def _check(result: RunResult) -> None:
    """Raise `ValueError` for what a run cannot have found, and no board can show."""
    if not result.tasks:
        raise ValueError("it holds no task")
    if len(result.tasks) > _MOST_TASKS:
        raise ValueError(f"more than {_MOST_TASKS} tasks")
    names = [task.name for task in result.tasks]
    if len(set(names)) < len(names):
        raise ValueError("it names a task twice")
    if not result.model.name.strip():
        raise ValueError("the model has no name")
    for name in (result.model.name, *(task.name for task in result.tasks)):
        if len(name) > _LONGEST_NAME:
            raise ValueError(f"a name of more than {_LONGEST_NAME} characters")
    for value in _values(result):
        numbers = (value.value, value.stderr, value.low, value.high)
        if not all(number is None or abs(number) <= 1e9 for number in numbers):  # NaN is not
            raise ValueError("a score that is no number, or that none can be")
        if value.stderr is not None and value.stderr < 0:
            raise ValueError("a standard error below zero")
    if result.cost is not None and not (0 <= result.cost.amount < math.inf):
        raise ValueError("a cost that none can be")


def _values(result: RunResult) -> Iterator[Value]:
    if result.index is not None:
        yield result.index.shown
    for task in result.tasks:
        yield task.shown
        yield from task.metrics.values()
        if task.format_loss is not None:
            yield task.format_loss.shown


def _folders_with_results(root: Path) -> Iterator[Path]:
    """Folders that hold `results.json`, sorted, from the top down; links are not followed."""
    level = [root]
    walked = 0
    for _ in range(_DEEPEST + 1):
        below: list[Path] = []
        for folder in level:
            walked += 1
            if walked > _MOST_FOLDERS:
                raise DataError(f"there are more than {_MOST_FOLDERS:,} folders", where=str(root))
            has_result, inner = _look_into(folder)
            if has_result:
                yield folder
            else:
                below += inner
        level = below


def _look_into(folder: Path) -> tuple[bool, Iterable[Path]]:
    try:
        with os.scandir(folder) as entries:
            found = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
    except OSError:
        return False, []
    return "results.json" in found, [folder / name for name in sorted(found) if found[name]]


def _short(problem: DataError | ValueError, root: Path) -> str:
    text = problem.what if isinstance(problem, DataError) else str(problem)
    return text.replace(str(root), root.name)[:300]


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    # Without its zone it cannot be ordered among others.
    return moment.astimezone(UTC) if moment.tzinfo is not None else None
