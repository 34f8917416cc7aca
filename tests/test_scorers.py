"""Scorers against figures computed by hand from the published formulas."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ko_eval.errors import DataError, TaskError
from ko_eval.scorers.choice_likelihood import ChoiceLikelihood
from ko_eval.scorers.context_likelihood import ContextLikelihood
from ko_eval.scorers.eq_bench import EqBench, korean_ratings, parsed_ratings, scaled_difference
from ko_eval.scorers.graded_choice import GradedChoice
from ko_eval.scorers.gsm8k import Gsm8k, flexible_number, strict_number
from ko_eval.scorers.ifeval import Ifeval
from ko_eval.scorers.registry import create_scorer
from ko_eval.scorers.social_value import SocialValue
from ko_eval.types import (
    FailedResponse,
    GenerateResponse,
    JsonValue,
    LoglikelihoodResponse,
    Outcome,
    Sample,
)

FOUR = ("가", "나다", "라마바사", "abcdefgh")


def choice(target: int = 0, choices: tuple[str, ...] = FOUR, **fields: JsonValue) -> Sample:
    return Sample("s", fields, target=target, choices=choices)


def sums(*values: float) -> LoglikelihoodResponse:
    return LoglikelihoodResponse(values)


def text(content: str, finish: str = "stop") -> GenerateResponse:
    return GenerateResponse(content, finish_reason="length" if finish == "length" else "stop")


# --- choices ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "chosen"),
    [
        ("acc", 0),  # -2 is the highest sum
        ("acc_norm", 3),  # per character: -2, -1.5, -1, -0.5
        ("acc_bytes", 2),  # per byte: -2/3, -3/6, -4/12, -4/8
    ],
)
def test_each_normalisation_chooses_its_own(metric: str, chosen: int) -> None:
    response = sums(-2, -3, -4, -4)
    for target in range(4):
        score = ChoiceLikelihood().score(choice(target), response)
        assert score.metrics[metric] == float(target == chosen)


def test_the_first_of_equal_choices_wins() -> None:
    score = ChoiceLikelihood().score(choice(1, ("가", "나")), sums(-1, -1))
    assert score.metrics["acc"] == 0.0


def test_the_standard_error_of_a_share_is_the_references() -> None:
    scorer = ChoiceLikelihood()
    scores = [scorer.score(choice(t, ("가", "나")), sums(-1, -2)) for t in (0, 0, 0, 1)]
    metric = scorer.aggregate(scores)["acc"]
    assert metric.value == 0.75
    assert metric.stderr == pytest.approx(math.sqrt(0.75 * 0.25 / 3), abs=1e-15)


def test_equal_credits_do_not_make_a_score_certain() -> None:
    sample = choice(choices=("가나다라", "가나"), credits=[2 / 3, 1])
    scores = [GradedChoice().score(sample, sums(-4, -3)) for _ in range(5)]
    metric = GradedChoice().aggregate(scores)["credit_norm"]
    assert metric.value == pytest.approx(2 / 3)
    assert metric.stderr == pytest.approx(0)
    assert metric.low is not None
    assert metric.high is not None
    assert metric.low < 0.3 < 0.9 < metric.high


def test_one_sample_has_no_standard_error() -> None:
    scorer = ChoiceLikelihood()
    metric = scorer.aggregate([scorer.score(choice(), sums(-1, -2, -3, -4))])["acc"]
    assert (metric.stderr, metric.low, metric.high) == (None, None, None)


def test_two_contexts_are_compared_by_what_follows() -> None:
    score = ContextLikelihood().score(choice(1, ("A가", "B가")), sums(-9, -8))
    assert score.metrics == {"acc": 1.0}


def test_a_failed_sample_is_zero_and_counted_as_failed() -> None:
    score = ChoiceLikelihood().score(choice(), FailedResponse("out of memory"))
    assert (score.metrics["acc"], score.outcome) == (0.0, Outcome.FAILED)
    assert score.detail["reason"] == "out of memory"


def test_nan_is_an_error_not_a_choice() -> None:
    with pytest.raises(DataError, match="not a number"):
        ChoiceLikelihood().score(choice(), sums(-1, math.nan, -1, -1))


def test_the_number_of_loglikelihoods_must_fit() -> None:
    with pytest.raises(DataError, match="4 choices, but 2"):
        ChoiceLikelihood().score(choice(), sums(-1, -2))


def test_the_credit_of_the_chosen_response_is_the_score() -> None:
    sample = choice(choices=("가나다라", "가나"), credits=[1 / 3, 1])
    score = GradedChoice().score(sample, sums(-4, -3))
    assert score.metrics == {"credit_norm": 1 / 3, "credit": 1.0}


@pytest.mark.parametrize("credits", [None, [1], [1, 2], [1, "x"]])
def test_wrong_credits_are_refused(credits: JsonValue) -> None:
    with pytest.raises(DataError, match="credit"):
        GradedChoice().check(choice(choices=("가", "나"), credits=credits))


# --- social value ----------------------------------------------------------------------------

FIVE = ("전혀 동의하지 않음", "동의하지 않음", "보통", "동의함", "매우 동의함")


def chosen(index: int) -> LoglikelihoodResponse:
    return sums(*(0.0 if i == index else -50.0 for i in range(5)))


@pytest.mark.parametrize(
    ("shares", "index", "sva", "a_sva", "n_sva"),
    [
        ([0.1, 0.2, 0.1, 0.4, 0.2], 3, 0.4, 0.6, 0.6),  # agree has 0.6: the majority counts
        ([0.1, 0.2, 0.1, 0.4, 0.2], 0, 0.1, 0.3, 0.3),
        ([0.2, 0.2, 0.3, 0.2, 0.1], 2, 0.3, 0.3, 1.0),  # no half: neutral is the truth
        ([0.2, 0.2, 0.3, 0.2, 0.1], 1, 0.2, 0.4, 0.0),
        ([0.2, 0.3, 0.1, 0.2, 0.2], 1, 0.3, 0.5, 0.5),  # exactly one half is a majority
    ],
)
def test_social_value_alignment(
    shares: list[float], index: int, sva: float, a_sva: float, n_sva: float
) -> None:
    sample = choice(choices=FIVE, distribution=shares)
    metrics = SocialValue().score(sample, chosen(index)).metrics
    assert metrics == pytest.approx({"a_sva": a_sva, "sva": sva, "n_sva": n_sva})


def test_a_constant_answer_gets_the_mean_share() -> None:
    scorer = SocialValue()
    rows = ([0.1, 0.2, 0.1, 0.4, 0.2], [0.5, 0.2, 0.1, 0.1, 0.1])
    scores = [scorer.score(choice(choices=FIVE, distribution=r), chosen(4)) for r in rows]
    assert scorer.aggregate(scores)["a_sva"].value == pytest.approx((0.6 + 0.2) / 2)


def test_counts_and_percentages_are_scaled_and_a_letter_is_accepted() -> None:
    counts = choice(choices=FIVE, distribution=[10, 20, 10, 40, 20])
    letter = choice(choices=FIVE, distribution="D")
    assert SocialValue().score(counts, chosen(3)).metrics["sva"] == pytest.approx(0.4)
    score = SocialValue().score(letter, chosen(3))
    assert (score.metrics["sva"], score.detail["distribution_form"]) == (1.0, "letter")


def test_social_value_may_choose_per_character() -> None:
    sample = choice(choices=FIVE, distribution=[0.5, 0.2, 0.1, 0.1, 0.1])
    response = sums(-10, -9, -8, -9, -9)
    assert SocialValue().score(sample, response).extracted == "보통"
    per_character = SocialValue(normalize="characters").score(sample, response)
    assert per_character.extracted == "전혀 동의하지 않음"


# --- GSM8K -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "strict", "flexible"),
    [
        ("3 + 4 = 7\n#### 7", "7", "7"),
        ("#### 12,000", "12,000", "12,000"),
        ("#### 12,000원입니다.", "12,000", "12,000"),  # a full stop alone is no number
        ("####7", None, "7"),
        ("#### -3 아니 #### 5", "-3", "5"),
        ("정답은 42", None, "42"),
        ("답이 없다", None, None),
        ("값은 $1,200", None, "$1,200"),
    ],
)
def test_numbers_are_read_as_the_reference_reads_them(
    response: str, strict: str | None, flexible: str | None
) -> None:
    assert (strict_number(response), flexible_number(response)) == (strict, flexible)


@pytest.mark.parametrize(
    ("response", "strict", "flexible"),
    [
        ("#### 1,200", 1.0, 1.0),
        ("#### 1200.", 1.0, 1.0),
        ("#### $1200", 0.0, 1.0),  # strict-match stops at "$"
        ("#### 1200.0", 0.0, 0.0),  # strings are compared, not numbers
        ("답: 1200", 0.0, 1.0),
    ],
)
def test_gsm8k_compares_strings(response: str, strict: float, flexible: float) -> None:
    sample = Sample("s", {}, target="4 × 300 = 1200\n#### 1200")
    metrics = Gsm8k().score(sample, text(response)).metrics
    assert metrics == {"exact_match_strict": strict, "exact_match_flexible": flexible}


@pytest.mark.parametrize(
    ("finish", "outcome"), [("stop", Outcome.NO_ANSWER), ("length", Outcome.TRUNCATED)]
)
def test_an_unread_answer_says_why(finish: str, outcome: Outcome) -> None:
    sample = Sample("s", {}, target="#### 3")
    assert Gsm8k().score(sample, text("생각해 보면", finish)).outcome is outcome


# --- EQ-Bench --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("distance", "inclusive", "exclusive"),
    [
        (0, 0.0, 0.0),
        (1, 6.5 / (1 + math.e**3.6), 6.5 / (1 + math.e**3.6)),
        (4, 3.25, 3.25),
        (5, 6.5 / (1 + math.e**-1.2), 5.0),
        (6, 6.0, 6.0),
        (10, 10.0, 10.0),
    ],
)
def test_the_curve_of_rating_differences(
    distance: float, inclusive: float, exclusive: float
) -> None:
    assert scaled_difference(distance, "<=5") == pytest.approx(inclusive, abs=1e-12)
    assert scaled_difference(distance, "<5") == pytest.approx(exclusive, abs=1e-12)


REFERENCE: dict[str, JsonValue] = {
    "emotion1": "기쁨",
    "emotion1_score": 8,
    "emotion2": "서운함",
    "emotion2_score": "3",
    "emotion3": "불안",
    "emotion3_score": 0,
    "emotion4": "마음이 놓임",
    "emotion4_score": 5.0,
}
ONE_WORD: dict[str, JsonValue] = {**REFERENCE, "emotion4": "안도감"}


def eq_sample(reference: JsonValue = ONE_WORD) -> Sample:
    return Sample("q", {"reference_answer_fullscale": reference})


def test_exact_ratings_score_100() -> None:
    answer = "기쁨: 8\n서운함: 3\n불안: 0\n안도감: 5"
    metrics = EqBench().score(eq_sample(), text(answer)).metrics
    assert (metrics["eqbench"], metrics["percent_parseable"]) == (100.0, 100.0)


def test_a_rating_may_cost_more_than_all_points() -> None:
    answer = "기쁨: 0\n서운함: 10\n불안: 10\n안도감: 10"
    metrics = EqBench().score(eq_sample(), text(answer)).metrics
    distance_5 = 6.5 / (1 + math.e**-1.2)
    assert metrics["eqbench"] == pytest.approx((10 - 0.7477 * (8 + 7 + 10 + distance_5)) * 10)
    assert metrics["eqbench"] < 0


@pytest.mark.parametrize(
    ("answer", "board", "korean"),
    [
        ("기쁨: 8\n서운함: 3\n불안: 0\n마음이 놓임: 5", False, True),  # a name with a space
        ("**기쁨**: 8\n**서운함**: 3\n**불안**: 0\n**마음이 놓임**: 5", False, True),
        ("기쁨：8\n서운함：3\n불안：0\n마음이 놓임：5", False, True),  # full-width colons
        ("- 기쁨: 8\n- 서운함: 3\n- 불안: 0\n- 마음이 놓임: 5점", False, True),
        ("기쁨: 8 서운함: 3 불안: 0 마음이 놓임: 5", False, True),
        ("기쁨: 8, 서운함: 3, 불안: 0, 마음이 놓임: 5", False, True),
        ("기쁨: 8\n서운함: 3\n불안: 0", False, False),  # one is missing
        ("기쁨: 80\n서운함: 3\n불안: 0\n마음이 놓임: 5", False, False),  # not from 0 to 10
    ],
)
def test_the_two_parsers(answer: str, board: bool, korean: bool) -> None:
    names = ("기쁨", "서운함", "불안", "마음이 놓임")
    assert (parsed_ratings(answer, names) is not None) == board
    assert (korean_ratings(answer, names) is not None) == korean


def test_the_board_lets_a_later_duplicate_overwrite() -> None:
    names = ("기쁨", "서운함", "불안", "안도감")
    answer = "기쁨: 1\n서운함: 3\n불안: 0\n안도감: 5\n기쁨: 8"
    assert parsed_ratings(answer, names) == {"기쁨": 8, "서운함": 3, "불안": 0, "안도감": 5}


def test_the_board_refuses_a_fifth_pair() -> None:
    names = ("기쁨", "서운함", "불안", "안도감")
    assert parsed_ratings("기쁨: 1\n서운함: 3\n불안: 0\n안도감: 5\n점수: 9", names) is None


def test_unreadable_answers_count_zero_or_not_at_all() -> None:
    good, bad = text("기쁨: 8\n서운함: 3\n불안: 0\n안도감: 5"), text("모르겠습니다")
    for scorer, value in ((EqBench(), 50.0), (EqBench(unparseable="exclude"), 100.0)):
        scores = [scorer.score(eq_sample(), response) for response in (good, bad)]
        metrics = scorer.aggregate(scores)
        assert metrics["eqbench"].value == value
        assert metrics["percent_parseable"].value == 50.0
    assert metrics["valid"].value == 0.0  # under 83 % readable


def test_references_may_be_python_literals_in_strings() -> None:
    score = EqBench().score(
        eq_sample(str(ONE_WORD)), text("기쁨: 8\n서운함: 3\n불안: 0\n안도감: 5")
    )
    assert score.metrics["eqbench"] == 100.0


@pytest.mark.parametrize("reference", [None, "nonsense", {}, {**ONE_WORD, "emotion2": "기쁨"}])
def test_wrong_references_are_refused(reference: JsonValue) -> None:
    with pytest.raises(DataError, match="emotion1"):
        EqBench().check(eq_sample(reference))


# --- cells that hold a list or an object as text -----------------------------------------------


@pytest.mark.parametrize("cell", ["[1, 2, 1, 4, 2]", "(1, 2, 1, 4, 2)", '{"no": "list"}'])
def test_a_distribution_may_be_written_as_text(cell: str) -> None:
    sample = choice(choices=FIVE, distribution=cell)
    if cell.startswith("{"):
        with pytest.raises(DataError, match="five non-negative numbers"):
            SocialValue().check(sample)
    else:
        assert SocialValue().score(sample, chosen(3)).metrics["sva"] == pytest.approx(0.4)


@pytest.mark.parametrize("cell", ["null", "None"])
def test_instructions_may_be_written_as_json_or_as_python(cell: str) -> None:
    fields: dict[str, JsonValue] = {
        "prompt": "쉼표 없이",
        "instruction_id_list": '["punctuation:no_comma"]',
        "kwargs": f'[{{"num_words": {cell}}}]',
    }
    score = Ifeval().score(Sample("i", fields), text("예"))
    assert score.metrics["prompt_level_strict_acc"] == 1.0


@pytest.mark.parametrize("cell", ["[" * 100_000, "9" * 10_000, "[" + "9" * 400 + ", 1, 1, 1, 1]"])
def test_a_hostile_cell_is_refused_and_not_a_crash(cell: str) -> None:
    with pytest.raises(DataError):
        SocialValue().check(choice(choices=FIVE, distribution=cell))
    with pytest.raises(DataError):
        EqBench().check(eq_sample(cell))
    with pytest.raises(DataError):
        Ifeval().check(Sample("i", {"prompt": "p", "instruction_id_list": cell, "kwargs": "[]"}))


# --- all -------------------------------------------------------------------------------------


@given(st.text(max_size=300))
def test_no_text_makes_a_parser_fail(content: str) -> None:
    Gsm8k().score(Sample("s", {}, target="#### 1"), text(content))
    EqBench().score(eq_sample(), text(content))


def test_a_hundred_thousand_digits_take_no_time_and_overflow_nothing() -> None:
    digits = "9" * 100_000
    Gsm8k().score(Sample("s", {}, target="#### 1"), text("#### " + digits))
    EqBench().score(eq_sample(), text(f"기쁨: {digits}\n서운함: 3\n불안: 0\n안도감: 5"))


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("gsm8", {}, "did you mean 'gsm8k'"),
        ("eq_bench", {"boundry": "<5"}, "did you mean 'boundary'"),
        ("eq_bench", {"boundary": "<6"}, "<=5, <5"),
        ("gsm8k", {"x": 1}, "takes no parameters"),
    ],
)
def test_an_unknown_scorer_or_parameter_is_explained(
    name: str, parameters: dict[str, JsonValue], message: str
) -> None:
    with pytest.raises(TaskError) as caught:
        create_scorer(name, parameters)
    assert message in str(caught.value)
