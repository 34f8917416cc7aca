"""From folders of runs to the site's content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ko_eval.errors import DataError, near_miss
from ko_eval.reports.leaderboard.boards import make_boards
from ko_eval.reports.leaderboard.found_runs import find_results
from ko_eval.reports.leaderboard.model_facts import ModelFacts
from ko_eval.reports.leaderboard.notes import Note
from ko_eval.reports.leaderboard.site_data import Leaderboard
from ko_eval.runs.cards import Card


def build(
    roots: Sequence[Path],
    *,
    title: str,
    facts: Mapping[str, ModelFacts],
    cards: Sequence[Card],
) -> tuple[Leaderboard, list[str]]:
    """The content of a site, and what the user should know of it.

    Args:
        facts: by the model's name.
        cards: published scores to show beside the boards.

    Raises:
        DataError: a folder is not there, or no result is in them.
    """
    runs, unreadable = find_results(roots)
    if not runs and not unreadable:
        raise DataError(
            "there are no results in " + ", ".join(f"'{root}'" for root in roots),
            hint="give run directories, or the folder that `ko-eval run --out` names",
        )
    boards, notes = make_boards(runs, facts)
    notes += [
        Note("unreadable", path=one.path, values={"problem": one.problem}) for one in unreadable
    ]
    known = {run.result.model.name for run in runs}
    warnings = [
        f"the file of models names '{name}', which no run is of; {near_miss(name, known)}"[:400]
        for name in facts
        if name not in known
    ]
    return Leaderboard(title, boards, notes, cards, found=len(runs)), warnings
