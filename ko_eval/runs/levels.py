"""What a score of a choice task means: the chance level and the best score, on a run's own rows.

Chance is what answering without reading the question earns. Where options differ from row to row
that is a random choice among them; where they are the same five opinions everywhere, it is the one
opinion that earns most when it is always given, which is more than a random choice earns.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from ko_eval.runs.result import Levels
from ko_eval.scorers.graded_choice import credits
from ko_eval.scorers.social_value import shared_by
from ko_eval.tasks.definition import TaskDefinition
from ko_eval.types import Sample

_ACCURACIES = ("acc", "acc_norm", "acc_bytes", "acc_tokens", "acc_pmi")


def levels(task: TaskDefinition, samples: Sequence[Sample], metric: str) -> Levels | None:
    """Chance and best of a metric on these samples, on the task's scale.

    Returns:
        None where nothing is chosen among options, or the metric is not what a choice is worth.
    """
    if not samples:
        return None
    chance, best = 0.0, 1.0
    match _worth(task), metric:
        case "answer", name if name in _ACCURACIES:
            chance = fmean(1 / len(sample.choices) for sample in samples)
        case "credits", "credit" | "credit_norm":
            worth = [credits(sample) for sample in samples]
            chance, best = fmean(map(fmean, worth)), fmean(map(max, worth))
        case "distribution", "a_sva" | "sva" | "n_sva":
            shares = [
                [shared_by(sample, option)[0][metric] for option in range(len(sample.choices))]
                for sample in samples
            ]
            chance = max(map(fmean, zip(*shares, strict=True)))
            best = fmean(map(max, shares))
        case _:
            return None
    return Levels(chance=chance * task.scale, best=best * task.scale)


def _worth(task: TaskDefinition) -> object:
    """What an option is worth, in the words of `choice_text`; None for tasks without options."""
    match task.scorer.name:
        case "choice_likelihood" | "context_likelihood":
            return "answer"
        case "graded_choice":
            return "credits"
        case "social_value":
            return "distribution"
        case "choice_text":
            return task.scorer.parameters.get("worth", "answer")
        case _:
            return None
