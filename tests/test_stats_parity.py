"""Our statistics give the numbers of scipy and statsmodels, or of an independent calculation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import normal_power
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import ttost_paired

from ko_eval.stats.bootstrap import bootstrap_means, percentile_interval
from ko_eval.stats.clusters import clustered_mean
from ko_eval.stats.equivalence import tost
from ko_eval.stats.estimates import mean_metric, ratio_metric, share_metric, wilson_interval
from ko_eval.stats.multiplicity import holm
from ko_eval.stats.paired import mcnemar_exact, paired_test, sign_flip_p, tango_interval
from ko_eval.stats.power import minimum_detectable_effect
from ko_eval.stats.quantiles import Z_95, student_quantile, upper_tail


def exactly(expected: object) -> object:
    """Equal to 1e-9."""
    return pytest.approx(expected, rel=1e-9, abs=1e-9)


def cluster_sizes(kind: str) -> list[int]:
    return {"equal": [4] * 12, "unequal": [1, 9, 2, 2, 7, 1, 1, 30, 5], "two": [3, 8]}[kind]


def clustered_data(kind: str, seed: int = 0) -> tuple[list[float], list[str]]:
    random = np.random.default_rng(seed)
    names = [str(place) for place, size in enumerate(cluster_sizes(kind)) for _ in range(size)]
    levels = {name: random.normal() for name in set(names)}
    return [50 + 10 * levels[name] + float(random.normal()) for name in names], names


# --- Shares ---


@pytest.mark.parametrize("n", [1, 2, 20, 198, 6008])
def test_wilson_intervals_are_those_of_statsmodels(n: int) -> None:
    for successes in {0, 1, n // 3, n // 2, n - 1, n}:
        expected = proportion_confint(successes, n, alpha=0.05, method="wilson")
        assert wilson_interval(successes, n) == exactly(expected)


def test_a_share_of_right_answers_has_the_wilson_interval_of_statsmodels() -> None:
    metric = share_metric([1.0] * 13 + [0.0] * 7)
    expected = proportion_confint(13, 20, method="wilson")
    assert (metric.low, metric.high) == exactly(expected)


def test_a_pooled_ratio_has_the_error_of_a_regression_on_its_clusters() -> None:
    random = np.random.default_rng(1)
    asked = random.integers(1, 4, size=60)
    followed = random.binomial(asked, 0.6)
    verdicts = [float(k < f) for f, a in zip(followed, asked, strict=True) for k in range(a)]
    prompts = np.repeat(np.arange(60), asked)
    fit = OLS(verdicts, np.ones(len(verdicts))).fit(
        cov_type="cluster", cov_kwds={"groups": prompts}
    )
    metric = ratio_metric([float(x) for x in followed], [float(x) for x in asked])
    assert metric.value == exactly(fit.params[0])
    assert metric.stderr == exactly(fit.bse[0])


# --- Clusters ---


@pytest.mark.parametrize("kind", ["equal", "unequal", "two"])
def test_cluster_robust_errors_are_those_of_a_regression_in_statsmodels(kind: str) -> None:
    values, names = clustered_data(kind)
    numbers = [int(name) for name in names]
    fit = OLS(values, np.ones(len(values))).fit(
        cov_type="cluster", cov_kwds={"groups": numbers, "use_correction": True}
    )
    metric = clustered_mean(values, names)
    assert metric.value == exactly(fit.params[0])
    assert metric.stderr == exactly(fit.bse[0])


def test_clusters_of_equal_size_are_tested_as_their_means_would_be() -> None:
    values, names = clustered_data("equal")
    few = values[: 4 * 8]  # so few clusters that the interval is Student's
    means = np.reshape(few, (8, 4)).mean(axis=1)
    expected = stats.t.interval(0.95, 7, loc=means.mean(), scale=stats.sem(means))
    metric = clustered_mean(few, names[: 4 * 8])
    assert (metric.low, metric.high) == exactly(expected)


# --- Student's distribution ---


@pytest.mark.parametrize("df", [1.0, 2.5, 30.0, 4000.0])
def test_quantiles_and_tails_are_those_of_scipy(df: float) -> None:
    assert student_quantile(0.975, df) == exactly(stats.t.ppf(0.975, df))
    for value in (-3.0, 0.0, 1.0, 8.0):
        assert upper_tail(value, df) == pytest.approx(stats.t.sf(value, df), rel=1e-9)
        assert upper_tail(value) == pytest.approx(stats.norm.sf(value), rel=1e-9)


# --- Paired tests ---


@pytest.mark.parametrize(
    ("better", "worse"), [(0, 0), (1, 0), (5, 0), (3, 9), (7, 7), (61, 40), (1999, 2100)]
)
def test_mcnemar_is_that_of_statsmodels_and_scipy(better: int, worse: int) -> None:
    ours = mcnemar_exact(better, worse)
    theirs = mcnemar([[10, better], [worse, 10]], exact=True).pvalue if better + worse else 1.0
    assert ours == pytest.approx(float(theirs), rel=1e-9, abs=1e-12)
    if better + worse:
        binomial = stats.binomtest(better, better + worse).pvalue
        assert ours == pytest.approx(binomial, rel=1e-9)


@given(st.integers(0, 7), st.integers(0, 7))
def test_flipping_signs_of_right_and_wrong_answers_is_mcnemars_test(
    better: int, worse: int
) -> None:
    differences = [1.0] * better + [-1.0] * worse + [0.0] * 5
    assert sign_flip_p(differences) == exactly(mcnemar_exact(better, worse))


def test_flipping_signs_is_the_exact_permutation_test_of_scipy() -> None:
    differences = np.random.default_rng(4).normal(0.4, 1, size=12)
    expected = stats.permutation_test(
        (differences, np.zeros(12)),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    )
    assert sign_flip_p(differences) == exactly(float(expected.pvalue))


def test_drawn_sign_patterns_agree_with_the_t_test_where_that_holds() -> None:
    differences = np.random.default_rng(5).normal(0.1, 1, size=400)
    expected = stats.ttest_1samp(differences, 0).pvalue
    assert sign_flip_p(differences) == pytest.approx(expected, abs=0.015)


def constrained_score(better: int, worse: int, n: int, delta: float) -> float:
    """Tango's statistic with its nuisance share found by maximising the likelihood."""

    def loss(q: float) -> float:
        p, alike = q + delta, 1 - 2 * q - delta
        parts: Sequence[tuple[int, float]] = ((better, p), (worse, q), (n - better - worse, alike))
        return -math.fsum(count * math.log(max(share, 1e-300)) for count, share in parts if count)

    low, high = max(0.0, -delta), (1 - delta) / 2
    q = optimize.minimize_scalar(
        loss, bounds=(low, high), method="bounded", options={"xatol": 1e-12}
    ).x
    return (better - worse - n * delta) / math.sqrt(n * (2 * q + delta * (1 - delta)))


