"""The index: what its file says, what it makes of results, and what it shows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console
from short_runs import NINE, make_suite, options

from ko_eval.errors import TaskError
from ko_eval.reports.table import result_table
from ko_eval.runs.cards import all_cards
from ko_eval.runs.evaluate import RunOutcome, evaluate
from ko_eval.runs.index import definition_hash, index_of, shipped_index, with_index
from ko_eval.runs.levels import levels
from ko_eval.runs.plan import RunOptions, load_tasks, plan_run
from ko_eval.runs.result import Index, Levels, RunResult, TaskReport, Value, read_result
from ko_eval.scorers.likelihoods import choosing
from ko_eval.stats.composite import separation
from ko_eval.tasks.definition import IndexDefinition, TaskDefinition
from ko_eval.tasks.prepare import prepare_samples
from ko_eval.tasks.registry import load_suite, load_task

SUITE = shipped_index()


def definition() -> IndexDefinition:
    assert SUITE.index is not None
    return SUITE.index


def entry_points(name: str, which: str) -> float:
    entry = definition().entries[name]
    return entry.chance.value if which == "chance" else entry.best.value


def report(name: str, metrics: Mapping[str, float]) -> TaskReport:
    """A task's part of a result with these metrics in points, the first of them leading."""
    task = load_task(name, check_scorer=False)
    values = {m: Value(value=v, stderr=1.0, low=v - 2, high=v + 2, n=9) for m, v in metrics.items()}
    leading = next(iter(metrics))
    own = {
        m: Value(
            value=v.value / task.scale,
            stderr=1 / task.scale,
            low=(v.value - 2) / task.scale,
            high=(v.value + 2) / task.scale,
            n=9,
        )
        for m, v in values.items()
    }
    data = {"label": "bundled", "source": name, "sha256": "0", "revision": None, "dropped": 0}
    return TaskReport.model_validate(
        {
            "name": name,
            "title": task.title,
            "board_key": task.board_key,
            "category": task.category,
            "variant": None,
            "metric": leading,
            "shown": values[leading],
            "metrics": own,
            "n": 9,
            "outcomes": {"ok": 9},
            "shots": 0,
            "chat_template": False,
            "data": data,
            "fewshot": None,
            "truncated": 0,
            "tokens": {"prompt": 0, "completion": 0, "thinking": 0},
            "seconds": 0.0,
            "definition_sha256": "0",
            "protocol": {},
            "notes": [],
        }
    )


def reports(points: Mapping[str, float] | str) -> list[TaskReport]:
    """The nine tasks as leaderboard2 reports them, all metrics of a task equal.

    Args:
        points: by task, or `chance` or `best` for the index's own levels.
    """
    found = []
    for name in NINE:
        task = load_task(name, check_scorer=False)
        entry = definition().entries[name]
        value = entry_points(name, points) if isinstance(points, str) else points[name]
        names = [str(task.metric), *([entry.metric] if entry.metric else [])]
        found.append(report(name, dict.fromkeys(names, value)))
    return found


def computed(tasks: list[TaskReport]) -> Index:
    index = index_of(None, tasks)
    assert index is not None
    return index


def test_the_file_knows_each_tasks_published_metric_and_scale() -> None:
    assert set(definition().entries) == set(NINE) == set(SUITE.tasks)
    for name, entry in definition().entries.items():
        task = load_task(name)
        assert entry.published in (None, task.metric)
        assert (entry.metric is None) == (entry.published is None)
        if entry.metric is not None:
            assert entry.scale == task.scale


# Ko-Harmlessness has about 10,000 items, inferred from the grain of published values.
HARMLESSNESS_ITEMS = 10_000


def published_separation(task: str) -> tuple[float, float]:
    """Of the board's eleven full rows: the task's reliability, and how far the first is above."""
    cards = [c for c in all_cards().values() if c.suite == "leaderboard2" and len(c.scores) == 9]
    assert len(cards) == 11
    rows = sorted(cards, key=lambda card: -float(card.average or 0))
    scores = [score for card in rows for score in card.scores if score.task == task]
    values = [score.value for score in scores]
    items = scores[0].n or HARMLESSNESS_ITEMS
    shares = [min(max(value / 100, 0), 1) for value in values]
    errors = [100 * math.sqrt(share * (1 - share) / (items - 1)) for share in shares]
    found = separation(values, errors)
    assert found is not None
    return found.reliability, values[0] - max(values[1:])


