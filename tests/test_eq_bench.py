"""EQ-Bench: both parsers and the published formula, on small answers and on the public questions.

The questions lie outside the repository: `KO_EVAL_DATA`, by default `../shared/data` next to it.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import re
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ko_eval.errors import DataError
from ko_eval.korean.answers.ratings import extract_ratings
from ko_eval.scorers.eq_bench import (
    EqBench,
    parsed_ratings,
    reference_ratings,
    scaled_difference,
    word_number_pairs,
)
from ko_eval.stats.estimates import wilson_interval
from ko_eval.tasks.registry import load_task
from ko_eval.types import GenerateResponse, JsonValue, Outcome, Sample

Command = Callable[..., subprocess.CompletedProcess[str]]
REPOSITORY = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("KO_EVAL_DATA") or REPOSITORY.parent / "shared" / "data")
QUESTIONS = DATA / "eqbench-v2-questions"
ENGLISH = QUESTIONS / "eq_bench_v2_questions_171.json"
GERMAN = QUESTIONS / "eq_bench_v2_questions_171_de.json"
FIRST_VERSION = QUESTIONS / "eq_bench_v1_questions_60.json"

needs_questions = pytest.mark.skipif(not QUESTIONS.is_dir(), reason=f"no folder {QUESTIONS}")

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
GOLD = "기쁨: 8\n서운함: 3\n불안: 0\n안도감: 5"


def question(reference: JsonValue = ONE_WORD) -> Sample:
    return Sample("q", {"reference_answer_fullscale": reference})


def text(content: str) -> GenerateResponse:
    return GenerateResponse(content, finish_reason="stop")


# --- The formula ---


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


@pytest.mark.parametrize(
    ("distance", "inclusive", "exclusive"),
    # 100 − 10 · 0.7477 · f(d), worked out with a calculator to five places.
    [
        (0, 100.0, 100.0),
        (1, 98.70737, 98.70737),
        (4, 75.69975, 75.69975),
        (5, 62.64931, 62.61500),
        (6, 55.138, 55.138),
        (10, 25.23, 25.23),
    ],
)
def test_one_wrong_rating_costs_what_the_formula_says(
    distance: int, inclusive: float, exclusive: float
) -> None:
    reference: dict[str, JsonValue] = {**ONE_WORD, "emotion1_score": 0}
    answer = text(f"기쁨: {distance}\n서운함: 3\n불안: 0\n안도감: 5")
    for boundary, expected in (("<=5", inclusive), ("<5", exclusive)):
        scorer = EqBench(boundary="<=5" if boundary == "<=5" else "<5")
        metrics = scorer.score(question(reference), answer).metrics
        assert metrics["eqbench"] == pytest.approx(expected, abs=1e-5)
        assert metrics["eqbench_korean"] == metrics["eqbench"]


def test_exact_ratings_score_100() -> None:
    metrics = EqBench().score(question(), text(GOLD)).metrics
    assert (metrics["eqbench"], metrics["percent_parseable"]) == (100.0, 100.0)


def test_a_rating_may_cost_more_than_all_points() -> None:
    answer = "기쁨: 0\n서운함: 10\n불안: 10\n안도감: 10"
    metrics = EqBench().score(question(), text(answer)).metrics
    distance_5 = 6.5 / (1 + math.e**-1.2)
    assert metrics["eqbench"] == pytest.approx((10 - 0.7477 * (8 + 7 + 10 + distance_5)) * 10)
    assert metrics["eqbench"] < 0


# --- The parsers ---


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
    assert (extract_ratings(answer, names) is not None) == korean


def test_the_board_reads_the_last_word_of_a_name_alone() -> None:
    names = ("기쁨", "서운함", "불안", "마음이 놓임")
    answer = "기쁨: 8\n서운함: 3\n불안: 0\n마음이 놓임: 5"
    assert parsed_ratings(answer, names) is None
    assert parsed_ratings(answer, (*names[:3], "놓임")) is not None


def test_the_board_lets_a_later_duplicate_overwrite() -> None:
    names = ("기쁨", "서운함", "불안", "안도감")
    answer = "기쁨: 1\n서운함: 3\n불안: 0\n안도감: 5\n기쁨: 8"
    assert parsed_ratings(answer, names) == {"기쁨": 8, "서운함": 3, "불안": 0, "안도감": 5}


def test_the_board_refuses_a_fifth_pair() -> None:
    names = ("기쁨", "서운함", "불안", "안도감")
    assert parsed_ratings("기쁨: 1\n서운함: 3\n불안: 0\n안도감: 5\n점수: 9", names) is None


@given(st.text(alphabet="가 a_1:\n٣²", max_size=40) | st.text(max_size=80))
def test_the_board_reads_pairs_as_the_references_pattern_does(content: str) -> None:
    assert word_number_pairs(content) == re.findall(r"(\w+):\s+(\d+)", content)


@pytest.mark.parametrize("unit", ["가", "기쁨:", "기쁨: ", ": 1", "1:"])
def test_the_boards_parser_takes_bounded_time(unit: str) -> None:
    start = time.perf_counter()
    word_number_pairs(unit * (100_000 // len(unit)))
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize(
    ("reading", "outcome"), [("published", Outcome.NO_ANSWER), ("korean", Outcome.OK)]
)
def test_the_reading_decides_the_outcome(
    reading: Literal["published", "korean"], outcome: Outcome
) -> None:
    answer = text("기쁨은 8점, 서운함은 3점, 불안은 0점, 마음이 놓임은 5점입니다.")
    score = EqBench(reading=reading).score(question(REFERENCE), answer)
    assert score.outcome is outcome
    assert (score.metrics["eqbench"], score.metrics["eqbench_korean"]) == (0.0, 100.0)


# --- Both aggregations ---


def test_unreadable_answers_count_zero_or_not_at_all() -> None:
    good, bad = text(GOLD), text("모르겠습니다")
    for scorer, value in ((EqBench(), 50.0), (EqBench(unparseable="exclude"), 100.0)):
        scores = [scorer.score(question(), response) for response in (good, bad)]
        metrics = scorer.aggregate(scores)
        assert metrics["eqbench"].value == value
        assert metrics["eqbench_korean"].value == value
        assert metrics["percent_parseable"].value == 50.0
        assert ("valid" in metrics) is (scorer.unparseable == "exclude")


@pytest.mark.parametrize(("readable", "valid"), [(82, 0.0), (83, 1.0), (100, 1.0)])
def test_a_result_under_83_percent_readable_is_invalid(readable: int, valid: float) -> None:
    scorer = EqBench(unparseable="exclude")
    answers = [text(GOLD)] * readable + [text("모르겠습니다")] * (100 - readable)
    metrics = scorer.aggregate([scorer.score(question(), answer) for answer in answers])
    assert (metrics["valid"].value, metrics["percent_parseable"].value) == (valid, readable)


def test_points_that_are_all_alike_are_not_certain() -> None:
    scores = [EqBench().score(question(), text("모르겠습니다")) for _ in range(4)]
    unread = EqBench().aggregate(scores)["eqbench"]
    # As many of the items not seen as none of 4 allows may be worth any points.
    share = wilson_interval(0, 4)[1]
    assert (unread.value, unread.stderr) == (0.0, 0.0)
    assert unread.high == pytest.approx(100 * share)
    assert unread.low == pytest.approx(-100 * share)
    scores = [EqBench().score(question(), text(GOLD)) for _ in range(4)]
    perfect = EqBench().aggregate(scores)["eqbench"]
    assert perfect.high == 100.0
    assert perfect.low == pytest.approx(100 - 200 * share)


# --- References ---


def test_references_may_be_python_literals_in_strings() -> None:
    assert EqBench().score(question(str(ONE_WORD)), text(GOLD)).metrics["eqbench"] == 100.0


@pytest.mark.parametrize("reference", [None, "nonsense", {}, {**ONE_WORD, "emotion2": "기쁨"}])
def test_wrong_references_are_refused(reference: JsonValue) -> None:
    with pytest.raises(DataError, match="emotion1"):
        EqBench().check(question(reference))


@pytest.mark.parametrize("cell", ["[" * 100_000, "9" * 10_000, "[" + "9" * 400 + ", 1, 1, 1, 1]"])
def test_a_hostile_reference_is_refused_and_not_a_crash(cell: str) -> None:
    with pytest.raises(DataError):
        EqBench().check(question(cell))


@given(st.text(max_size=300))
def test_no_text_makes_the_scorer_fail(content: str) -> None:
    EqBench().score(question(), text(content))


def test_a_hundred_thousand_digits_overflow_nothing() -> None:
    scorer = EqBench()
    scores = [
        scorer.score(question(ONE_WORD), text(f"기쁨: {'9' * many}\n서운함: 3\n불안: 0\n안도감: 5"))
        for many in (1, 200, 100_000)
    ]
    assert scores[2].metrics["percent_parseable"] == 100.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric = scorer.aggregate(scores)["eqbench"]
    assert metric.stderr is not None and math.isfinite(metric.stderr)


def test_the_korean_variant_leads_with_the_korean_reading_and_has_more_room() -> None:
    task = load_task("ko_eqbench", variant="korean")
    assert (task.metric, task.max_tokens) == ("eqbench_korean", 512)
    assert task.protocol["max_tokens"].status == "assumed"
    assert load_task("ko_eqbench").max_tokens == 80


# --- The public questions ---


def questions(path: Path) -> Iterator[Sample]:
    content: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return (Sample(key, fields) for key, fields in content.items())


@needs_questions
@pytest.mark.parametrize(
    ("path", "count"), [(ENGLISH, 171), (GERMAN, 171), (FIRST_VERSION, 60)], ids=["en", "de", "v1"]
)
def test_the_references_as_answers_score_100_in_both_parsers(path: Path, count: int) -> None:
    scorer = EqBench()
    scores = [scorer.score(sample, scorer.gold(sample)) for sample in questions(path)]
    assert len(scores) == count
    # No name in these three files holds a space; the board's parser reads all of them.
    for name in ("eqbench", "eqbench_korean", "percent_parseable", "percent_parseable_korean"):
        assert {score.metrics[name] for score in scores} == {100.0}


def mean_points(answers: Iterator[list[int]], repeats: int = 1) -> float:
    """Of such ratings for every public English question."""
    points = []
    for sample, ratings in zip(list(questions(ENGLISH)) * repeats, answers, strict=False):
        rated = zip(reference_ratings(sample), ratings, strict=True)
        answer = text("\n".join(f"{name}: {rating}" for name, rating in rated))
        points.append(EqBench().score(sample, answer).metrics["eqbench"])
    return sum(points) / len(points)


@needs_questions
def test_random_ratings_earn_nothing_but_the_same_low_rating_does() -> None:
    chosen = random.Random(0)
    by_chance = ([chosen.randint(0, 10) for _ in range(4)] for _ in itertools.count())
    assert abs(mean_points(by_chance, repeats=8)) < 4
    constant = [mean_points(itertools.repeat([rating] * 4)) for rating in range(11)]
    assert (max(constant), min(constant)) == (constant[3], constant[10])
    assert round(constant[10]) == -79
    index = REPOSITORY / "configs" / "suites" / "ko-index.yaml"
    assert f"a rating of 3 for everything earns {constant[3]:.1f}" in index.read_text("utf-8")


@needs_questions
@pytest.mark.parametrize("path", [ENGLISH, GERMAN], ids=["en", "de"])
def test_an_answer_in_the_format_of_the_original_counts_its_revised_scores(path: Path) -> None:
    for sample in questions(path):
        reference = reference_ratings(sample)
        first = "\n".join(f"{name}: 10" for name in reference)
        revised = "\n".join(f"{name}: {value:g}" for name, value in reference.items())
        answer = f"First pass scores:\n{first}\n\nCritique: too high\n\nRevised scores:\n{revised}"
        assert parsed_ratings(answer, tuple(reference)) == reference
        assert extract_ratings(answer, tuple(reference)) == reference


@needs_questions
@pytest.mark.parametrize("boundary", ["<=5", "<5"])
def test_shuffled_ratings_score_what_the_formula_gives(boundary: Literal["<=5", "<5"]) -> None:
    order = random.Random(20240711)
    scorer, distances = EqBench(boundary=boundary), set()
    for sample in questions(ENGLISH):
        reference = reference_ratings(sample)
        values = list(reference.values())
        order.shuffle(values)
        cost = 0.0
        for given_value, value in zip(values, reference.values(), strict=True):
            distance = abs(given_value - value)
            distances.add(distance)
            if distance > 5 or (distance == 5 and boundary == "<5"):
                cost += distance
            elif distance:
                cost += 6.5 / (1 + math.exp(4.8 - 1.2 * distance))
        answer = ", ".join(f"{n}: {v:g}" for n, v in zip(reference, values, strict=True))
        metrics = scorer.score(sample, text(answer)).metrics
        assert metrics["eqbench"] == pytest.approx(100 - 7.477 * cost)
        assert metrics["eqbench_korean"] == metrics["eqbench"]
    assert {0, 1, 4, 5, 6} <= distances


@needs_questions
@pytest.mark.parametrize(("unparseable", "value"), [("zero", 100 * 170 / 171), ("exclude", 100.0)])
def test_the_command_line_scores_the_published_file(
    ko_eval: Command, tmp_path: Path, unparseable: str, value: float
) -> None:
    (tmp_path / "eq_bench_en.yaml").write_text(
        "name: eq_bench_en\nrequest: generate\ncolumns:\n  id: id\n  prompt: prompt\n"
        "  reference_answer_fullscale: reference_answer_fullscale\n"
        f'prompt: "{{{{ prompt }}}}"\nscorer: {{name: eq_bench, unparseable: {unparseable}}}\n'
        "metric: eqbench\nscale: 1\n",
        encoding="utf-8",
    )
    samples = list(questions(ENGLISH))
    answers = {sample.id: EqBench().gold(sample) for sample in samples}
    answers[samples[0].id] = text("I would rather not say.")
    lines = [
        json.dumps({"id": key, "response": answer.text})
        for key, answer in answers.items()
        if isinstance(answer, GenerateResponse)
    ]
    (tmp_path / "answers.jsonl").write_text("\n".join(lines), encoding="utf-8")
    done = ko_eval(
        *("score", "eq_bench_en.yaml", "--data", ENGLISH, "--responses", "answers.jsonl", "--json")
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["n"] == 171
    assert printed["metrics"]["eqbench"]["value"] == pytest.approx(value)
    assert printed["metrics"]["percent_parseable"]["value"] == pytest.approx(100 * 170 / 171)
