"""What a comparison with a published value rests on: data, protocol, items, error and k of N.

No verdict is better than a false one: what was published on other data than the run's, with other
shots or of another variant is not compared. Where the items are the same, known by their hash or
assumed because their number agrees, the difference is a fact and not an estimate; where the run has
the first n of the card's N items, its error shrinks with √(1 − n/N) (Cochran 1977, section 2.6);
else both scores are samples.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

from ko_eval.runs.cards import Card, Score
from ko_eval.runs.result import TaskReport, Value
from ko_eval.stats.estimates import wilson_interval
from ko_eval.stats.quantiles import Z_95
from ko_eval.stats.reachability import reachable

Basis = Literal["same items", "items assumed the same", "part of the items", "other items"]
BASES: tuple[Basis, ...] = get_args(Basis)
"""From the firmest to the weakest."""


def why_not_comparable(card: Card, score: Score, task: TaskReport) -> list[str]:
    """Why the two values measure different things; empty where they may be compared."""
    reasons = []
    label = task.data.label
    if card.data == "private" and label != "private":
        reasons.append(
            f"{label} data: the published score is of private test sets, which these rows are not"
        )
    elif card.data == "bundled" and label != "bundled":
        reasons.append(f"{label} data: the card is of the bundled items")
    elif card.data == "hub" and label == "bundled":
        reasons.append("bundled data: the published score is of a public dataset")
    elif card.dataset and label == "hub" and card.dataset != task.data.source.split(" / ")[0]:
        reasons.append(f"the rows are of {task.data.source}, the published ones of {card.dataset}")
    if score.shots is not None and score.shots != task.shots:
        reasons.append(f"the run has {task.shots} shots, the published score {score.shots}")
    if score.variant != task.variant:
        reasons.append(
            f"the run's variant is {task.variant or 'none'}, the card's {score.variant or 'none'}"
        )
    return reasons


def basis_of(card: Card, score: Score, task: TaskReport, n: int, limit: int | None) -> Basis:
    """What the items of the run are to those of the published value."""
    items = card.items.get(score.task)
    if items is not None and items.data_sha256 != task.data.sha256:
        return "other items"
    if n == score.n:
        return "items assumed the same" if items is None else "same items"
    if limit is not None and score.n is not None and n < score.n:
        return "part of the items"
    return "other items"


def error_of(score: Score, ours: Value, basis: Basis) -> tuple[float | None, tuple[str, ...]]:
    """Standard error of the difference in points, or None with the reason."""
    if basis == "same items":
        return 0.0, ()
    if basis == "items assumed the same":
        return 0.0, ("the rows are taken for the published ones, since their number agrees",)
    own = _own_error(score, ours)
    if own is None:
        return None, (f"{ours.n:,} items without any spread say nothing of the others",)
    if basis == "part of the items" and score.n is not None:
        part = f"{ours.n:,} of {score.n:,} items, the first ones"
        return own * math.sqrt(1 - ours.n / score.n), (part,)
    return math.hypot(own, _published_error(score, own, ours.n)), _doubts(score, ours)


def _doubts(score: Score, ours: Value) -> tuple[str, ...]:
    if score.n is None:
        return ("how many items were published on is unknown; taken for as many as here",)
    return (f"{ours.n:,} items here, {score.n:,} published: not the same set",)


def _own_error(score: Score, ours: Value) -> float | None:
    """The run's own standard error, or that of its interval where this is the wider one.

    The interval knows what the bare error does not: that all items of a sample may come out the
    same by chance, and that few clusters say little of how far clusters differ.
    """
    found = [] if ours.stderr is None else [ours.stderr]
    if ours.low is not None and ours.high is not None:
        found.append((ours.high - ours.low) / (2 * Z_95))
    return max(found, default=0.0) or None


def _published_error(score: Score, own: float, n: int) -> float:
    """The published value's: its items are taken to vary as 0 and 1 do, or as the run's do."""
    count = score.n or n
    if score.steps != 1 or count < 2:
        return own * math.sqrt(n / count)
    share = min(max(score.value / score.scale, 0.0), 1.0)
    if share in (0.0, 1.0):  # not certain, for all that
        low, high = wilson_interval(successes=share * count, n=count)
        return score.scale * (high - low) / (2 * Z_95)
    return score.scale * math.sqrt(share * (1 - share) / (count - 1))


def reach_of(score: Score, digits: int) -> tuple[int | None, str]:
    """k of N for the published value, and the same in words."""
    if score.n is None:
        return None, "N unknown"
    if score.steps is None:
        return None, "no known share"
    if score.status != "known":
        return None, "not published"
    n = score.n * score.steps
    # What is called a percentage is one already, whatever it is shown times.
    full = score.scale * (100 if score.metric.startswith("percent_") else 1)
    k = reachable(score.value, n, digits=digits, scale=full)
    sure = "" if score.n_status == "known" else f" (N {score.n_status})"
    return (k, f"{k:,}/{n:,}{sure}") if k is not None else (None, f"no k/{n:,}{sure}")


def assumed_of(score: Score, task: TaskReport) -> list[str]:
    """What of the protocol is not known to be the published one, as `name: how the run had it`."""
    return [
        f"{name}: {fact.value}"
        for name, fact in task.protocol.items()
        if fact.status == "assumed" and not (name == "shots" and score.shots is not None)
    ]