@pytest.mark.parametrize("name", NINE)
def test_reasons_of_weights_tell_how_published_rows_differ(name: str) -> None:
    reliability, above = published_separation(name)
    (why,) = [group.why for group in definition().categories.values() if name in group.tasks]
    assert f"{reliability:.2f}" in why
    if above > 0 and name != "kornat_knowledge":
        assert f"{above:.1f}" in why


def test_the_first_place_is_not_above_small_models_where_tasks_hardly_separate() -> None:
    hardly = ("ko_gpqa", "kornat_social_value", "ko_harmlessness", "ko_helpfulness")
    above = {name: published_separation(name)[1] for name in NINE}
    assert all(above[name] < 1 for name in hardly)
    assert all(above[name] > 2 for name in NINE if name not in hardly)


def test_the_index_suite_asks_what_the_board_asks() -> None:
    board = load_suite("leaderboard2")
    assert SUITE.tasks == board.tasks
    for name in NINE:
        plain, changed = load_task(name), load_task(name, overrides=SUITE.overrides.get(name))
        judged = {"scorer", "metric", "protocol"}
        assert plain.model_dump(exclude=judged) == changed.model_dump(exclude=judged)


def test_every_weight_and_level_has_a_reason() -> None:
    assert list(definition().categories) == [
        *("knowledge", "reasoning", "mathematics", "instruction"),
        *("emotion", "values", "safety"),
    ]
    assert sum(group.weight for group in definition().categories.values()) == 100
    for group in definition().categories.values():
        assert len(group.why) > 40
        for entry in group.tasks.values():
            assert len(entry.chance.why) > 15


@pytest.mark.parametrize(("which", "expected"), [("chance", 0.0), ("best", 100.0)])
def test_a_guess_is_0_and_a_perfect_model_100(which: str, expected: float) -> None:
    index = computed(reports(which))
    assert index.shown.value == pytest.approx(expected, abs=1e-9)
    values = [part.corrected for part in index.tasks] + [part.shown for part in index.categories]
    assert [one.value for one in values] == pytest.approx([expected] * 16, abs=1e-9)


def test_below_chance_is_below_0() -> None:
    worse = {name: entry_points(name, "chance") for name in NINE} | {"kornat_knowledge": 5.58}
    index = computed(reports(worse))
    task = next(part for part in index.tasks if part.name == "kornat_knowledge")
    assert task.corrected.value == pytest.approx(100 * (5.58 - 25) / 75)
    assert index.shown.value == pytest.approx(0.20 / 2 * task.corrected.value)


def test_shares_of_tasks_and_of_categories_sum_to_1_and_give_the_index() -> None:
    index = computed(reports(dict(zip(NINE, range(55, 100, 5), strict=True))))
    assert sum(part.weight for part in index.tasks) == pytest.approx(1)
    assert sum(part.weight for part in index.categories) == pytest.approx(1)
    weighted = sum(part.weight * part.shown.value for part in index.categories)
    assert index.shown.value == pytest.approx(weighted)
    assert index.plain_average.value == pytest.approx(75)


def test_the_error_of_the_index_is_that_of_independent_tasks() -> None:
    index = computed(reports("chance"))
    errors = [part.weight * 100 / (part.levels.best - part.levels.chance) for part in index.tasks]
    assert index.shown.stderr == pytest.approx(math.hypot(*errors))
    assert index.shown.low == pytest.approx(-2 * math.hypot(*errors))


