"""How often nominal 95 % intervals hold the truth, and how often tests cry wolf.

Where there are few outcomes their probabilities are summed exactly; else samples are drawn. An
interval that errs on the wide side with very few units is said to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy import stats

from ko_eval.stats.calibration import calibration_error
from ko_eval.stats.clusters import clustered_mean
from ko_eval.stats.composite import weighted_mean
from ko_eval.stats.equivalence import tost
from ko_eval.stats.estimates import mean_metric, ratio_metric, share_metric, wilson_interval
from ko_eval.stats.multiplicity import holm
from ko_eval.stats.paired import (
    mcnemar_exact,
    paired_metric,
    paired_test,
    sign_flip_p,
    tango_interval,
)
from ko_eval.stats.power import minimum_detectable_effect
from ko_eval.stats.ranks import rank_intervals
from ko_eval.types import Metric

Random = np.random.Generator
LEAST, MOST = 0.93, 0.97


def coverage(draw: Callable[[Random], Metric], truth: float, rounds: int, seed: int = 0) -> float:
    random = np.random.default_rng(seed)
    held = 0
    for _ in range(rounds):
        metric = draw(random)
        assert metric.low is not None and metric.high is not None
        assert metric.low <= metric.value <= metric.high
        held += metric.low <= truth <= metric.high
    return held / rounds


def of_clusters(
    random: Random, sizes: Sequence[int], share: float, correlation: float
) -> tuple[list[float], list[str]]:
    """Right and wrong answers with a common chance within each cluster (beta-binomial)."""
    scale = (1 - correlation) / correlation
    chances = random.beta(share * scale, (1 - share) * scale, size=len(sizes))
    values = (random.random(sum(sizes)) < np.repeat(chances, sizes)).astype(float)
    return list(values), [str(number) for number in np.repeat(np.arange(len(sizes)), sizes)]


UNEQUAL = [12 if place % 5 == 0 else 1 for place in range(100)]


# --- Shares ---


@pytest.mark.parametrize("n", [20, 60, 120])
def test_wilson_intervals_hold_a_share_95_times_in_100_exactly_summed(n: int) -> None:
    shares = np.linspace(0.05, 0.95, 91)
    intervals = [wilson_interval(k, n) for k in range(n + 1)]
    held = [
        sum(
            stats.binom.pmf(k, n, share)
            for k, (low, high) in enumerate(intervals)
            if low <= share <= high
        )
        for share in shares
    ]
    assert LEAST < float(np.mean(held)) < MOST
    assert min(held) > 0.88  # right or wrong comes in steps; Brown, Cai and DasGupta 2001


@pytest.mark.parametrize(
    "shares", [(0.1, 0.1, 0.2, 0.6), (0.02, 0.03, 0.05, 0.9), (0.4, 0.3, 0.2, 0.1)]
)
def test_intervals_of_graded_credit_hold_even_where_nearly_all_is_right(
    shares: tuple[float, ...],
) -> None:
    levels = np.array([0, 1 / 3, 2 / 3, 1])
    truth = float(levels @ shares)

    def draw(random: Random) -> Metric:
        return share_metric(list(random.choice(levels, size=60, p=shares)))

    assert LEAST < coverage(draw, truth, 500) < MOST


@pytest.mark.parametrize(
    ("sizes", "share", "correlation"),
    [
        ([2] * 51, 0.6, 0.5),  # twins
        pytest.param([4] * 30, 0.8, 0.2, marks=pytest.mark.slow),  # passages with four questions
        # Passages with twelve questions, and single items.
        pytest.param(UNEQUAL, 0.5, 0.3, marks=pytest.mark.slow),
    ],
)
def test_cluster_robust_intervals_hold_where_plain_ones_fail(
    sizes: list[int], share: float, correlation: float
) -> None:
    def draw(random: Random) -> Metric:
        return clustered_mean(*of_clusters(random, sizes, share, correlation))

    def plain(random: Random) -> Metric:
        return clustered_mean(of_clusters(random, sizes, share, correlation)[0], None)

    assert LEAST < coverage(draw, share, 500) < MOST
    assert coverage(plain, share, 300) < LEAST


@pytest.mark.slow
@pytest.mark.parametrize("count", [6, 10])
def test_with_very_few_clusters_intervals_err_on_the_wide_side(count: int) -> None:
    def draw(random: Random) -> Metric:
        return clustered_mean(*of_clusters(random, [4] * count, 0.6, 0.3))

    assert coverage(draw, 0.6, 1000) > LEAST


def test_twins_that_cancel_out_do_not_make_an_interval_too_short() -> None:
    # A model without skill is right on exactly one of two twins; now and then it knows both.
    def draw(random: Random) -> Metric:
        values = [1.0, 0.0] * 45 + [float(x) for x in np.repeat(random.random(6) < 0.5, 2)]
        return clustered_mean(values, [str(place // 2) for place in range(102)])

    assert coverage(draw, 0.5, 300) > 0.95


# --- Other metrics ---


def test_pooled_instructions_hold_with_prompts_as_units() -> None:
    def draw(random: Random) -> Metric:
        asked = random.integers(1, 4, size=66)
        chances = random.beta(1.6, 0.4, size=66)
        followed = random.binomial(asked, chances)
        return ratio_metric([float(x) for x in followed], [float(x) for x in asked])

    assert LEAST < coverage(draw, 0.8, 500) < MOST


def eq_bench_points(random: Random, n: int) -> list[float]:
    """Skewed points, some answers unreadable and so 0, as EQ-Bench gives them."""
    points = 100 - random.gamma(1.5, 25, size=n)
    points[random.random(n) < 0.15] = 0
    return [float(x) for x in points]


@pytest.mark.slow
@pytest.mark.parametrize("n", [20, 60, 171])
def test_bootstrap_intervals_of_skewed_points_hold(n: int) -> None:
    def draw(random: Random) -> Metric:
        return mean_metric(eq_bench_points(random, n))

    assert LEAST < coverage(draw, 0.85 * (100 - 37.5), 600) < MOST


@pytest.mark.slow
def test_bootstrap_intervals_of_skewed_clusters_hold() -> None:
    names = [str(place // 3) for place in range(120)]

    def draw(random: Random) -> Metric:
        levels = np.repeat(random.gamma(1.5, 10, size=40), 3)
        return mean_metric(list(100 - levels - random.gamma(1.5, 15, size=120)), names)

    assert LEAST < coverage(draw, 100 - 15 - 22.5, 1000) < MOST


@pytest.mark.parametrize(("n", "rounds"), [(8, 800), pytest.param(20, 800, marks=pytest.mark.slow)])
def test_intervals_of_a_few_plain_values_hold(n: int, rounds: int) -> None:
    def draw(random: Random) -> Metric:
        return mean_metric(list(random.normal(5, 2, size=n)))

    assert LEAST < coverage(draw, 5.0, rounds) < 0.98


def test_the_interval_of_an_average_of_tasks_holds() -> None:
    shares = (0.25, 0.5, 0.66, 0.9, 1.0)
    weights = (1.0, 2.0, 1.0, 1.0, 0.5)

    def draw(random: Random) -> Metric:
        tasks = [
            share_metric([1.0] * k + [0.0] * (100 - k))
            for k in (int(random.binomial(100, share)) for share in shares)
        ]
        return weighted_mean(tasks, weights)

    truth = float(np.dot(shares, weights) / np.sum(weights))
    assert LEAST < coverage(draw, truth, 500) < MOST


@pytest.mark.slow
@pytest.mark.parametrize("confident_by", [0.0, 0.05, 0.3])
def test_the_interval_of_the_calibration_error_holds_although_the_value_is_biased(
    confident_by: float,
) -> None:
    large = np.random.default_rng(1).beta(4, 2, size=1_000_000) * 0.65 + 0.34
    bins = np.minimum((large * 10).astype(int), 9)
    truth = float(np.abs(np.bincount(bins, weights=np.full(large.size, confident_by))).sum())
    truth /= large.size

    def draw(random: Random) -> Metric:
        confidence = random.beta(4, 2, size=200) * 0.65 + 0.34
        hits = random.random(200) < confidence - confident_by
        return calibration_error(list(confidence), [float(hit) for hit in hits])

    assert 0.92 < coverage(draw, truth, 600) < 0.985


# --- Pairs ---


@pytest.mark.parametrize(
    ("n", "better", "worse"), [(50, 0.1, 0.05), (50, 0.3, 0.1), (40, 0.2, 0.2), (80, 0.06, 0.02)]
)
def test_paired_intervals_hold_with_few_discordant_pairs_exactly_summed(
    n: int, better: float, worse: float
) -> None:
    held = plain = 0.0
    for up in range(n + 1):
        for down in range(n + 1 - up):
            chance = stats.multinomial.pmf(
                [up, down, n - up - down], n, [better, worse, 1 - better - worse]
            )
            if chance < 1e-7:
                continue
            low, high = tango_interval(up, down, n)
            held += chance * (low <= better - worse <= high)
            mean = (up - down) / n
            reach = 1.96 * np.sqrt(((up + down) / n - mean**2) / n)
            plain += chance * (abs(mean - (better - worse)) <= reach)
    assert LEAST < held < MOST
    assert held >= plain - 0.03


@pytest.mark.parametrize(("better", "worse"), [(0.1, 0.05), (0.05, 0.01), (0.02, 0.02)])
def test_with_twenty_items_paired_intervals_err_on_the_wide_side(
    better: float, worse: float
) -> None:
    def draw(random: Random) -> Metric:
        b = random.choice([1.0, 0.5, 0.0], size=20, p=[better, 1 - better - worse, worse])
        return paired_metric([0.5] * 20, list(b))

    assert coverage(draw, (better - worse) / 2, 200) > 0.97


def test_paired_intervals_of_graded_credit_hold() -> None:
    steps, chances = [0.0, 1 / 3, 2 / 3, -1 / 3], [0.7, 0.1, 0.1, 0.1]

    def draw(random: Random) -> Metric:
        return paired_metric([0.0] * 100, list(random.choice(steps, size=100, p=chances)))

    assert LEAST < coverage(draw, 0.2 / 3, 500) < MOST


@pytest.mark.slow
def test_paired_intervals_of_clusters_hold() -> None:
    names = [str(place // 3) for place in range(180)]

    def draw(random: Random) -> Metric:
        shared = np.repeat(random.random(60), 3)
        common = np.repeat(random.random(60) < 0.5, 3)
        own = random.random(180)
        a = (np.where(common, shared, own) < 0.5).astype(float)
        b = (np.repeat(random.random(60), 3) < 0.6).astype(float)
        return paired_metric(list(a), list(b), names)

    assert LEAST < coverage(draw, 0.1, 1000) < MOST


# --- Tests: how often they reject what is true ---


@pytest.mark.parametrize("discordant", [5, 20, 101])
def test_mcnemar_rejects_a_true_null_at_most_5_times_in_100_exactly_summed(
    discordant: int,
) -> None:
    rejected = sum(
        stats.binom.pmf(better, discordant, 0.5)
        for better in range(discordant + 1)
        if mcnemar_exact(better, discordant - better) <= 0.05
    )
    assert rejected <= 0.05
    assert rejected > 0.02 or discordant < 10


def rejections(draw: Callable[[Random], float], rounds: int, level: float = 0.05) -> float:
    random = np.random.default_rng(3)
    return float(np.mean([draw(random) <= level for _ in range(rounds)]))


def test_flipping_signs_rejects_a_true_null_5_times_in_100() -> None:
    def few(random: Random) -> float:
        return sign_flip_p(list(random.choice([-2 / 3, -1 / 3, 1 / 3, 2 / 3], size=12)))

    def drawn(random: Random) -> float:
        return sign_flip_p(list(random.normal(size=40)), rounds=999)

    assert 0.02 < rejections(few, 300) < 0.07
    assert 0.03 < rejections(drawn, 800) < 0.07


def test_with_clusters_the_paired_test_keeps_its_level_where_mcnemar_does_not() -> None:
    names = [str(place // 5) for place in range(150)]

    def pair(random: Random) -> tuple[list[float], list[float]]:
        a, b = (np.repeat(random.random(30) < 0.5, 5).astype(float) for _ in range(2))
        return list(a), list(b)

    def clustered(random: Random) -> float:
        test = paired_test(*pair(random), clusters=names)
        assert test.method == "permutation"
        return test.p_value

    def alone(random: Random) -> float:
        test = paired_test(*pair(random))
        assert test.method == "mcnemar"
        return test.p_value

    assert rejections(clustered, 100) < 0.08
    assert rejections(alone, 100) > 0.2


def test_holm_keeps_the_chance_of_any_false_rejection_at_5_in_100() -> None:
    random = np.random.default_rng(4)
    p_values = random.random((2000, 9))
    p_values[:, 0] = 1e-6  # one true difference among nine tasks
    any_false = np.mean([min(holm(list(row))[1:]) <= 0.05 for row in p_values])
    assert 0.03 < any_false < 0.06
    assert np.mean(p_values[:, 1:].min(axis=1) <= 0.05) > 0.3


def test_two_one_sided_tests_find_equivalence_at_the_margin_5_times_in_100() -> None:
    random = np.random.default_rng(5)
    found = [tost(float(d), 0.5, margin=2.0).verdict for d in random.normal(2.0, 0.5, size=4000)]
    assert 0.04 < found.count("equivalent") / 4000 < 0.06
    inside = [tost(float(d), 0.5, margin=2.0).verdict for d in random.normal(0.0, 0.5, size=4000)]
    assert inside.count("equivalent") / 4000 > 0.95


def test_an_effect_of_the_detectable_size_is_found_8_times_in_10() -> None:
    # 400 pairs, 20 % discordant: the standard error is known beforehand.
    stderr = float(np.sqrt(0.2 / 400))
    effect = minimum_detectable_effect(stderr)
    better, worse = (0.2 + effect) / 2, (0.2 - effect) / 2
    random = np.random.default_rng(6)
    counts = random.multinomial(400, [better, worse, 0.8], size=4000)
    found = np.mean([mcnemar_exact(int(up), int(down)) <= 0.05 for up, down, _ in counts])
    assert 0.75 < found < 0.85


def test_rank_intervals_hold_each_models_true_rank() -> None:
    random = np.random.default_rng(7)
    truth = np.sort(random.normal(50, 5, size=30))[::-1]
    held = np.zeros(30)
    widths = 0.0
    for _ in range(200):
        ranks = rank_intervals(list(random.normal(truth, 0.7)), [0.7] * 30)
        held += [low <= place <= high for place, (low, high) in enumerate(ranks, start=1)]
        widths += float(np.mean([high - low for low, high in ranks]))
    assert (held / 200).min() > 0.95
    assert widths / 200 < 15  # and they are not all of 1 to 30