@pytest.mark.parametrize(("better", "worse", "n"), [(7, 2, 40), (1, 0, 21), (30, 25, 100)])
def test_tangos_limits_are_where_the_constrained_score_is_1_96(
    better: int, worse: int, n: int
) -> None:
    low, high = tango_interval(better, worse, n)
    assert constrained_score(better, worse, n, low) == pytest.approx(Z_95, abs=1e-4)
    assert constrained_score(better, worse, n, high) == pytest.approx(-Z_95, abs=1e-4)


def test_tangos_interval_without_a_discordant_pair_has_its_closed_form() -> None:
    reach = Z_95**2 / (50 + Z_95**2)
    assert tango_interval(0, 0, 50) == exactly((-reach, reach))


def test_for_many_items_the_paired_interval_is_the_plain_one() -> None:
    random = np.random.default_rng(6)
    a, b = random.normal(50, 10, size=4000), random.normal(50.4, 10, size=4000)
    test = paired_test(list(a), list(b))
    expected = stats.t.interval(0.95, 3999, loc=(b - a).mean(), scale=stats.sem(b - a))
    assert (test.low, test.high) == pytest.approx(expected, abs=2e-3)
    assert test.stderr == exactly(stats.sem(b - a))


# --- Many tests, equivalence, power ---


