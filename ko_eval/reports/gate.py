"""A gate for continuous integration: does a candidate keep to a policy? Yes, no, or not shown.

Rules are held against 95 % intervals: one is passed where the whole interval keeps to it, failed
where none of it does, else inconclusive. To pass, every rule must pass, which needs no correction
(Berger 1982, intersection-union tests). To fail, one is enough, so those p-values are corrected by
Holm over all rules of difference and score: a policy of twenty rules fails no oftener by chance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ko_eval.errors import UsageError
from ko_eval.reports.compared_runs import ComparedTask
from ko_eval.reports.comparison import Compared, Pair
from ko_eval.runs.scoring import average
from ko_eval.stats.multiplicity import holm
from ko_eval.stats.quantiles import Z_95, upper_tail
from ko_eval.types import JsonValue
from ko_eval.yaml_files import read_mapping

Ruling = Literal["passed", "failed", "inconclusive"]

_LEVEL = 0.025  # one side of a 95 % interval
_EVERY = "*"
_AVERAGE = "average"
_BOUNDS = ("difference_at_least", "score_at_least", "failed_percent_at_most")
_CODES: dict[Ruling, int] = {"passed": 0, "failed": 1, "inconclusive": 3}

_Points = Annotated[float, Field(ge=-1000, le=1000)]


class _Checked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Rule(_Checked):
    """One bound, for a task by its name, for each of them (`*`), or for `average`.

    Attributes:
        difference_at_least: candidate minus baseline, in points of the shown score.
        score_at_least: the candidate's shown score.
        failed_percent_at_most: samples without a response, of all.
    """

    task: str
    difference_at_least: _Points | None = None
    score_at_least: _Points | None = None
    failed_percent_at_most: Annotated[float, Field(ge=0, le=100)] | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> Rule:
        given = [name for name in _BOUNDS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"a rule holds exactly one of {', '.join(_BOUNDS)}")
        if self.task == _AVERAGE and self.failed_percent_at_most is not None:
            raise ValueError("'failed_percent_at_most' is of tasks; write task: '*'")
        return self


class Policy(_Checked):
    """What a candidate must keep to; see `configs/gates/example.yaml`."""

    name: str = "policy"
    description: str = ""
    rules: Annotated[list[Rule], Field(min_length=1, max_length=1000)]


@dataclass(frozen=True, slots=True)
class Judged:
    """One rule for one candidate and one task.

    Attributes:
        what: the rule in words, with what was found.
        p_failed: one-sided p-value of breaking it, corrected; None for counts.
    """

    candidate: str
    task: str
    what: str
    ruling: Ruling
    p_failed: float | None = None


@dataclass(frozen=True, slots=True)
class GateResult:
    """What became of a policy."""

    policy: str
    judged: tuple[Judged, ...]

    @property
    def ruling(self) -> Ruling:
        rulings = {one.ruling for one in self.judged}
        if "failed" in rulings:
            return "failed"
        return "inconclusive" if "inconclusive" in rulings else "passed"

    @property
    def exit_code(self) -> int:
        return _CODES[self.ruling]


def read_policy(path: Path) -> Policy:
    """A policy file.

    Raises:
        UsageError: it cannot be read, or is none (field named).
    """
    raw = read_mapping(path, error=UsageError, what="policy")
    try:
        return Policy.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise UsageError(
            f"the policy is wrong: {first['msg']}",
            where=f"{path}, field '{field}'" if field else str(path),
            hint="see configs/gates/example.yaml",
        ) from error


def judge(policy: Policy, pairs: Sequence[Pair]) -> GateResult:
    """Each pair's second run against the policy; the first one is the baseline.

    Raises:
        UsageError: a rule names a task that was not compared.
    """
    judged = [
        one
        for pair in pairs
        for rule in policy.rules
        for one in (*_held(rule, pair), *_lacking(rule, pair))
    ]
    adjusted = iter(holm([one.p_failed for one in judged if one.p_failed is not None]))
    final = [one if one.p_failed is None else _corrected(one, next(adjusted)) for one in judged]
    return GateResult(policy.name, tuple(final))


def gate_lines(result: GateResult) -> list[str]:
    """One line per rule, and a last one that sums up."""
    lines = [f"{one.ruling}: {one.candidate}, {one.task}: {one.what}" for one in result.judged]
    return [*lines, f"gate '{result.policy}': {result.ruling}"]


def gate_json(result: GateResult) -> dict[str, JsonValue]:
    return {
        "policy": result.policy,
        "ruling": result.ruling,
        "exit_code": result.exit_code,
        "rules": [dataclasses.asdict(one) for one in result.judged],
    }


def _named(rule: Rule, pair: Pair) -> Iterator[Compared]:
    """What a rule is for."""
    if rule.task == _EVERY:
        yield from pair.tasks
        return
    if rule.task == _AVERAGE:
        # One task is its own average.
        yield pair.average or pair.tasks[0]
        return
    found = [task for task in pair.tasks if task.name == rule.task]
    if not found:
        raise UsageError(
            f"the policy names task '{rule.task}', which was not compared",
            hint="compared: " + ", ".join(task.name for task in pair.tasks),
        )
    yield from found


def _held(rule: Rule, pair: Pair) -> Iterator[Judged]:
    """The rule held against each task that it is for."""
    for task in _named(rule, pair):
        yield _judged(rule, pair, task)


def _lacking(rule: Rule, pair: Pair) -> Iterator[Judged]:
    """A rule for every task is not shown to hold where the candidate lacks one."""
    if rule.task not in (_EVERY, _AVERAGE):
        return
    for name in pair.left_out:
        if name in pair.a.tasks:
            what = "not among the candidate's tasks; name those to compare (--tasks) if it need not"
            yield Judged(pair.b.label, name, what, "inconclusive")


def _judged(rule: Rule, pair: Pair, task: Compared) -> Judged:
    label, name = pair.b.label, task.name
    if rule.failed_percent_at_most is not None:
        return _failures(rule.failed_percent_at_most, label, pair.b.tasks[name])
    if rule.difference_at_least is not None:
        what, bound = "difference", rule.difference_at_least
        value, low, high = task.difference, task.low, task.high
    else:
        what, bound = "score", rule.score_at_least or 0.0
        value, low, high = _score(pair, task)
    interval = "no interval" if low is None else f"[{low:.2f}, {high:.2f}]"
    sign = "+" if what == "difference" else ""
    return Judged(
        candidate=label,
        task=name,
        what=f"{what} {value:{sign}.2f} {interval}, at least {bound:g} is asked",
        ruling="passed" if low is not None and low >= bound else "inconclusive",
        p_failed=_p_below(value, high, bound),
    )


def _failures(most: float, label: str, task: ComparedTask) -> Judged:
    if task.failed is None:
        what = f"its results do not tell how many failed, at most {most:g} % are allowed"
        return Judged(label, task.name, what, "inconclusive")
    count = max(task.samples, 1)
    share = 100 * task.failed / count
    return Judged(
        candidate=label,
        task=task.name,
        what=f"{task.failed} of {task.samples} samples failed ({share:.2f} %), "
        f"at most {most:g} % are allowed",
        ruling="passed" if share <= most else "failed",
    )


def _score(pair: Pair, task: Compared) -> tuple[float, float | None, float | None]:
    """The candidate's own score with its interval."""
    if task.name in pair.b.tasks:
        shown = pair.b.tasks[task.name].shown
        return shown.value, shown.low, shown.high
    mean = average([pair.b.tasks[each.name].shown.metric() for each in pair.tasks])
    return mean.value, mean.low, mean.high


def _p_below(value: float, high: float | None, bound: float) -> float:
    """One-sided p-value against "the true value is at least the bound".

    The distance to the upper limit is taken for 1.96 standard errors, so that it is 2.5 % where
    the interval ends at the bound.
    """
    if high is None or value >= bound:
        return 1.0
    return upper_tail((bound - value) / (high - value) * Z_95) if high > value else 0.0


def _corrected(one: Judged, p_failed: float) -> Judged:
    failed = one.ruling != "passed" and p_failed <= _LEVEL
    return dataclasses.replace(one, p_failed=p_failed, ruling="failed" if failed else one.ruling)
