"""Result files of the Open Ko-LLM Leaderboard Season 2 as score cards: published, not reproduced.

The board keeps one JSON file per model, in the layout of the reference harness with its own keys
(FACTS sections 1 and 2): `results` by task, `config_general` about the model. Other files of that
layout that hold the board's tasks are read as well. A value is kept in points with all its digits.
What a file does not say stays unknown; how many items a share is a mean over follows from its
standard error, which the harness computes as √(p(1−p)/(n−1)) (FACTS 3.1), and is marked inferred.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic import JsonValue as AnyJson

from ko_eval.bounds import parsed_json
from ko_eval.errors import DataError, first_line
from ko_eval.interop.exported_run import shown_text
from ko_eval.interop.harness_metrics import stderr_key, value_key
from ko_eval.runs.cards import Card, Margin, Score
from ko_eval.runs.files import safe_name, write_atomically
from ko_eval.scorers.registry import create_scorer
from ko_eval.tasks.definition import Fact, TaskDefinition
from ko_eval.tasks.registry import load_suite, load_task
from ko_eval.types import JsonValue

_SUITE = "leaderboard2"
_LARGEST = 20_000_000  # bytes; the board's own have 3,000
_MOST_FILES = 100_000
_DIGITS = 10  # after the point, in points: what a double holds of them
# A task's key, alone or as older harnesses wrote it: "harness|ko_gsm8k|5".
_KEY = re.compile(r"(?:harness\|)?([\w-]{1,80})(?:\|(\d{1,3}))?", re.ASCII)
# "result_2024-04-22 02:51:25.json", "results_2024-11-05T10-11-12.123456.json".
_FILE_DATE = re.compile(r"results?_(\d{4}-\d\d-\d\d[ T]\d\d[:-]\d\d[:-]\d\d)")
_COMMIT = re.compile(r"[0-9a-f]{40}")
# Metrics whose items are right or wrong; credits and shares of people are not.
_RIGHT_OR_WRONG = ("acc", "exact_match_", "prompt_level_", "percent_parseable")
# Zero-shot by its name, and by the reference's tasks (FACTS section 1).
_KNOWN_SHOTS = {"ko_gpqa": 0, "ko_eqbench": 0, "ko_ifeval": 0}
_MARGIN = Margin(
    points=2,
    why="our choice: rounding, precision and batches move a score by less, another prompt or "
    "template by more",
)


@dataclass(frozen=True, slots=True)
class BoardFile:
    """A result file of the board, read.

    Attributes:
        card: what it publishes.
        notes: what of it was left out, in words.
    """

    path: Path
    card: Card
    notes: tuple[str, ...]


class _General(BaseModel):
    model_config = ConfigDict(extra="ignore")
    model_name: str | None = None
    model_sha: str | None = None
    model_dtype: str | None = None


class _File(BaseModel):
    """What is read of a file; the rest of it may be anything."""

    model_config = ConfigDict(extra="ignore")
    results: dict[str, AnyJson]
    config_general: _General = _General()
    model_name: str | None = None
    ko_eval: AnyJson = None


def board_files_in(paths: Sequence[Path]) -> list[Path]:
    """The files that were named, and `result*.json` of the folders that were, sorted.

    Raises:
        DataError: a folder holds none, or too many.
    """
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(path.rglob("result*.json"))
        if not 0 < len(inside) <= _MOST_FILES:
            raise DataError(
                f"the folder holds {len(inside):,} result files (result*.json)",
                where=str(path),
                hint=f"give files, or a folder with at most {_MOST_FILES:,} of them",
            )
        files += inside
    return files


def read_board_file(path: Path) -> BoardFile:
    """What a result file publishes, as a score card.

    Raises:
        DataError: it cannot be read, is none, or holds none of the board's nine tasks.
    """
    content = _read(path)
    if content.ko_eval is not None:
        raise DataError(
            "this is an export of a run of ko-eval, and nothing that the board published",
            where=str(path),
            hint="give the run itself to compare, report or leaderboard",
        )
    notes: list[str] = []
    scores = list(_scores(content.results, path, notes))
    if not scores:
        keys = ", ".join(shown_text(key) for key in list(content.results)[:5])
        raise DataError(
            f"the file holds none of the board's nine tasks (it holds: {keys or 'nothing'})",
            where=str(path),
            hint="tasks of Season 2 are read: " + ", ".join(_board_tasks()),
        )
    return BoardFile(path, _card(path, content, scores), tuple(notes))


def write_cards(found: Sequence[BoardFile], folder: Path) -> list[Path]:
    """Writes one card per file, named after the model; several of one model are numbered.

    Raises:
        RunError: a card cannot be written.
    """
    paths: dict[str, Path] = {}
    for one in found:
        # Names of models are as long as their owners like; those of files are not.
        name = f"board-{safe_name(one.card.model)}".encode()[:180].decode(errors="ignore")
        free, number = name, 1
        while free in paths:
            number += 1
            free = f"{name}-{number}"
        path = paths[free] = folder / f"{free}.yaml"
        content = one.card.model_dump(mode="json", exclude_defaults=True)
        text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=100)
        write_atomically(path, f"# Imported from a result file of the board.\n{text}")
    return list(paths.values())


def _read(path: Path) -> _File:
    try:
        if not path.is_file():
            wrong = "is no ordinary file" if path.exists() else "is not there"
            raise DataError(f"the result file {wrong}", where=str(path))
        if path.stat().st_size > _LARGEST:
            raise DataError(f"the file is larger than {_LARGEST:,} bytes", where=str(path))
        return _File.model_validate(parsed_json(path.read_bytes()))
    except OSError as error:
        raise DataError(
            f"cannot read the file: {error.strerror or error}", where=str(path)
        ) from error
    except ValidationError as error:
        raise DataError(
            f"the file is no result file of the board: {_problem(error)}",
            where=str(path),
            hint='it must hold {"results": {"ko_gsm8k": {…}, …}, "config_general": {…}}',
        ) from error
    except ValueError as error:
        raise DataError(f"the file is no JSON: {first_line(error)}", where=str(path)) from error


def _problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"


@cache
def _board_tasks() -> dict[str, TaskDefinition]:
    """The nine tasks by the board's key."""
    tasks = (load_task(name, check_scorer=False) for name in load_suite(_SUITE).tasks)
    return {task.board_key: task for task in tasks if task.board_key}