def test_the_index_counts_the_korean_reading_and_the_average_the_published_one() -> None:
    tasks = [task for task in reports("chance") if task.name != "ko_gsm8k"]
    tasks.append(report("ko_gsm8k", {"exact_match_strict": 18.0, "exact_match_korean": 90.0}))
    index = computed(tasks)
    assert index.shown.value == pytest.approx(0.20 * 90)
    chances = [entry_points(name, "chance") for name in NINE if name != "ko_gsm8k"]
    assert index.plain_average.value == pytest.approx((sum(chances) + 18) / 9)


def test_the_suites_give_the_same_index_and_the_same_plain_average() -> None:
    points = dict(zip(NINE, range(55, 100, 5), strict=True))
    board = reports(points)
    own = [
        task.model_copy(
            update={"metric": metric, "shown": Value.of(task.shown.metric())} if metric else {}
        )
        for task in board
        for metric in [definition().entries[task.name].metric]
    ]
    assert [task.metric for task in own] != [task.metric for task in board]
    assert computed(own) == computed(board)


@pytest.mark.parametrize("name", NINE)
def test_without_one_of_its_tasks_there_is_no_index(name: str) -> None:
    assert index_of(None, [task for task in reports("best") if task.name != name]) is None


def test_without_the_korean_reading_there_is_no_index() -> None:
    tasks = [task for task in reports("best") if task.name != "ko_eqbench"]
    assert index_of(None, [*tasks, report("ko_eqbench", {"eqbench": 50.0})]) is None


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -1e308])
def test_values_that_no_mean_can_be_taken_of_give_no_index(wrong: float) -> None:
    tasks = reports("best")
    *others, last = tasks
    for field in ("value", "stderr", "high"):
        for place, task in enumerate(tasks):
            values = {name: v.model_copy(update={field: wrong}) for name, v in task.metrics.items()}
            shown = task.shown.model_copy(update={field: wrong})
            changed = task.model_copy(update={"shown": shown, "metrics": values})
            assert index_of(None, [*tasks[:place], changed, *tasks[place + 1 :]]) is None
    none = last.shown.model_copy(update={"stderr": None, "low": None, "high": None})
    index = computed([*others, last.model_copy(update={"shown": none})])
    assert index.shown.value == pytest.approx(100)
    assert index.shown.stderr is None


def test_levels_that_make_no_sense_are_not_taken() -> None:
    tasks = reports("best")
    levels_given = Levels(chance=60.0, best=50.0)
    tasks[0] = tasks[0].model_copy(update={"levels": levels_given})
    index = computed(tasks)
    assert [part.levels_are for part in index.tasks if part.name == NINE[0]] == ["known"]


def test_levels_of_a_result_go_before_those_of_the_file() -> None:
    tasks = reports("chance")
    place = NINE.index("kornat_social_value")
    assert computed(tasks).tasks[-3].levels_are == "assumed"
    given = {"levels": {"chance": 40.0, "best": 60.0}, "shown": tasks[place].shown.model_dump()}
    tasks[place] = TaskReport.model_validate({**tasks[place].model_dump(), **given})
    part = next(p for p in computed(tasks).tasks if p.name == "kornat_social_value")
    assert part.levels_are == "computed"
    assert part.corrected.value == pytest.approx(100 * (51.01 - 40) / 20)


def test_only_numbers_make_another_index() -> None:
    content = definition().model_dump()
    content["categories"]["values"]["why"] = "another reason"
    content["categories"]["values"]["tasks"]["kornat_social_value"]["chance"]["why"] = "another"
    assert definition_hash(IndexDefinition.model_validate(content)) == definition_hash(definition())
    content["categories"]["values"]["tasks"]["kornat_social_value"]["chance"]["value"] = 33.3
    assert definition_hash(IndexDefinition.model_validate(content)) != definition_hash(definition())


# What a run computes on its rows, against the real scorers.

CHOICES = (
    *("ko_gpqa", "ko_winogrande", "kornat_knowledge"),
    *("kornat_social_value", "ko_harmlessness", "ko_helpfulness"),
)


def constant_scores(task: TaskDefinition, options: int) -> list[float]:
    """The leading metric in points when the same option is chosen in every row."""
    scorer, _, rendered = prepare_samples(task, "bundled")
    found = []
    for option in range(options):
        scores = [
            scorer.score(item.sample, choosing(option, len(item.sample.choices)))
            for item in rendered
        ]
        values = [score.metrics[str(task.metric)] for score in scores]
        found.append(task.scale * float(np.mean(values)))
    return found


