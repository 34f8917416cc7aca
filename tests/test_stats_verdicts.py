"""Paired tests, equivalence, ranks, composites and reachability: exact numbers and edges."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ko_eval.errors import DataError
from ko_eval.stats.bootstrap import bca_interval
from ko_eval.stats.composite import chance_corrected, separation, weighted_mean
from ko_eval.stats.equivalence import tost
from ko_eval.stats.estimates import share_metric
from ko_eval.stats.multiplicity import holm
from ko_eval.stats.paired import paired_metric, paired_test, sign_flip_p, tango_interval
from ko_eval.stats.power import minimum_detectable_effect
from ko_eval.stats.ranks import rank_intervals
from ko_eval.stats.reachability import nearest_reachable, reachable
from ko_eval.types import Metric

# --- Pairs ---


def test_the_difference_is_b_less_a_and_the_items_are_counted() -> None:
    test = paired_test([1, 0, 0, 1, 1], [1, 1, 1, 1, 0])
    assert (test.difference, test.better, test.worse, test.n) == (0.2, 2, 1, 5)
    assert (test.method, test.p_value) == ("mcnemar", 1.0)


def test_turning_the_comparison_round_turns_its_numbers_round() -> None:
    a, b = [0.0, 1 / 3, 1, 0, 1] * 6, [1.0, 1, 1 / 3, 0, 2 / 3] * 6
    there, back = paired_test(a, b), paired_test(b, a)
    assert there.difference == pytest.approx(-back.difference)
    assert there.low == pytest.approx(-(back.high or 0))
    assert (there.p_value, there.better) == (back.p_value, back.worse)
    assert there.method == "permutation"


def test_equal_runs_are_not_known_to_be_equal() -> None:
    test = paired_test([1, 0] * 10, [1, 0] * 10)
    assert (test.difference, test.stderr, test.p_value) == (0.0, 0.0, 1.0)
    assert test.low == pytest.approx(-0.161, abs=1e-3)
    assert test.high == pytest.approx(0.161, abs=1e-3)
    points = paired_test([40.0, 90.0] * 10, [40.0, 90.0] * 10)
    assert points.high == pytest.approx(50 * 0.161, abs=0.05)  # in the unit of the points


def test_repeated_items_are_no_new_evidence() -> None:
    a, b = [1.0, 0, 0, 1, 0, 1, 0, 0], [1.0, 1, 1, 0, 1, 1, 1, 0]
    once = paired_test(a, b)
    names = [str(place) for place in range(8) for _ in range(5)]
    many = paired_test(list(np.repeat(a, 5)), list(np.repeat(b, 5)), clusters=names)
    assert many.stderr == pytest.approx(once.stderr)
    assert many.p_value == pytest.approx(once.p_value)
    assert many.low is not None and once.low is not None and many.low <= once.low
    assert paired_test(list(np.repeat(a, 5)), list(np.repeat(b, 5))).p_value < once.p_value / 4


def test_differences_that_are_equal_but_for_rounding_count_once_per_cluster() -> None:
    a = [0.1 * place for place in range(40)]
    names = [str(place // 4) for place in range(40)]
    metric = paired_metric(a, [value + 0.2 for value in a], names)
    assert metric.stderr == pytest.approx(0, abs=1e-12)
    assert metric.high == pytest.approx(0.2 * tango_interval(10, 0, 10)[1])
    assert metric.low == pytest.approx(0.2 * tango_interval(10, 0, 10, quantile=2.262)[0], 1e-3)
    share = share_metric([0.1 + 0.2, 0.3] * 20)
    assert share.low is not None and share.high is not None and share.low < 0.2 < 0.4 < share.high


def test_one_item_or_one_cluster_has_a_difference_without_an_error() -> None:
    for metric in (paired_metric([0.0], [1.0]), paired_metric([0.0] * 3, [1.0] * 3, ["a"] * 3)):
        assert metric.value == 1.0
        assert (metric.stderr, metric.low, metric.high) == (None, None, None)


def test_runs_over_other_numbers_of_items_cannot_be_paired() -> None:
    with pytest.raises(DataError, match="3 and 2 values cannot be paired"):
        paired_test([1, 0, 1], [1, 0])
    with pytest.raises(DataError, match="no values"):
        paired_test([], [])
    with pytest.raises(DataError, match="as many clusters"):
        paired_test([1, 0], [1, 1], clusters=["a"])


values = st.sampled_from([0.0, 1 / 3, 2 / 3, 1.0])


@given(st.lists(st.tuples(values, values), min_size=2, max_size=30))
def test_paired_intervals_hold_their_difference_and_stay_within_its_bounds(
    pairs: list[tuple[float, float]],
) -> None:
    metric = paired_metric([a for a, _ in pairs], [b for _, b in pairs])
    assert metric.low is not None and metric.high is not None
    assert -1 <= metric.low <= metric.value <= metric.high <= 1
    assert metric.low < metric.high


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_tangos_interval_narrows_with_items_that_agree(up: int, down: int, alike: int) -> None:
    if up + down + alike == 0:
        return
    low, high = tango_interval(up, down, up + down + alike)
    lower, higher = tango_interval(up, down, up + down + alike + 50)
    assert -1 <= low <= high <= 1
    assert higher - lower < high - low


def test_a_permutation_p_value_is_never_zero_and_depends_on_its_seed_alone() -> None:
    differences = [0.5 + place / 100 for place in range(40)]
    assert sign_flip_p(differences) == 1 / 10_001
    noisy = list(np.random.default_rng(0).normal(0.2, 1, size=40))
    assert sign_flip_p(noisy, seed=1) == sign_flip_p(noisy, seed=1) != sign_flip_p(noisy, seed=2)


def test_ten_thousand_items_are_permuted_in_good_time() -> None:
    differences = np.random.default_rng(0).normal(size=10_000)
    began = time.perf_counter()
    assert 0 < sign_flip_p(differences, rounds=2000) < 1
    assert time.perf_counter() - began < 5


# --- Many tests ---


def test_holm_multiplies_the_smallest_p_value_by_the_number_of_tests() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_keeps_the_order_and_never_lowers_a_p_value(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(after >= before for before, after in zip(p_values, adjusted, strict=True))
    ordered = [after for _, after in sorted(zip(p_values, adjusted, strict=True))]
    assert all(one <= other for one, other in pairwise(ordered))


# --- Equivalence and power ---


@pytest.mark.parametrize(
    ("difference", "stderr", "verdict"),
    [
        (0.1, 0.5, "equivalent"),
        (1.2, 0.1, "equivalent"),  # not zero, and shown to be small
        (5.0, 1.0, "different"),
        (2.5, 0.2, "different"),
        (1.0, 5.0, "undecided"),  # too few items for either
        (0.0, 0.0, "equivalent"),
        (5.0, 0.0, "different"),
        (1.0, 0.0, "equivalent"),
    ],
)
def test_verdicts_on_a_difference_under_a_margin_of_two_points(
    difference: float, stderr: float, verdict: str
) -> None:
    found = tost(difference, stderr, margin=2.0)
    assert found.verdict == verdict
    within = found.low90 > -2.0 and found.high90 < 2.0
    assert within == (verdict == "equivalent")
    assert tost(-difference, stderr, margin=2.0).verdict == verdict


def test_under_a_margin_of_zero_only_the_same_number_is_equivalent() -> None:
    assert tost(0.0, 0.0, margin=0.0).verdict == "equivalent"
    assert tost(1e-9, 0.0, margin=0.0).verdict == "different"
    assert tost(0.0, 0.1, margin=0.0).verdict == "undecided"
    with pytest.raises(ValueError, match="cannot be negative"):
        tost(0.0, 0.1, margin=-1.0)


def test_the_detectable_effect_is_2_80_standard_errors() -> None:
    assert minimum_detectable_effect(1.0) == pytest.approx(2.80158, abs=1e-5)
    assert minimum_detectable_effect(0.0) == 0.0


# --- Reachability ---


@pytest.mark.parametrize(
    ("published", "n", "count"),
    [
        (25.25, 198, 50),
        (34.59, 6008, 2078),
        (34.59, 6000, None),
        (0.08, 1319, 1),
        (100.0, 198, 198),
        (101.0, 198, None),
        (-0.64, 171, None),
        (65.66, 3 * 10_000, 19_698),  # credits are thirds
    ],
)
def test_a_published_share_is_a_count_or_it_is_not(
    published: float, n: int, count: int | None
) -> None:
    assert reachable(published, n) == count


@given(st.integers(1, 15_000), st.data())
def test_every_count_can_be_reached_as_it_was_rounded(n: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, n))
    shown = round(count / n * 100, 2)
    found = reachable(shown, n)
    assert found is not None
    assert abs(found / n * 100 - shown) <= 0.005 + 1e-9


def test_the_nearest_value_tells_how_far_a_published_one_is_off() -> None:
    count, value = nearest_reachable(34.59, 6000)
    assert (count, round(value, 4)) == (2075, 34.5833)
    with pytest.raises(ValueError, match="at least one item"):
        nearest_reachable(50.0, 0)


# --- Ranks ---


def test_models_that_cannot_be_told_apart_share_their_ranks() -> None:
    assert rank_intervals([50, 50.1, 30, 10], [1, 1, 1, 1]) == [(1, 2), (1, 2), (3, 3), (4, 4)]
    assert rank_intervals([50.0], [1.0]) == [(1, 1)]
    assert rank_intervals([], []) == []


def test_a_model_without_an_error_may_hold_any_rank() -> None:
    assert rank_intervals([50, 30, 10], [0.1, math.nan, 0.1]) == [(1, 2), (1, 3), (2, 3)]


def test_two_thousand_models_are_ranked_in_well_under_a_second() -> None:
    random = np.random.default_rng(0)
    values = list(random.normal(40, 8, size=2000))
    began = time.perf_counter()
    ranks = rank_intervals(values, [1.0] * 2000)
    assert time.perf_counter() - began < 1
    order = np.argsort(-np.asarray(values))
    assert all(ranks[i][0] <= place <= ranks[i][1] for place, i in enumerate(order, start=1))


# --- Composites ---


def metric(value: float, stderr: float) -> Metric:
    return Metric(value, stderr, value - 2 * stderr, value + 2 * stderr, 100)


def test_a_weighted_mean_adds_its_parts_errors_in_squares() -> None:
    mean = weighted_mean([metric(40, 3), metric(80, 4)], [3, 1])
    assert (mean.value, mean.n) == (50, 2)
    assert mean.stderr == pytest.approx(math.hypot(3 * 0.75, 4 * 0.25))
    assert mean.high == pytest.approx(50 + 2 * math.hypot(3 * 0.75, 4 * 0.25))


def test_without_the_error_of_a_part_there_is_none_of_the_whole() -> None:
    unknown = Metric(80, None, None, None, 1)
    assert weighted_mean([metric(40, 3), unknown], [1, 1]) == Metric(60, None, None, None, 2)
    assert weighted_mean([metric(40, 3), unknown], [1, 0]).stderr == 3
    for weights in ([1.0], [1.0, -1.0], [0.0, 0.0], [1.0, math.nan]):
        with pytest.raises(ValueError, match="weight"):
            weighted_mean([metric(40, 3), unknown], weights)


def test_chance_is_zero_and_below_it_stays_negative() -> None:
    corrected = chance_corrected(metric(0.4, 0.03), 0.25)
    assert corrected.value == pytest.approx(0.2)
    assert corrected.stderr == pytest.approx(0.04)
    assert chance_corrected(metric(0.2, 0.03), 0.25).value < 0
    assert chance_corrected(metric(100, 0), 25, best=100).value == 1
    with pytest.raises(ValueError, match="above chance"):
        chance_corrected(metric(0.4, 0.03), 1.0)


def test_a_task_whose_models_differ_by_no_more_than_their_errors_separates_nothing() -> None:
    random = np.random.default_rng(0)
    same = separation(list(random.normal(50, 2, size=500)), [2.0] * 500)
    apart = separation(list(random.normal(50, math.hypot(6, 2), size=500)), [2.0] * 500)
    assert same is not None and same.reliability < 0.15
    assert apart is not None and apart.reliability == pytest.approx(0.9, abs=0.02)
    assert apart.spread == pytest.approx(6, rel=0.1)
    assert separation([50.0], [1.0]) is separation([50.0, 50.0], [1.0, 1.0]) is None


# --- The bootstrap's edges ---


def test_values_that_are_all_equal_have_an_interval_of_one_point() -> None:
    assert bca_interval([3.0] * 20, seed=0) == (3.0, 3.0)


def test_a_single_outlier_among_a_hundred_moves_the_upper_end_further() -> None:
    low, high = bca_interval([0.0] * 99 + [100.0], seed=0)
    assert 0 <= low < 1 < high
    assert high - 1 > 1 - low


def test_listing_tasks_imports_no_scipy() -> None:
    code = (
        "import sys\nfrom ko_eval.cli.main import app\n"
        "try:\n    app(['list', 'tasks'])\nexcept SystemExit:\n    pass\n"
        "import ko_eval.stats.paired, ko_eval.stats.clusters, ko_eval.stats.equivalence\n"
        "sys.exit('scipy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ko_gsm8k" in done.stdout, done.stderr
    assert done.returncode == 0
