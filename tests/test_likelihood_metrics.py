"""What likelihoods tell beyond accuracy: tokens, mutual information, calibration, groups."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from hypothesis import given
from hypothesis import strategies as st

from ko_eval.errors import DataError
from ko_eval.scorers.choice_likelihood import ChoiceLikelihood
from ko_eval.scorers.context_likelihood import ContextLikelihood
from ko_eval.scorers.likelihoods import softmax
from ko_eval.stats.calibration import brier_score, calibration_error
from ko_eval.stats.estimates import wilson_interval
from ko_eval.types import FailedResponse, LoglikelihoodResponse, Sample

SAMPLE = Sample("s", {}, target=0, choices=("가", "나다", "라마바사"))
LOG = math.log


def scored(
    values: Sequence[float], tokens: Sequence[int] = (), target: int = 0
) -> dict[str, float]:
    sample = Sample("s", {}, target=target, choices=SAMPLE.choices)
    response = LoglikelihoodResponse(tuple(values), tuple(tokens))
    return dict(ChoiceLikelihood().score(sample, response).metrics)


def test_tokens_normalise_where_their_number_is_known() -> None:
    sums, tokens = (-2, -3, -3), (1, 2, 6)  # per token: -2, -1.5, -0.5
    assert [scored(sums, tokens, target)["acc_tokens"] for target in range(3)] == [0, 0, 1]
    assert "acc_tokens" not in scored(sums)


def test_mutual_information_subtracts_what_a_choice_has_by_itself() -> None:
    sums = (-2, -3, -9)
    alone = (-1, -5, -8)  # gains: -1, +2, -1
    assert [scored((*sums, *alone), (), target)["acc_pmi"] for target in range(3)] == [0, 1, 0]
    assert scored((*sums, *alone))["acc"] == 1  # the sums alone prefer the first
    assert "acc_pmi" not in scored(sums)


def test_a_choice_that_cannot_follow_gains_nothing() -> None:
    never = -math.inf
    assert scored((-2, never, -9, -1, never, -8), target=0)["acc_pmi"] == 1


def test_a_metric_that_some_responses_cannot_give_is_left_out() -> None:
    scorer = ChoiceLikelihood()
    with_tokens = scorer.score(SAMPLE, LoglikelihoodResponse((-1, -2, -3), (1, 1, 1)))
    without = scorer.score(SAMPLE, LoglikelihoodResponse((-1, -2, -3)))
    assert "acc_tokens" in scorer.aggregate([with_tokens, with_tokens])
    assert "acc_tokens" not in scorer.aggregate([with_tokens, without])


@pytest.mark.parametrize("tokens", [(1, 2), (1, 2, 0)])
def test_token_counts_must_fit(tokens: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="one positive number per log-likelihood"):
        scored((-1, -2, -3), tokens)


@pytest.mark.parametrize("counts", [[1.5, 1], ["inf", 1], [0, 1], ["x", 1], 3])
def test_token_counts_from_elsewhere_must_be_whole_numbers(
    ko_eval: Command, tmp_path: Path, counts: object
) -> None:
    row = {"id": 0, "question": "질문", "choices": ["가", "나"], "answer": "A"}
    given = {"id": 0, "loglikelihoods": [-1, -2], "token_counts": counts}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    (tmp_path / "given.jsonl").write_text(json.dumps(given))
    done = ko_eval(
        "score", "kornat_knowledge", "--data", "rows.jsonl", "--responses", "given.jsonl"
    )
    assert done.returncode == 2
    assert "'token_counts' must be" in done.stderr


def test_what_is_impossible_stays_valid_json(ko_eval: Command, tmp_path: Path) -> None:
    row = {"id": 0, "question": "질문", "choices": ["가", "나"], "answer": "A"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    (tmp_path / "given.jsonl").write_text('{"id": 0, "loglikelihoods": [-1, -Infinity]}')
    done = ko_eval(
        *("score", "kornat_knowledge", "--data", "rows.jsonl", "--responses", "given.jsonl"),
        *("--samples-out", "out.jsonl"),
    )
    assert done.returncode == 0, done.stderr

    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    line = json.loads((tmp_path / "out.jsonl").read_text(), parse_constant=refuse)
    assert line["detail"]["loglikelihoods"] == [-1.0, None]


def test_options_that_are_all_impossible_are_no_answer() -> None:
    with pytest.raises(DataError, match="say nothing"):
        scored((-math.inf, -math.inf, -math.inf))


def test_two_contexts_take_two_values() -> None:
    sample = Sample("s", {}, target=0, choices=("지수가", "은서가"))
    with pytest.raises(DataError, match="2 choices, but 4"):
        ContextLikelihood().score(sample, LoglikelihoodResponse((-1, -2, -1, -2)))


def test_the_brier_score_is_the_squared_distance_from_the_truth() -> None:
    sums = (LOG(0.5), LOG(0.3), LOG(0.2))
    assert scored(sums)["brier"] == pytest.approx(0.25 + 0.09 + 0.04)
    assert scored(sums, target=2)["brier"] == pytest.approx(0.25 + 0.09 + 0.64)
    assert brier_score([1.0, 0.0], 0) == 0.0
    assert brier_score([1.0, 0.0], 1) == 2.0


def test_calibration_error_is_the_distance_of_confidence_and_accuracy() -> None:
    # One bin holds 0.72 and 0.78 (mean 0.75, half right), another 1.0 (right).
    metric = calibration_error([0.72, 0.78, 1.0], [1.0, 0.0, 1.0])
    assert metric.value == pytest.approx(2 / 3 * 0.25)
    assert metric.stderr is not None and metric.low is not None and metric.high is not None
    assert metric.stderr > 0 and metric.low < metric.value < metric.high


@pytest.mark.parametrize("count", [3, 8, 30, 200])
def test_the_interval_of_a_calibration_error_hardly_moves_when_probabilities_are_rounded(
    count: int,
) -> None:
    random = np.random.default_rng(count)
    for _ in range(12):
        # In the middle of bins: a probability that changes its bin moves the value itself.
        confidence = random.integers(2, 10, size=count) / 10 + random.uniform(
            0.02, 0.08, size=count
        )
        hits = (random.random(count) < confidence).astype(float)
        rounded = confidence + random.uniform(-1e-6, 1e-6, size=count)
        one = calibration_error(list(confidence), list(hits))
        other = calibration_error(list(rounded), list(hits))
        for name in ("value", "stderr", "low", "high"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), abs=2e-5), name


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
def test_calibration_error_lies_between_0_and_1(pairs: list[tuple[float, bool]]) -> None:
    value = calibration_error([p for p, _ in pairs], [float(hit) for _, hit in pairs]).value
    assert -1e-12 <= value <= 1 + 1e-12


@given(st.lists(st.floats(-1e300, 0) | st.just(-math.inf), min_size=1, max_size=9))
def test_probabilities_of_choices_sum_to_one(sums: list[float]) -> None:
    probabilities = softmax(sums)
    assert math.fsum(probabilities) == pytest.approx(1.0)
    assert all(0 <= p <= 1 for p in probabilities)


@pytest.mark.parametrize("hit", [0.0, 1.0])
def test_a_calibration_error_of_nothing_is_as_unsure_as_the_accuracy(hit: float) -> None:
    metric = calibration_error([hit] * 10, [hit] * 10)
    assert (metric.value, metric.low) == (0.0, 0.0)
    assert metric.high == pytest.approx(wilson_interval(0, 10)[1])


def test_a_failed_sample_is_wrong_but_says_nothing_about_calibration() -> None:
    scorer = ChoiceLikelihood()
    right = scorer.score(SAMPLE, LoglikelihoodResponse((0.0, -1000, -1000)))
    failed = scorer.score(SAMPLE, FailedResponse("out of memory"))
    metrics = scorer.aggregate([right, failed])
    assert (metrics["acc"].value, metrics["acc"].n) == (0.5, 2)
    assert (metrics["brier"].value, metrics["brier"].n) == (0.0, 1)
    assert metrics["ece"].n == 1
    assert set(scorer.aggregate([failed])) == {
        "acc",
        "acc_norm",
        "acc_bytes",
        "acc_tokens",
        "acc_pmi",
    }


def test_two_contexts_are_calibrated_too() -> None:
    sample = Sample("s", {}, target=0, choices=("지수가", "은서가"))
    score = ContextLikelihood().score(sample, LoglikelihoodResponse((LOG(0.8), LOG(0.2))))
    assert score.metrics["brier"] == pytest.approx(0.08)


def test_scores_per_subject_and_token_counts_from_the_command_line(
    ko_eval: Command, tmp_path: Path
) -> None:
    rows = [
        {
            "id": i,
            "question": f"질문 {i}",
            "choices": ["가", "나"],
            "answer": "A",
            "subject": subject,
        }
        for i, subject in enumerate(["국어", "국어", "수학"])
    ]
    # Right by its sum in row 0 only, and by its sum per token in all.
    given = [
        {"id": i, "loglikelihoods": [-2 if i else -1, -1.5], "token_counts": [4, 1]}
        for i in range(3)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "given.jsonl").write_text("\n".join(map(json.dumps, given)))
    done = ko_eval(
        *("score", "kornat_knowledge", "--data", "rows.jsonl", "--responses", "given.jsonl"),
        "--json",
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["metrics"]["acc"]["value"] == pytest.approx(1 / 3)
    assert result["metrics"]["acc_tokens"]["value"] == 1.0
    shown = {name: (group["value"], group["n"]) for name, group in result["groups"].items()}
    assert shown == {"국어": (0.5, 2), "수학": (0.0, 1)}
