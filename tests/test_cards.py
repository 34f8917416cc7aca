"""Score cards: those that ship, and those that users write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hostile import Run, refused
from pydantic import ValidationError
from short_runs import NINE

from ko_eval.errors import TaskError
from ko_eval.runs.card_making import card_text
from ko_eval.runs.cards import Card, all_cards, card_names, load_card
from ko_eval.scorers.registry import create_scorer
from ko_eval.stats.reachability import reachable
from ko_eval.tasks.registry import load_suite, load_task

BOARD = [name for name in card_names() if name.startswith("leaderboard2-")]
FULL = [name for name in BOARD if "partial" not in name]


def test_there_are_eleven_full_and_three_partial_rows_of_the_board() -> None:
    assert (len(FULL), len(BOARD)) == (11, 14)
    for name in BOARD:
        card = load_card(name)
        assert card.data == "private"
        assert card.unknown
        assert (card.average is not None) == (name in FULL)


@pytest.mark.parametrize("name", FULL)
def test_a_full_row_has_the_nine_tasks_and_averages_to_what_was_published(name: str) -> None:
    card = load_card(name)
    assert card.tasks == NINE
    values = [score.value for score in card.shown.values()]
    assert card.average == pytest.approx(sum(values) / 9, abs=0.00501)
    inferred = [score for score in card.scores if score.status == "inferred"]
    assert [score.task for score in inferred] == ["ko_helpfulness"] * ("linkbricks" not in name)
    # An average and eight values that were rounded to two digits each.
    assert all(card.rounding_of(score) == pytest.approx((9 + 8) * 0.005) for score in inferred)


@pytest.mark.parametrize("name", card_names())
def test_a_card_names_tasks_metrics_and_variants_that_there_are(name: str) -> None:
    card = load_card(name)
    if card.suite is not None:
        assert set(card.tasks) <= set(load_suite(card.suite).tasks)
    for score in card.scores:
        task = load_task(score.task, variant=score.variant)
        scorer = create_scorer(task.scorer.name, task.scorer.parameters)
        assert score.metric in scorer.metrics
        assert card.shown[score.task].metric == task.metric


@pytest.mark.parametrize("name", card_names())
def test_every_value_that_must_be_a_count_is_one(name: str) -> None:
    card = load_card(name)
    for score in card.scores:
        if score.n is not None and score.steps is not None and score.status == "known":
            full = 100.0 if score.metric.startswith("percent_") else score.scale
            count = reachable(
                score.value, score.n * score.steps, digits=card.digits_of(score), scale=full
            )
            assert count is not None, score


@pytest.mark.parametrize("name", card_names())
def test_a_card_written_anew_is_the_same_card(name: str, tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(card_text(load_card(name)), encoding="utf-8")
    assert load_card(str(path)) == load_card(name)


def test_the_first_score_of_a_task_is_the_one_that_was_shown() -> None:
    card = load_card("leaderboard2-partial-gritlm-7b")
    assert card.shown["ko_gsm8k"].metric == "exact_match_strict"
    assert [s.value for s in card.scores if s.task == "ko_gsm8k"] == [23.43, 25.40]


def test_the_card_of_our_own_holds_the_nine_tasks_and_every_item() -> None:
    card = load_card("demo-bundled")
    assert card.tasks == tuple(card.items) == NINE
    assert load_suite(str(card.suite)).tasks == load_suite("leaderboard2").tasks
    assert (card.run.dtype, card.run.device, card.data) == ("float32", "cpu", "bundled")
    assert card.run.limit == min(score.n or 0 for score in card.scores)


def test_all_cards_are_by_name() -> None:
    assert list(all_cards()) == card_names()


SOUND: dict[str, Any] = {
    "model": "org/model",
    "source": "a table",
    "date": "2024-11",
    "data": "hub",
    "scores": [{"task": "kmmlu", "metric": "acc", "value": 50.0}],
    "margin": {"points": 1, "why": "so said"},
}


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"modell": "x"}, ("unknown field 'modell'", "did you mean 'model'")),
        ({"margin": {"points": 0, "why": "none"}}, ("greater than 0", "margin.points")),
        ({"margin": None}, ("margin",)),
        ({"data": "secret"}, ("'bundled', 'hub' or 'private'", "field 'data'")),
        ({"scores": []}, ("at least 1", "field 'scores'")),
        ({"scores": SOUND["scores"] * 2}, ("'acc' of task 'kmmlu' is given twice",)),
        (
            {"scores": [{**SOUND["scores"][0], "value": float("nan")}]},
            ("finite", "scores.0.value"),
        ),
        ({"scores": [{**SOUND["scores"][0], "n": 0}]}, ("scores.0.n",)),
        ({"scores": [{**SOUND["scores"][0], "task": "../../etc"}]}, ("scores.0.task",)),
        ({"items": {"ko_gpqa": {}}}, ("items.ko_gpqa",)),
        ({"model": "\x1b[31mred" + "x" * 10_000}, ("at most 500", "field 'model'")),
        ({"digits": -1}, ("field 'digits'",)),
    ],
)
def test_a_wrong_card_is_refused_with_its_field(
    here: Run, tmp_path: Path, change: dict[str, Any], parts: tuple[str, ...]
) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(yaml.safe_dump({**SOUND, **change}), encoding="utf-8")
    refused(here("reproduce", path, "run"), *parts)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "must hold a mapping"),
        (b"\xff\xfe", "not UTF-8"),
        (b"a: !!python/object/apply:os.system [true]", "not valid YAML"),
        (b"model: a\nmodel: b\n", "occurs twice"),
        (b"x: " + b"[" * 5000 + b"]" * 5000, "nested deeper"),
        (b"a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
         b"c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
         b"e: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n", "aliases"),
    ],
)  # fmt: skip
def test_what_is_no_card_is_refused(here: Run, tmp_path: Path, content: bytes, part: str) -> None:
    path = tmp_path / "card.yaml"
    path.write_bytes(content)
    refused(here("reproduce", path, "run"), part)


def test_a_card_that_is_not_there_is_refused_with_near_misses(here: Run, tmp_path: Path) -> None:
    refused(here("reproduce", "kmmlu-gpt4", "run"), "did you mean 'kmmlu-gpt-4'")
    refused(here("reproduce", tmp_path / "none.yaml", "run"), "is not there")
    refused(here("reproduce", f"{tmp_path}/", "run"), "no ordinary file")


def test_what_a_terminal_would_obey_is_written_out(here: Run, tmp_path: Path) -> None:
    from result_files import write_result

    path = tmp_path / "card.yaml"
    names = {"model": "\x1b[31mred\u202e", "source": "s", "margin": {"points": 1, "why": "\x07"}}
    path.write_text(yaml.safe_dump({**SOUND, **names}), encoding="utf-8")
    done = here("reproduce", path, write_result(tmp_path / "run"))
    assert done.code == 3
    assert "\\u001b[31mred\\u202e" in done.out
    assert "\x1b" not in done.out + done.err
    assert "\x07" not in done.out + done.err


def test_dates_may_be_written_as_yaml_reads_them() -> None:
    content = yaml.safe_load("2024-11-22")
    assert Card.model_validate({**SOUND, "date": content}).date == "2024-11-22"
    assert Card.model_validate({**SOUND, "date": 2024}).date == "2024"
    with pytest.raises(ValidationError):
        Card.model_validate({**SOUND, "date": ["2024"]})


def test_the_error_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    path.write_text("model: x\n", encoding="utf-8")
    with pytest.raises(TaskError) as error:
        load_card(str(path))
    assert str(path) in str(error.value)


def test_the_list_of_cards_says_what_was_published_where_and_on_what(here: Run) -> None:
    done = here("list", "cards")
    assert done.code == 0
    (row,) = [line for line in done.out.splitlines() if "leaderboard2-gemma-ko-v01" in line]
    for part in ("cpm-ai/gemma-ko-v01", "30.78", "private", "2025-04"):
        assert part in row