def own_levels(task: TaskDefinition) -> tuple[float, float]:
    _, _, rendered = prepare_samples(task, "bundled")
    found = levels(task, [item.sample for item in rendered], str(task.metric))
    assert found is not None
    return found.chance, found.best


@pytest.mark.parametrize("name", ["ko_gpqa", "ko_winogrande", "kornat_knowledge"])
def test_where_one_option_is_right_chance_is_that_of_a_random_option(name: str) -> None:
    task = load_task(name)
    chance, best = own_levels(task)
    assert chance == pytest.approx(np.mean(constant_scores(task, round(100 / chance))))
    assert (chance, best) == (entry_points(name, "chance"), 100.0)


def test_where_opinions_are_asked_chance_is_the_best_constant_opinion() -> None:
    task = load_task("kornat_social_value")
    chance, best = own_levels(task)
    constant = constant_scores(task, 5)
    assert chance == pytest.approx(max(constant))
    # Merged into three, of which a random one is shared by a third of the people.
    assert np.mean([constant[0], constant[2], constant[4]]) == pytest.approx(100 / 3)
    assert chance < best < 100


@pytest.mark.parametrize("name", CHOICES)
def test_best_is_what_the_gold_answers_earn(name: str) -> None:
    task = load_task(name)
    scorer, _, rendered = prepare_samples(task, "bundled")
    gold = [scorer.score(item.sample, scorer.gold(item.sample)) for item in rendered]
    assert own_levels(task)[1] == pytest.approx(
        task.scale * scorer.aggregate(gold)[str(task.metric)].value
    )


@pytest.mark.parametrize("name", CHOICES)
def test_answers_in_text_have_the_levels_of_the_likelihood_form(name: str) -> None:
    assert own_levels(load_task(name, variant="generate")) == pytest.approx(
        own_levels(load_task(name))
    )


def test_levels_that_are_one_but_for_rounding_correct_nothing() -> None:
    name = "ko_harmlessness"
    tasks = [one for one in reports("chance") if one.name != name]
    (plain,) = [one for one in reports("best") if one.name == name]
    same = Levels(chance=33.3, best=math.nextafter(33.3, 34))
    index = computed([*tasks, plain.model_copy(update={"levels": same})])
    (part,) = [part for part in index.tasks if part.name == name]
    assert part.levels_are == "assumed"
    assert part.corrected.value == pytest.approx(100)


def test_generated_answers_and_other_metrics_have_no_levels() -> None:
    for name, metric in (("ko_gsm8k", "exact_match_strict"), ("ko_gpqa", "brier")):
        task = load_task(name)
        _, _, rendered = prepare_samples(task, "bundled", limit=3)
        assert levels(task, [item.sample for item in rendered], metric) is None


# A suite with an index of its own.


def suite_file(folder: Path, **index: Any) -> Path:
    chance = {"value": 25, "status": "known", "why": "four options"}
    entry = {"chance": chance, **index}
    content = {
        "name": "mine",
        "tasks": ["ko_gpqa", "ko_gsm8k"],
        "index": {"categories": {"all": {"weight": 1, "why": "one", "tasks": {"ko_gpqa": entry}}}},
    }
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def planned_index(path: Path) -> Index | None:
    suite, tasks = load_tasks(RunOptions(model="unused", suite=str(path)))
    assert [task.name for task, _ in tasks] == ["ko_gpqa", "ko_gsm8k"]
    return index_of(suite, reports("best"))


