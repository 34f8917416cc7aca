"""Does a run reproduce published scores? From a card and a result file alone.

What the comparison of one value rests on is in `reproduction_grounds`. A published value is only as
exact as its digits: a verdict must hold at both ends of what it may have been rounded from.
*Equivalent* by two one-sided tests within the margin (Schuirmann 1987); *different* after Holm's
correction over the scores compared; else *undecided*.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ko_eval.reports.reproduction_grounds import (
    BASES,
    Basis,
    assumed_of,
    basis_of,
    error_of,
    reach_of,
    why_not_comparable,
)
from ko_eval.runs.cards import Card, Score
from ko_eval.runs.result import RunResult, TaskReport, Value
from ko_eval.stats.equivalence import tost
from ko_eval.stats.multiplicity import holm
from ko_eval.stats.quantiles import normal_quantile

Verdict = Literal["equivalent", "different", "undecided", "not comparable"]

AVERAGE = "average"
_ALPHA = 0.05
# Half a unit of the last digit of a double at 100: sums taken in another order differ by less.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Compared:
    """A published value beside the run's; in points.

    Attributes:
        task, metric: `average` and none for the mean over tasks.
        published, digits: as the card has it.
        ours: None where the run has no such score.
        difference: ours less published; None where the two are not compared.
        low, high: the 90 % interval of the difference, that the two one-sided tests look at;
            what rounding of the published value adds is in it.
        n, published_n: items of the run and of the published value.
        reachable: k where the published value is k of N; None where it is no such share, or no k
            gives it; `reach` says which in words.
        basis: what the interval rests on.
        exact: whether every item came out as on a card of ours; None where the card cannot say.
        reasons: why there is no verdict, or what limits it.
        assumed: parts of the run's protocol that are its own choice, since nobody published them.
    """

    task: str
    metric: str | None
    title: str
    published: float
    digits: int
    inferred: bool = False
    published_n: int | None = None
    reachable: int | None = None
    reach: str = "–"
    ours: float | None = None
    n: int | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    basis: Basis | None = None
    verdict: Verdict = "not comparable"
    exact: bool | None = None
    reasons: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A card compared with a run.

    Attributes:
        verdict: `different` if any score is, `undecided` if any is that could be compared,
            `not comparable` if none could.
        exact: every item of every score came out as on the card.
        margin: in points, with its reason.
        unknown: what nobody published of how the card's scores came about.
        notes: what holds for the whole comparison.
    """

    card: str
    model: str
    run_model: str
    verdict: Verdict
    exact: bool
    margin: float
    margin_why: str
    scores: tuple[Compared, ...]
    unknown: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Estimate:
    """A difference with its standard error, and how far rounding may move it; in points."""

    difference: float
    stderr: float
    rounding: float
    basis: Basis


def reproduction(
    name: str,
    card: Card,
    result: RunResult,
    *,
    margin: float | None = None,
    outcomes: Mapping[str, str] | None = None,
) -> Reproduction:
    """Compares every score of a card with a run.

    Args:
        margin: in points; None for the card's own.
        outcomes: hash over the items' outcomes by task, as `outcomes_hash` makes it, for tasks
            whose per-sample files are there.
    """
    points = card.margin.points if margin is None else margin
    reports = {task.name: task for task in result.tasks}
    rows, estimates = [], []
    for score in card.scores:
        row, estimate = _compared(card, score, reports.get(score.task), result, outcomes or {})
        rows.append(row)
        estimates.append(estimate)
    if (mean := _average(card, rows, estimates)) is not None:
        rows.append(mean[0])
        estimates.append(mean[1])
    scores = tuple(_with_verdicts(rows, estimates, points))
    verdict = _overall([row.verdict for row in scores])
    checked = [row for row in scores if row.task != AVERAGE]
    return Reproduction(
        card=name,
        model=card.model,
        run_model=result.model.name,
        verdict=verdict,
        exact=verdict == "equivalent" and all(row.exact for row in checked),
        margin=points,
        margin_why=card.margin.why if margin is None else "given with --margin",
        scores=scores,
        unknown=tuple(card.unknown),
        notes=tuple(_notes(card, result, scores)),
    )


def _compared(
    card: Card,
    score: Score,
    task: TaskReport | None,
    result: RunResult,
    outcomes: Mapping[str, str],
) -> tuple[Compared, _Estimate | None]:
    """A row without a verdict yet, and what a verdict can rest on."""
    digits = card.digits_of(score)
    k, reach = reach_of(score, digits)
    row = Compared(
        task=score.task,
        metric=score.metric,
        title=task.title if task else score.task,
        published=score.value,
        digits=digits,
        inferred=score.status != "known",
        published_n=score.n,
        reachable=k,
        reach=reach,
    )
    if task is None:
        return dataclasses.replace(row, reasons=("the run does not have this task",)), None
    if score.metric not in task.metrics:
        return dataclasses.replace(row, reasons=(f"the run has no '{score.metric}'",)), None
    ours = _scaled(task.metrics[score.metric], score.scale)
    difference = ours.value - score.value
    row = dataclasses.replace(
        row, ours=ours.value, n=ours.n, assumed=tuple(assumed_of(score, task))
    )
    if reasons := why_not_comparable(card, score, task):
        return dataclasses.replace(row, reasons=tuple(reasons)), None
    basis = basis_of(card, score, task, ours.n, result.limit)
    error, doubt = error_of(score, ours, basis)
    exact = _exact(card, score, difference, outcomes) if basis == "same items" else None
    row = dataclasses.replace(row, difference=difference, basis=basis, exact=exact, reasons=doubt)
    if error is None:
        return dataclasses.replace(row, verdict="undecided"), None
    rounding = card.rounding_of(score) + _ROUNDING
    return row, _Estimate(difference, error, rounding, basis)


