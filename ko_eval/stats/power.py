"""What a comparison could have found."""

from __future__ import annotations

from ko_eval.stats.quantiles import normal_quantile


def minimum_detectable_effect(stderr: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true difference that a two-sided test finds with this power.

    (z of 1−α/2 + z of the power) · stderr: 2.80 standard errors by default (Bloom 1995, "Minimum
    detectable effects"). It takes the standard error as known.

    Args:
        stderr: of the difference, in the metric's unit.
    """
    return (normal_quantile(1 - alpha / 2) + normal_quantile(power)) * stderr