def test_a_suite_may_have_an_index_of_its_own(tmp_path: Path) -> None:
    index = planned_index(suite_file(tmp_path))
    assert index is not None
    assert index.name == "mine"
    assert index.shown.value == pytest.approx(100)
    assert [part.name for part in index.tasks] == ["ko_gpqa"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metric": "acc_nrm"}, "has no metric 'acc_nrm'"),
        ({"published": "exact_match_strict"}, "has no metric 'exact_match_strict'"),
        ({"best": {"value": 25, "status": "known", "why": "x"}}, "must be above 'chance'"),
        ({"weight": 0}, "greater than 0"),
        ({"weight": 1e308}, "less than or equal to 1000000"),
        ({"weigth": 1}, "unknown field"),
    ],
)
def test_a_wrong_index_is_refused_before_the_run(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(TaskError, match=message):
        planned_index(suite_file(tmp_path, **change))


def test_an_index_names_tasks_of_its_suite_and_each_once(tmp_path: Path) -> None:
    path = suite_file(tmp_path)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("ko_gpqa:", "ko_gpq:"), encoding="utf-8")
    with pytest.raises(TaskError, match="not among the suite's tasks"):
        planned_index(path)
    content = yaml.safe_load(text)
    content["index"]["categories"]["again"] = content["index"]["categories"]["all"]
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(TaskError, match="'ko_gpqa' is in two categories"):
        planned_index(path)


# A real run.


@pytest.fixture(scope="module")
def finished(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> RunOutcome:
    suite = make_suite(tmp_path_factory.mktemp("suite"))
    return evaluate(options(tiny, suite, tmp_path_factory.mktemp("out"), limit=3))


def shown(result: RunResult) -> str:
    console = Console(file=StringIO(), width=140)
    console.print(result_table(result))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_any_run_of_the_nine_tasks_has_the_index(finished: RunOutcome) -> None:
    index = finished.result.index
    assert index is not None
    assert read_result(finished.directory).index == index
    assert index.name == "ko-index"
    assert finished.result.average is not None
    assert index.plain_average.value == pytest.approx(finished.result.average.value)
    assert [part.name for part in index.tasks if part.levels_are == "computed"] == [
        *("ko_gpqa", "kornat_knowledge", "ko_winogrande"),
        *("kornat_social_value", "ko_harmlessness", "ko_helpfulness"),
    ]


def test_a_finished_run_gets_the_index_from_its_result_alone(finished: RunOutcome) -> None:
    before = finished.result.model_copy(update={"index": None})
    assert with_index(before) == finished.result
    assert with_index(finished.result) is finished.result


def test_results_of_before_1_4_get_the_index_with_the_levels_of_the_file(
    finished: RunOutcome, tmp_path: Path
) -> None:
    content = finished.result.model_dump(mode="json", exclude={"index"})
    content["schema_version"] = "1.3"
    for task in content["tasks"]:
        del task["levels"]
    (tmp_path / "results.json").write_text(json.dumps(content), encoding="utf-8")
    index = with_index(read_result(tmp_path)).index
    assert index is not None
    assert {part.levels_are for part in index.tasks} == {"known", "assumed"}


def test_a_run_of_the_index_suite_asks_the_same_requests(tiny: Path, tmp_path: Path) -> None:
    plans = [
        plan_run(RunOptions(model=str(tiny), suite=suite, limit=2, out=tmp_path))
        for suite in ("leaderboard2", "ko-index")
    ]
    assert plans[0].fingerprint == plans[1].fingerprint
    assert [task.prepared.definition.metric for task in plans[1].tasks][2:4] == [
        "exact_match_korean",
        "eqbench_korean",
    ]


def test_the_table_shows_the_index_with_its_categories(finished: RunOutcome) -> None:
    text = shown(finished.result)
    assert "Index (ko-index)" in text
    for category in definition().categories:
        assert f"  {category}" in text
    assert "weight 20 %" in text
    assert "published metrics" not in text


def test_where_the_average_is_of_other_metrics_the_plain_one_stands_beside_it(
    finished: RunOutcome,
) -> None:
    assert finished.result.average is not None
    other = finished.result.average.model_copy(update={"value": 99.0})
    text = shown(finished.result.model_copy(update={"average": other}))
    assert "Average, published metrics" in text


def test_without_an_index_the_table_says_nothing_of_one(finished: RunOutcome) -> None:
    assert "Index" not in shown(finished.result.model_copy(update={"index": None}))
