"""A card of our own from a finished run: its scores to the last digit, and a hash of every item.

An item whose choice would turn if each log-likelihood moved by `TOLERANCE` is a near tie, named in
the card and left out of the hash: `ko_eval.runs.card_items` says what is exact on every machine.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

import yaml

from ko_eval.errors import DataError, UsageError
from ko_eval.runs.card_items import outcomes_hash
from ko_eval.runs.cards import Card, Items, Margin, Recipe, Score
from ko_eval.runs.result import RunResult, TaskReport, read_result
from ko_eval.runs.sample_files import read_samples
from ko_eval.scorers.base import Scorer
from ko_eval.tasks.definition import Fact, TaskDefinition
from ko_eval.tasks.prepare import prepare_samples
from ko_eval.tasks.registry import load_suite, load_task
from ko_eval.types import JsonValue, LoglikelihoodResponse, Sample

TOLERANCE = 0.005
"""Nats by which a log-likelihood may differ between machines; between two ways and two numbers of
threads on one machine, sums of 120 nats were measured to differ by up to 0.00018."""

# After the point, of values that are not rounded for show.
_DIGITS = 9


def make_card(
    run_directory: Path, *, source: str, margin: float | None = None, suite: str | None = None
) -> Card:
    """A card of a finished run on the bundled items.

    Args:
        margin: in points; one item of the smallest task where it is None.
        suite: path of the run's suite, where it is none of ours.

    Raises:
        UsageError: the margin is no number above 0.
        DataError: there is no result, the run is not of a suite and bundled items, or tasks and
            items are no longer the run's.
    """
    if margin is not None and not 0 < margin <= 1e6:
        raise UsageError(f"the margin cannot be {margin:g}", hint="give points, such as 2")
    result = read_result(run_directory)
    suite = suite or result.suite
    if suite is None or result.data != "bundled":
        raise DataError("a card is made of a suite on the bundled items", where=str(run_directory))
    asked = {task.name: _asked(task, suite) for task in result.tasks}
    fewest = min(task.n for task in result.tasks)
    apart = "whether every item came out the same is said apart"
    why = f"one item of {fewest}, rounded up; {apart}" if margin is None else apart
    return Card(
        model=result.model.name,
        suite=suite,
        source=source,
        date=result.created[:10],
        data="bundled",
        digits=_DIGITS,
        average=result.average.value if result.average else None,
        scores=[_score(task, asked[task.name]) for task in result.tasks],
        margin=Margin(points=math.ceil(1000 / fewest) / 10 if margin is None else margin, why=why),
        run=Recipe(
            model=result.model.name,
            data=result.data,
            limit=result.limit,
            dtype=str(result.conditions.get("dtype", "float32")),
            device="cpu",
        ),
        items={
            task.name: _items(run_directory, task, asked[task.name], result)
            for task in result.tasks
        },
        protocol=_facts(result),
    )


def card_text(card: Card) -> str:
    """The card as a YAML file, a line for each score and each task's items."""
    content = card.model_dump(mode="json", exclude_defaults=True)
    inline = {
        name: content.pop(name)
        for name in ("scores", "margin", "run", "items", "protocol")
        if name in content
    }
    lines = [_yaml(content).rstrip()]
    for name, value in inline.items():
        lines.append(f"{name}:" if name in ("scores", "items", "protocol") else "")
        if name == "scores":
            lines += [f"  - {_flow(score)}" for score in value]
        elif name in ("items", "protocol"):
            lines += [f"  {key}: {_flow(inner)}" for key, inner in value.items()]
        else:
            lines[-1] = f"{name}: {_flow(value)}"
    return "\n".join(lines) + "\n"


def _yaml(value: object) -> str:
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1000))


def _flow(value: object) -> str:
    return str(
        yaml.safe_dump(
            value, sort_keys=False, allow_unicode=True, width=1000, default_flow_style=True
        )
    ).strip()


def _asked(task: TaskReport, suite: str) -> TaskDefinition:
    """The task as the run asked it.

    Raises:
        DataError: the definitions of this ko-eval are others than the run's.
    """
    changes = load_suite(suite).overrides.get(task.name)
    definition = load_task(task.name, variant=task.variant, overrides=changes)
    content = json.dumps(definition.model_dump(mode="json"), sort_keys=True)
    if hashlib.sha256(content.encode()).hexdigest() != task.definition_sha256:
        raise DataError(
            f"the definition of task '{task.name}' has changed since the run was scored",
            hint="run the same command again; responses are kept and judged anew",
        )
    return definition


def _score(task: TaskReport, definition: TaskDefinition) -> Score:
    return Score(
        task=task.name,
        metric=task.metric,
        value=task.shown.value,
        scale=definition.scale,
        n=task.metrics[task.metric].n,
        steps=1 if task.metric.startswith(("acc", "exact_match")) else None,
        shots=task.shots,
        variant=task.variant,
    )


def _items(
    run_directory: Path, task: TaskReport, definition: TaskDefinition, result: RunResult
) -> Items:
    records = read_samples(run_directory, task.name)
    scorer, rows, rendered = prepare_samples(definition, result.data, limit=result.limit)
    if rows.sha256 != task.data.sha256:
        raise DataError(f"the rows of task '{task.name}' have changed since the run")
    samples = {item.sample.id: item.sample for item in rendered}
    near = []
    for record in records:
        numbers = record.detail.get("loglikelihoods")
        if isinstance(numbers, list):
            sums = [float(str(number)) for number in numbers]
            if _turns(scorer, samples[record.id], sums, task.metric):
                near.append(record.id)
    return Items(
        data_sha256=task.data.sha256,
        outcomes_sha256=outcomes_hash(records, task.metric, near_ties=near),
        near_ties=near,
    )


def _turns(scorer: Scorer, sample: Sample, sums: Sequence[float], metric: str) -> bool:
    """Whether the choice is another when one log-likelihood rises and the others fall a little."""
    found: set[tuple[JsonValue, float | None]] = set()
    for risen in range(len(sums)):
        moved = [
            value + (TOLERANCE if place == risen else -TOLERANCE)
            for place, value in enumerate(sums)
        ]
        response = LoglikelihoodResponse(tuple(moved), token_counts=(1,) * len(moved))
        score = scorer.score(sample, response)
        found.add((str(score.extracted), score.metrics.get(metric)))
    return len(found) > 1


def _facts(result: RunResult) -> dict[str, Fact]:
    where = "the run that the card was made of"
    facts = {
        "ko_eval": result.ko_eval,
        "model_sha256": result.model.sha256,
        "torch": result.environment.get("torch", "unknown"),
        "transformers": result.environment.get("transformers", "unknown"),
        "near_tie": f"a choice that {TOLERANCE:g} nats would turn",
    }
    return {name: Fact(value=value, status="known", why=where) for name, value in facts.items()}