def _scores(results: Mapping[str, AnyJson], path: Path, notes: list[str]) -> Iterator[Score]:
    """The scores of all tasks that are the board's, in its order."""
    found: dict[str, tuple[dict[str, AnyJson], int | None]] = {}
    others: list[str] = []
    for key, values in results.items():
        match = _KEY.fullmatch(key)
        if match is None or match[1] not in _board_tasks() or not isinstance(values, dict):
            others.append(f"'{shown_text(key)}'")
        elif match[1] in found:
            raise DataError(f"the task '{match[1]}' occurs twice", where=str(path))
        else:
            found[match[1]] = values, None if match[2] is None else int(match[2])
    if others:
        named = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if others[3:] else "")
        notes.append(f"left out, since they are no tasks of the board: {named}")
    for key, task in _board_tasks().items():
        if key in found:
            yield from _of_task(task, *found[key], f"{path}, task '{key}'", notes)


def _of_task(
    task: TaskDefinition,
    values: Mapping[str, JsonValue],
    shots: int | None,
    where: str,
    notes: list[str],
) -> list[Score]:
    """The scores of a task, the one that the board shows first."""
    metrics = create_scorer(task.scorer.name, task.scorer.parameters).metrics
    read: dict[str, tuple[float, float | None]] = {}
    for name in metrics:
        value = _number(values, value_key(name), where)
        if value is None:  # older harnesses wrote no filter
            value = _number(values, name, where)
        if value is not None:
            read[name] = _checked(name, value, where), _number(values, stderr_key(name), where)
    counts = {name: _items(name, *pair) for name, pair in read.items()}
    if task.name == "ko_ifeval" and "strict_acc" not in read:
        levels = [read.get(f"{level}_level_strict_acc") for level in ("prompt", "inst")]
        if levels[0] is not None and levels[1] is not None:
            read["strict_acc"] = (levels[0][0] + levels[1][0]) / 2, None
            counts["strict_acc"] = counts["prompt_level_strict_acc"]
    leading = str(task.metric)
    if leading not in read:
        notes.append(f"task '{task.board_key}' lacks the metric that the board shows; left out")
        return []
    if task.name == "ko_eqbench":
        counts["eqbench"] = counts.get("percent_parseable")
    names = [leading, *(name for name in read if name != leading)]
    known = _KNOWN_SHOTS.get(task.name) if shots is None else shots
    return [_score(task, name, read[name][0], counts[name], known) for name in names]