def _scaled(value: Value, scale: float) -> Value:
    ends = {
        name: None if end is None else end * scale
        for name, end in (("stderr", value.stderr), ("low", value.low), ("high", value.high))
    }
    return Value(value=value.value * scale, n=value.n, **ends)


def _exact(card: Card, score: Score, difference: float, outcomes: Mapping[str, str]) -> bool | None:
    """Whether every item came out as on the card, and so did the value, but for near ties."""
    if score.task not in outcomes or score.n is None:
        return None
    items = card.items[score.task]
    room = len(items.near_ties) * score.scale / score.n + _ROUNDING
    return outcomes[score.task] == items.outcomes_sha256 and abs(difference) <= room


def _average(
    card: Card,
    rows: Sequence[Compared],
    estimates: Sequence[_Estimate | None],
) -> tuple[Compared, _Estimate | None] | None:
    """The mean over the card's shown scores; None where none was published."""
    if card.average is None:
        return None
    shown = {id(score) for score in card.shown.values()}
    chosen = [i for i, score in enumerate(card.scores) if id(score) in shown]
    found = [estimates[i] for i in chosen]
    row = Compared(
        task=AVERAGE,
        metric=None,
        title="Average",
        published=card.average,
        digits=card.digits,
    )
    values = [rows[i].ours for i in chosen]
    if any(value is None for value in values):
        return dataclasses.replace(row, reasons=("the run does not have every task",)), None
    ours = sum(value for value in values if value is not None) / len(values)
    row = dataclasses.replace(row, ours=ours)
    if any(rows[i].basis is None for i in chosen):
        return dataclasses.replace(row, reasons=("a task of it is not comparable",)), None
    row = dataclasses.replace(row, difference=ours - card.average)
    sound = [estimate for estimate in found if estimate is not None]
    if len(sound) < len(found):
        reason = ("a task of it has no error",)
        return dataclasses.replace(row, verdict="undecided", reasons=reason), None
    error = math.hypot(*(estimate.stderr for estimate in sound)) / len(sound)
    rounding = 0.5 * 10.0**-card.digits + _ROUNDING
    basis = max((estimate.basis for estimate in sound), key=BASES.index)
    return (
        dataclasses.replace(row, basis=basis),
        _Estimate(ours - card.average, error, rounding, basis),
    )


def _with_verdicts(
    rows: Sequence[Compared], estimates: Sequence[_Estimate | None], margin: float
) -> list[Compared]:
    """The rows with intervals and verdicts; `different` must outlast Holm's correction."""
    tests = [None if e is None else _tested(e, margin) for e in estimates]
    corrected = iter(holm([test[1] for test in tests if test is not None]))
    done = []
    for row, estimate, test in zip(rows, estimates, tests, strict=True):
        if estimate is None or test is None:
            done.append(row)
            continue
        verdict = test[0]
        if next(corrected) < _ALPHA and verdict == "undecided":
            verdict = "different"
        half = normal_quantile(1 - _ALPHA) * estimate.stderr + estimate.rounding
        done.append(
            dataclasses.replace(
                row,
                verdict="equivalent" if row.exact else verdict,
                low=estimate.difference - half,
                high=estimate.difference + half,
            )
        )
    return done


def _tested(estimate: _Estimate, margin: float) -> tuple[Verdict, float]:
    """Equivalent or undecided, and the p-value of a difference, at the worse end of rounding."""
    nearer = math.copysign(
        max(0.0, abs(estimate.difference) - estimate.rounding), estimate.difference
    )
    farther = math.copysign(abs(estimate.difference) + estimate.rounding, estimate.difference)
    # A margin that the difference meets to the last digit is met.
    far = tost(farther, estimate.stderr, margin=margin + 2 * _ROUNDING)
    near = tost(nearer, estimate.stderr, margin=margin + 2 * _ROUNDING)
    if far.verdict == "equivalent":
        return "equivalent", 1.0
    if estimate.stderr == 0.0:
        return "undecided", 0.0 if abs(nearer) > margin + _ROUNDING else 1.0
    return "undecided", near.p_difference


def _overall(verdicts: Sequence[Verdict]) -> Verdict:
    order: tuple[Verdict, ...] = ("different", "undecided", "equivalent")
    return next((verdict for verdict in order if verdict in verdicts), "not comparable")


def _notes(card: Card, result: RunResult, scores: Sequence[Compared]) -> list[str]:
    notes = []
    ours, theirs = (name.rstrip("/").rsplit("/", 1)[-1] for name in (result.model.name, card.model))
    if ours.casefold() != theirs.casefold():
        notes.append(f"the run's model is called '{result.model.name}', the card's '{card.model}'")
    revision = result.model.revision
    if card.revision is None and card.data != "bundled":
        notes.append("which revision of the model was published on is unknown")
    if card.revision and revision and not revision.startswith(card.revision):
        notes.append(f"the run has revision {revision} of the model, the card {card.revision}")
    suite = card.suite and Path(card.suite).stem
    if card.items and suite != result.suite:
        asked = f"the suite '{result.suite}'" if result.suite else "single tasks"
        notes.append(f"the run is of {asked}, the card of '{suite}', which may ask otherwise")
    if result.failed:
        notes.append(f"{result.failed} samples of the run failed and count as zero")
    left_out = sum(row.verdict == "not comparable" for row in scores)
    if left_out and left_out < len(scores):
        notes.append(f"the verdict is over {len(scores) - left_out} of {len(scores)} scores")
    return notes
