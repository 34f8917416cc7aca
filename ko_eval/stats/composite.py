"""Several metrics made one, and how well a task tells models apart."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ko_eval.types import Metric


def weighted_mean(metrics: Sequence[Metric], weights: Sequence[float]) -> Metric:
    """Σwm / Σw of metrics over different items, whose errors are independent.

    The standard error is √Σ(w·se)² / Σw (delta method, exact for a sum). The interval adds the
    weighted distances of each metric to its own limits in squares (MOVER: Zou and Donner 2008), so
    it stays honest where a task is all right or all wrong. Without the error of one part with a
    weight there is none of the whole.

    Returns:
        The mean; its `n` is the number of metrics.

    Raises:
        ValueError: no metric, not as many weights, a negative weight, or none above 0.
    """
    if len(metrics) != len(weights) or not all(weight >= 0 for weight in weights):
        raise ValueError("a weighted mean needs one weight per metric, none below 0")
    total = math.fsum(weights)
    if not 0 < total < math.inf:
        raise ValueError("the weights must have a positive, finite sum")
    parts = [(m, weight / total) for m, weight in zip(metrics, weights, strict=True) if weight]
    value = math.fsum(metric.value * weight for metric, weight in parts)
    errors = [m.stderr * weight for m, weight in parts if m.stderr is not None]
    down = [(m.value - m.low) * weight for m, weight in parts if m.low is not None]
    up = [(m.high - m.value) * weight for m, weight in parts if m.high is not None]
    if min(len(errors), len(down), len(up)) < len(parts):
        return Metric(value, None, None, None, len(metrics))
    return Metric(
        value=value,
        stderr=math.hypot(*errors),
        low=value - math.hypot(*down),
        high=value + math.hypot(*up),
        n=len(metrics),
    )


def chance_corrected(metric: Metric, chance: float, best: float = 1.0) -> Metric:
    """(value − chance) / (best − chance): the metric on a scale where chance is 0 and the best 1.

    Below chance it is negative, and stays so: cutting at 0 would bias a mean upward.

    Args:
        chance, best: in the metric's own unit.

    Raises:
        ValueError: the best is not above chance.
    """
    if not best > chance:
        raise ValueError(f"the best value ({best}) must lie above chance ({chance})")
    span = best - chance

    def moved(value: float | None) -> float | None:
        return None if value is None else (value - chance) / span

    return dataclasses.replace(
        metric,
        value=(metric.value - chance) / span,
        stderr=None if metric.stderr is None else metric.stderr / span,
        low=moved(metric.low),
        high=moved(metric.high),
    )


@dataclass(frozen=True, slots=True)
class Separation:
    """How well a task tells models apart.

    Attributes:
        reliability: the share of the variance among the models' values that is not error: 1 where
            the task separates them perfectly, 0 where it does no better than chance.
        spread: standard deviation of the models' true values, in the metric's unit.
        error: root mean square of their standard errors, in the same unit.
    """

    reliability: float
    spread: float
    error: float


def separation(
    values_by_model: Sequence[float], stderrs_by_model: Sequence[float]
) -> Separation | None:
    """The separation of a task; None with fewer than two models, or where all values are equal.

    The variance among models is what remains of the observed one after the mean squared error is
    taken off, and not less than 0 (the method of moments, as for reliability in Lord and Novick
    1968, section 3.4). Models that were asked the same items share part of their error, so this
    errs on the low side.

    Raises:
        ValueError: there are not as many errors as values.
    """
    if len(values_by_model) != len(stderrs_by_model):
        raise ValueError("separation needs one error per value")
    if len(values_by_model) < 2:
        return None
    total = float(np.var(np.asarray(values_by_model, dtype=float), ddof=1))
    error = float(np.mean(np.asarray(stderrs_by_model, dtype=float) ** 2))
    if total <= 0:
        return None
    between = max(0.0, total - error)
    return Separation(between / total, math.sqrt(between), math.sqrt(error))
