"""Runs for a comparison, whoever's they are: ours, or of lm-evaluation-harness."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ko_eval.errors import DataError
from ko_eval.interop.lm_eval_results import Wanted, read_lm_eval_run, results_file
from ko_eval.reports.compared_runs import ComparedRun, ComparedTask, read_run


def read_any_runs(paths: Sequence[Path]) -> list[ComparedRun]:
    """The runs, in order. Runs of ours say which metric of the others' tasks is compared.

    Raises:
        DataError: a path holds no result.
    """
    ours = {path: read_run(path) for path in paths if _is_ours(path)}
    wanted: dict[str, Wanted] = {}
    for run in ours.values():
        for task in run.tasks.values():
            for key in (task.name, task.board_key):
                if key is not None:
                    wanted.setdefault(key, _wanted(task))
    return [ours[path] if path in ours else _theirs(path, wanted) for path in paths]


def _wanted(task: ComparedTask) -> Wanted:
    ids = list(task.items or ())
    numbered = len(ids) if ids == [str(n) for n in range(1, len(ids) + 1)] else None
    return Wanted(task.name, task.metric, task.scale, numbered)


def _is_ours(path: Path) -> bool:
    return (path / "results.json").exists() or path.name == "results.json"


def _theirs(path: Path, wanted: dict[str, Wanted]) -> ComparedRun:
    found = results_file(path)
    if found is None:
        raise DataError(
            f"there is no result at '{path}'",
            hint="give a run directory with results.json, or results of lm-evaluation-harness",
        )
    return read_lm_eval_run(found, wanted)