@pytest.mark.parametrize("count", [1, 2, 9, 40])
def test_holm_is_that_of_statsmodels(count: int) -> None:
    p_values = [float(x) for x in np.random.default_rng(count).random(count) ** 3]
    p_values[count // 2 :] = [round(p_value, 1) for p_value in p_values[count // 2 :]]  # ties
    expected = multipletests(p_values, method="holm")[1]
    assert holm(p_values) == exactly(list(expected))


def test_holm_of_no_test_is_nothing() -> None:
    assert holm([]) == []


@pytest.mark.parametrize("shift", [0.0, 0.5, 2.0, 9.0])
def test_two_one_sided_tests_are_those_of_statsmodels(shift: float) -> None:
    random = np.random.default_rng(7)
    a = random.normal(50, 5, size=30)
    b = a + random.normal(shift, 3, size=30)
    p_value, *_ = ttost_paired(b, a, -2.0, 2.0)
    ours = tost(float((b - a).mean()), float(stats.sem(b - a)), margin=2.0, df=29)
    assert ours.p_equivalence == pytest.approx(p_value, rel=1e-9)
    assert ours.p_difference == pytest.approx(stats.ttest_rel(b, a).pvalue, rel=1e-9)
    interval = stats.t.interval(0.9, 29, loc=(b - a).mean(), scale=stats.sem(b - a))
    assert (ours.low90, ours.high90) == exactly(interval)


def test_the_minimum_detectable_effect_has_its_power_in_statsmodels() -> None:
    effect = minimum_detectable_effect(1 / math.sqrt(300), power=0.9, alpha=0.01)
    # The other tail adds next to nothing.
    assert normal_power(effect, 300, 0.01) == pytest.approx(0.9, abs=1e-6)


# --- The bootstrap ---


def test_bootstrap_means_spread_as_the_standard_error_says() -> None:
    values = list(np.random.default_rng(8).gamma(2, 10, size=300))
    means = bootstrap_means(values, seed=1)
    assert means.mean() == pytest.approx(np.mean(values), abs=0.05)
    assert means.std() == pytest.approx(stats.sem(values), rel=0.02)


def test_bootstrapped_clusters_spread_as_the_cluster_robust_error_says() -> None:
    values, names = [], []
    random = np.random.default_rng(9)
    for cluster in range(200):
        level = random.normal(50, 10)
        for _ in range(int(random.integers(1, 6))):
            values.append(float(level + random.normal()))
            names.append(str(cluster))
    spread = bootstrap_means(values, seed=1, clusters=names).std()
    assert spread == pytest.approx(clustered_mean(values, names).stderr, rel=0.03)
    assert spread > 1.5 * bootstrap_means(values, seed=1).std()


def test_the_interval_of_a_mean_is_nearly_scipys_bca_interval() -> None:
    values = list(np.random.default_rng(10).gamma(2, 10, size=400))
    theirs = stats.bootstrap((values,), np.mean, method="BCa", rng=np.random.default_rng(0))
    metric = mean_metric(values)
    assert (metric.low, metric.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.06)
    plain = percentile_interval(bootstrap_means(values, seed=0))
    assert metric.low is not None and metric.low > plain[0]  # skewed: both ends move up


def test_the_same_seed_gives_the_same_interval() -> None:
    values = [float(x) for x in np.random.default_rng(11).gamma(1, 10, size=50)]
    assert mean_metric(values, seed=3) == mean_metric(values, seed=3)
    assert mean_metric(values, seed=3).low != mean_metric(values, seed=4).low
    assert mean_metric(values, seed=3).stderr == mean_metric(values, seed=4).stderr