def _score(
    task: TaskDefinition, name: str, value: float, count: int | None, shots: int | None
) -> Score:
    scale = 1.0 if name.startswith(("eqbench", "percent_")) else 100.0
    return Score(
        task=task.name,
        metric=name,
        value=round(value * scale, _DIGITS),
        # The board's files hold its two halves.
        status="inferred" if name == "strict_acc" else "known",
        scale=scale,
        n=count,
        n_status="inferred" if count is not None else "known",
        steps=1 if count is not None and name.startswith(_RIGHT_OR_WRONG) else None,
        shots=shots,
    )


def _number(values: Mapping[str, JsonValue], key: str, where: str) -> float | None:
    """The number under a key; None where there is none, or `N/A`."""
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not abs(number) <= 1e6:
        raise DataError(f"'{shown_text(key)}' is no possible value", where=where)
    return number


def _checked(name: str, value: float, where: str) -> float:
    """The value, if the metric can take it: all but two are shares."""
    highest = 100.0 if name.startswith(("eqbench", "percent_")) else 1.0
    lowest = -1e6 if name.startswith("eqbench") else 0.0
    if name in ("brier", "ece") or lowest <= value <= highest:
        return value
    raise DataError(
        f"'{value_key(name)}' is {value:g}; it must lie between {lowest:g} and {highest:g}",
        where=where,
        hint="the board's files hold shares, such as 0.3459 for 34.59 points",
    )


def _items(name: str, value: float, stderr: float | None) -> int | None:
    """How many items a share of right ones is a mean over, where its standard error tells."""
    share, error = value, stderr
    if name.startswith("percent_"):
        share, error = value / 100, None if stderr is None else stderr / 100
    if not name.startswith(_RIGHT_OR_WRONG) or not error or not 0 < share < 1:
        return None
    count = share * (1 - share) / error**2 + 1
    whole = round(count) if count < 1e7 else 0
    exact = abs(count - whole) < 1e-6 * count and abs(share * whole - round(share * whole)) < 1e-4
    return whole if whole > 1 and exact else None


def _card(path: Path, content: _File, scores: list[Score]) -> Card:
    general = content.config_general
    sha, dtype = general.model_sha or "", general.model_dtype
    date = _FILE_DATE.match(path.name)
    unknown = ["whether a chat template was used, and the exact prompts"]
    protocol = {"test_sets": Fact(value="private", status="known", why="discussions of the board")}
    if any(score.n is not None for score in scores):
        protocol["n"] = Fact(
            value="those below",
            status="inferred",
            why="from values and standard errors, as s/√n of right and wrong answers",
        )
    if dtype:
        protocol["dtype"] = Fact(value=shown_text(dtype), status="known", why="the result file")
    else:
        unknown.append("the precision")
    if any(score.shots is None for score in scores):
        unknown.append("the shots of tasks for which none are given")
    if missing := [
        task.name
        for task in _board_tasks().values()
        if task.name not in {score.task for score in scores}
    ]:
        unknown.append("scores that the file lacks: " + ", ".join(missing))
    return Card(
        model=_model(path, content),
        suite=_SUITE,
        source=f"a result file of the board: {shown_text(path.name)}"[:500],
        # The board asked again in Season 2 under the dates of Season 1.
        date=f"unknown; the file is named {date[1]}" if date else "unknown",
        data="private",
        revision=sha if _COMMIT.fullmatch(sha) else None,
        digits=_DIGITS,
        scores=scores,
        margin=_MARGIN,
        protocol=protocol,
        unknown=unknown,
    )


def _model(path: Path, content: _File) -> str:
    name = shown_text(content.config_general.model_name or content.model_name or "")
    if not name:
        raise DataError(
            "the file does not name its model",
            where=str(path),
            hint='write it in: {"config_general": {"model_name": "OWNER/NAME"}, "results": …}',
        )
    return name
