"""`ko-eval compare`: differences item by item, a verdict, and refusal where runs are not alike."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hostile
import numpy as np
import pytest
from layer_mutations import MUTATIONS, plain_setup
from result_files import NINE, write_result
from tiny_model import make_tiny_llama

from ko_eval.errors import DataError, UsageError
from ko_eval.reports.compared_runs import ComparedRun, labelled, read_run
from ko_eval.reports.comparison import Pair, compare_runs
from ko_eval.reports.item_values import item_values
from ko_eval.runs.evaluate import evaluate
from ko_eval.runs.layer_names import allowed_layers
from ko_eval.runs.result import TaskReport, Value, read_result
from ko_eval.runs.sample_files import SampleRecord, read_samples, samples_path
from ko_eval.runs.scoring import sample_line, score_task
from ko_eval.stats.multiplicity import holm
from ko_eval.stats.paired import mcnemar_exact
from ko_eval.tasks.definition import TaskDefinition
from ko_eval.tasks.prepare import prepare_samples
from ko_eval.tasks.registry import load_task
from ko_eval.types import GenerateResponse, Response


def written(
    folder: Path, model: str, shown: Mapping[str, float] | None = None, **more: Any
) -> Path:
    return write_result(folder / model, model=f"org/{model}", shown=shown, **more)


def pair_of(*directories: Path, **more: Any) -> Pair:
    (pair,) = compare_runs([read_run(path) for path in directories], **more)
    return pair


# --- the numbers ---------------------------------------------------------------------------------


def test_the_difference_is_that_of_the_shown_scores_in_every_task(tmp_path: Path) -> None:
    a = written(tmp_path, "a", dict.fromkeys(NINE, 50.0))
    b = written(tmp_path, "b", dict.fromkeys(NINE, 55.0))
    pair = pair_of(a, b)
    before, after = read_result(a), read_result(b)
    assert [task.name for task in pair.tasks] == list(NINE)
    for task, one, other in zip(pair.tasks, before.tasks, after.tasks, strict=True):
        assert task.a == pytest.approx(one.shown.value)
        assert task.b == pytest.approx(other.shown.value)
        assert task.difference == pytest.approx(other.shown.value - one.shown.value)
        assert task.low is not None
        assert task.high is not None
        assert task.low < task.difference < task.high
        assert task.n == 100
    assert pair.average is not None
    assert before.average is not None
    assert after.average is not None
    expected = after.average.value - before.average.value
    assert pair.average.difference == pytest.approx(expected)


def test_right_and_wrong_answers_are_tested_as_mcnemar_did_and_corrected_as_holm_did(
    tmp_path: Path,
) -> None:
    a = written(tmp_path, "a", {"ko_gpqa": 40.0, "ko_winogrande": 50.0, "ko_eqbench": 50.0})
    b = written(tmp_path, "b", {"ko_gpqa": 60.0, "ko_winogrande": 52.0, "ko_eqbench": 50.0})
    pair = pair_of(a, b)
    gpqa = pair.tasks[0]
    values = [
        {record.id: record.metrics["acc"] for record in read_samples(path, "ko_gpqa")}
        for path in (a, b)
    ]
    gained = sum(values[1][name] > value for name, value in values[0].items())
    lost = sum(values[1][name] < value for name, value in values[0].items())
    assert (gpqa.gained, gpqa.lost, gpqa.method) == (gained, lost, "mcnemar")
    assert gpqa.p_value == pytest.approx(mcnemar_exact(gained, lost))
    assert pair.tasks[2].method == "permutation"
    assert [task.p_adjusted for task in pair.tasks] == holm([task.p_value for task in pair.tasks])


def test_much_better_is_better_much_worse_is_worse_and_little_is_undecided(tmp_path: Path) -> None:
    tasks = ("ko_gpqa", "ko_winogrande", "ko_gsm8k")
    a = written(tmp_path, "a", dict.fromkeys(tasks, 50.0), n=400)
    b = written(tmp_path, "b", dict(zip(tasks, (80.0, 20.0, 51.0), strict=True)), n=400)
    pair = pair_of(a, b)
    assert [task.verdict for task in pair.tasks] == ["better", "worse", "undecided"]
    undecided = pair.tasks[2]
    assert undecided.detectable is not None
    assert undecided.detectable > abs(undecided.difference)
    back = pair_of(b, a)
    assert [task.verdict for task in back.tasks] == ["worse", "better", "undecided"]
    assert [task.difference for task in back.tasks] == pytest.approx(
        [-task.difference for task in pair.tasks]
    )


def test_twenty_items_decide_nothing(tmp_path: Path) -> None:
    a = written(tmp_path, "a", {"ko_gpqa": 50.0}, n=20)
    b = written(tmp_path, "b", {"ko_gpqa": 60.0}, n=20)
    pair = pair_of(a, b)
    assert pair.tasks[0].verdict == "undecided"
    assert pair.average is None


def test_a_run_is_neither_better_nor_worse_than_itself(tmp_path: Path) -> None:
    a = written(tmp_path, "a")
    pair = pair_of(a, a)
    for task in (*pair.tasks, pair.average):
        assert task is not None
        assert (task.difference, task.p_value, task.verdict) == (0.0, 1.0, "undecided")
        assert task.low is not None
        assert task.low < 0


def test_a_share_that_is_shown_from_zero_to_one_has_an_interval_on_that_scale(
    tmp_path: Path,
) -> None:
    for name, right in (("a", 40.0), ("b", 60.0)):
        path = written(tmp_path, name, {"ko_gpqa": right})
        plain = json.loads((path / "results.json").read_text(encoding="utf-8"))
        plain["tasks"][0]["shown"] = plain["tasks"][0]["metrics"]["acc"]
        (tmp_path / f"{name}1").mkdir()
        (path / "samples").rename(tmp_path / f"{name}1" / "samples")
        (tmp_path / f"{name}1" / "results.json").write_text(json.dumps(plain), encoding="utf-8")
    same = pair_of(tmp_path / "a1", tmp_path / "a1").tasks[0]
    assert same.high is not None
    assert 0.01 < same.high < 0.05  # no ten-thousandth of an item, and no hundred of them
    other = pair_of(tmp_path / "a1", tmp_path / "b1").tasks[0]
    assert (other.method, other.verdict) == ("mcnemar", "better")
    assert other.difference == pytest.approx(0.2)


def test_holm_corrects_over_all_runs_together(tmp_path: Path) -> None:
    runs = [
        read_run(written(tmp_path, name, {"ko_gpqa": shown}))
        for name, shown in (("a", 50.0), ("b", 63.0), ("c", 65.0), ("d", 51.0))
    ]
    together = [pair.tasks[0] for pair in compare_runs(runs)]
    alone = [compare_runs([runs[0], run])[0].tasks[0] for run in runs[1:]]
    assert [task.p_value for task in together] == [task.p_value for task in alone]
    assert [t.p_adjusted for t in together] == holm([t.p_value for t in alone])


def test_equal_runs_are_called_different_at_most_as_often_as_stated(tmp_path: Path) -> None:
    """Type-I error of the verdict over three tasks, in runs that differ by chance alone."""
    shown = dict.fromkeys(("ko_gpqa", "ko_winogrande", "ko_gsm8k"), 50.0)
    calls = 0
    for seed in range(60):
        a = write_result(tmp_path / f"a{seed}", shown=shown, seed=2 * seed, n=60)
        b = write_result(tmp_path / f"b{seed}", shown=shown, seed=2 * seed + 1, n=60)
        pair = pair_of(a, b)
        calls += any(task.verdict != "undecided" for task in pair.tasks)
    # 60 trials at 5 %: 8 or more would happen once in 90 times, and exact tests are cautious.
    assert calls <= 7


def test_the_items_of_the_largest_difference_are_named(tmp_path: Path) -> None:
    a = written(tmp_path, "a", {"ko_eqbench": 40.0, "ko_gpqa": 50.0})
    b = written(tmp_path, "b", {"ko_eqbench": 60.0, "ko_gpqa": 50.0})
    eqbench = pair_of(a, b, items=5).tasks[0]
    values = [
        {record.id: record.metrics["eqbench"] for record in read_samples(path, "ko_eqbench")}
        for path in (a, b)
    ]
    by_size = sorted(values[0], key=lambda name: -abs(values[1][name] - values[0][name]))
    assert [one.id for one in eqbench.items] == by_size[:5]
    assert not pair_of(a, b).tasks[0].items


def test_items_that_share_a_passage_count_as_one_piece_of_evidence(tmp_path: Path) -> None:
    """Ten answers that always go together prove as much as one."""
    directories = []
    for name, right in (("a", 5), ("b", 9)):
        path = written(tmp_path, name, {"ko_gpqa": 50.0}, n=100)
        lines = [
            json.dumps(
                {
                    "id": f"i{number}",
                    "metrics": {"acc": float(number // 10 < right)},
                    "extracted": None,
                    "outcome": "ok",
                    "detail": {},
                    "cluster": f"passage {number // 10}",
                }
            )
            for number in range(100)
        ]
        samples_path(path, "ko_gpqa").write_text("\n".join(lines) + "\n", encoding="utf-8")
        _reshown(path, right * 10.0)
        directories.append(path)
    together = pair_of(*directories).tasks[0]
    assert together.difference == pytest.approx(40.0)
    assert (together.method, together.verdict) == ("permutation", "undecided")
    for path in directories:
        plain = samples_path(path, "ko_gpqa").read_text(encoding="utf-8").replace("cluster", "x")
        samples_path(path, "ko_gpqa").write_text(plain, encoding="utf-8")
    alone = pair_of(*directories).tasks[0]
    assert (alone.method, alone.verdict) == ("mcnemar", "better")


def test_no_verdict_is_given_against_its_interval(tmp_path: Path) -> None:
    """Twins of which each run has another one right: their sums vary less than they do."""
    directories = []
    twins = [(0, 1)] * 80 + [(0, 0)] * 12 + [(1, 1)] * 8
    for name, changes in (("a", {}), ("b", {(0, 1): (1, 0), (0, 0): (1, 0)})):
        path = written(tmp_path, name, {"ko_gpqa": 50.0}, n=200)
        values = [value for twin in twins for value in changes.get(twin, twin)]
        lines = [
            {"id": f"i{place}", "metrics": {"acc": float(value)}, "extracted": None}
            | {"outcome": "ok", "cluster": f"twin {place // 2}"}
            for place, value in enumerate(values)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        samples_path(path, "ko_gpqa").write_text(text, encoding="utf-8")
        _reshown(path, sum(values) / 2)
        directories.append(path)
    task = pair_of(*directories).tasks[0]
    assert task.low is not None
    assert task.p_adjusted < 0.01
    assert task.low < 0 < task.difference
    assert task.verdict == "undecided"
    assert task.detectable is not None
    assert task.detectable > task.difference


def _reshown(directory: Path, value: float) -> None:
    path = directory / "results.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["tasks"][0]["shown"]["value"] = value
    content["tasks"][0]["metrics"]["acc"]["value"] = value / 100
    path.write_text(json.dumps(content), encoding="utf-8")


# --- what an item contributes --------------------------------------------------------------------


def judged(
    name: str, responses: list[Response], tmp_path: Path, **overrides: Any
) -> tuple[TaskReport, list[SampleRecord]]:
    """A report and its samples, of responses to a bundled task."""
    task: TaskDefinition = load_task(name, overrides=overrides)
    scorer, _, rendered = prepare_samples(task, "bundled", limit=len(responses))
    samples = [item.sample for item in rendered]
    by_id = {s.id: response for s, response in zip(samples, responses, strict=True)}
    result, scores = score_task(task, scorer, samples, by_id)
    template = read_result(write_result(tmp_path / "template", shown={name: 50.0})).tasks[0]
    report = template.model_copy(
        update={
            "metric": result.metric,
            "shown": Value.of(result.shown),
            "metrics": {key: Value.of(metric) for key, metric in result.metrics.items()},
        }
    )
    path = samples_path(tmp_path, name)
    path.parent.mkdir()
    path.write_text("".join(sample_line(score) + "\n" for score in scores), encoding="utf-8")
    return report, read_samples(tmp_path, name)


def _half_followed(count: int) -> list[Response]:
    """Passing responses for every other prompt, and one word for the rest."""
    task = load_task("ko_ifeval")
    scorer, _, rendered = prepare_samples(task, "bundled", limit=count)
    return [
        scorer.gold(item.sample) if place % 2 else GenerateResponse(text="네.")
        for place, item in enumerate(rendered)
    ]


@pytest.mark.parametrize("metric", ["strict_acc", "inst_level_strict_acc", "inst_level_loose_acc"])
def test_the_mean_of_the_contributions_is_the_pooled_score(metric: str, tmp_path: Path) -> None:
    report, records = judged("ko_ifeval", _half_followed(66), tmp_path, metric=metric)
    plain = np.mean([record.metrics[metric] for record in records])
    values = item_values(report, records)
    assert values is not None
    assert np.mean(list(values.values())) * 100 == pytest.approx(report.shown.value)
    assert plain * 100 != pytest.approx(report.shown.value), "the items do not show the difference"
    stderr = np.std(list(values.values()), ddof=1) / np.sqrt(len(values)) * 100
    assert stderr == pytest.approx(report.shown.stderr)


def test_answers_that_cannot_be_read_are_left_out_where_the_score_leaves_them_out(
    tmp_path: Path,
) -> None:
    task = load_task("ko_eqbench")
    scorer, _, rendered = prepare_samples(task, "bundled", limit=8)
    responses = [
        scorer.gold(item.sample) if place else GenerateResponse(text="모르겠다")
        for place, item in enumerate(rendered)
    ]
    scorer_of = {"name": "eq_bench", "unparseable": "exclude"}
    report, records = judged("ko_eqbench", responses, tmp_path, scorer=scorer_of)
    values = item_values(report, records)
    assert values is not None
    assert report.shown.value > 90
    assert np.mean(list(values.values())) == pytest.approx(report.shown.value)


def test_a_score_that_is_no_mean_over_items_is_compared_by_its_interval(tmp_path: Path) -> None:
    a = written(tmp_path, "a", {"ko_gpqa": 50.0})
    b = written(tmp_path, "b", {"ko_gpqa": 60.0})
    _reshown(a, 33.3)
    task = pair_of(a, b).tasks[0]
    assert task.method == "unpaired"
    assert task.difference == pytest.approx(60.0 - 33.3)
    assert "no mean over items" in task.notes[0]


# --- what may be compared ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(
    tiny: Path, tiny_bos: Path, tiny_chat: Path, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Path]:
    other = make_tiny_llama(tmp_path_factory.mktemp("models") / "other", seed=1)
    return {"plain": tiny, "bos": tiny_bos, "chat": tiny_chat, "other": other}


@pytest.fixture(scope="module")
def plain(models: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> ComparedRun:
    setup = plain_setup(tmp_path_factory.mktemp("runs") / "a", models["plain"])
    return read_run(evaluate(setup.written()).directory)


def changed(name: str, models: Mapping[str, Path], folder: Path) -> ComparedRun:
    setup = plain_setup(folder, models["plain"])
    MUTATIONS[name][1](setup, models)
    return read_run(evaluate(setup.written()).directory)


@pytest.mark.parametrize("name", ["BOS", "chat template", "dtype", "data row", "few-shot order"])
def test_runs_of_different_protocols_are_refused_by_the_layers_name(
    name: str, plain: ComparedRun, models: Mapping[str, Path], tmp_path: Path
) -> None:
    other = changed(name, models, tmp_path / "b")
    layer = MUTATIONS[name][0]
    with pytest.raises(DataError, match=rf"\({layer}\)") as refused:
        compare_runs([plain, other])
    assert refused.value.hint is not None
    assert f"--allow {layer}" in refused.value.hint
    (pair,) = compare_runs([plain, other], allowed=allowed_layers([layer]))
    assert {each.layer.name for each in pair.comparability.allowed} == {layer}


@pytest.mark.parametrize("name", ["weights", "vocabulary", "title", "seed"])
def test_other_models_seeds_and_titles_are_compared(
    name: str, plain: ComparedRun, models: Mapping[str, Path], tmp_path: Path
) -> None:
    (pair,) = compare_runs([plain, changed(name, models, tmp_path / "b")])
    said = (*pair.comparability.with_model, *pair.comparability.noted)
    assert MUTATIONS[name][0] in {each.layer.name for each in said}
    assert not pair.comparability.unknown


def test_the_layers_of_tasks_that_are_not_compared_do_not_hinder(
    plain: ComparedRun, models: Mapping[str, Path], tmp_path: Path
) -> None:
    other = changed("stop", models, tmp_path / "b")
    with pytest.raises(DataError, match=r"\(stop\)"):
        compare_runs([plain, other])
    (pair,) = compare_runs([plain, other], tasks=["capitals"])
    assert [task.name for task in pair.tasks] == ["capitals"]
    with pytest.raises(UsageError, match="'capital' is not in both"):
        compare_runs([plain, other], tasks=["capital"])


def test_items_of_one_run_only_are_counted_where_another_limit_is_allowed(
    plain: ComparedRun, models: Mapping[str, Path], tmp_path: Path
) -> None:
    other = changed("limit", models, tmp_path / "b")
    (pair,) = compare_runs([plain, other], allowed=allowed_layers(["data"]))
    assert [task.n for task in pair.tasks] == [1, 1]
    assert all("1 items are in one of the runs only" in task.notes for task in pair.tasks)


def test_of_older_results_it_is_said_what_could_not_be_compared(tmp_path: Path) -> None:
    pair = pair_of(written(tmp_path, "a"), written(tmp_path, "b"))
    # Equal prompts prove their parts; equal definitions prove the scorer.
    assert not {layer.name for layer, _ in pair.comparability.unknown} & {"prompt", "scorer"}
    assert {layer.name for layer, _ in pair.comparability.unknown} == {"thinking.budget"}
    other = {"ko_gpqa": {"definition_sha256": "0" * 64}}
    pair = pair_of(written(tmp_path, "a"), written(tmp_path, "c", tasks=other))
    assert "scorer" in {layer.name for layer, _ in pair.comparability.unknown}


def test_two_runs_of_one_model_get_labels_that_differ(tmp_path: Path) -> None:
    one = read_run(written(tmp_path, "a"))
    assert [run.label for run in labelled([one, one])] == ["org/a (1)", "org/a (2)"]


# --- the command ---------------------------------------------------------------------------------


def test_the_command_shows_a_table_and_prints_json(tmp_path: Path, here: hostile.Run) -> None:
    a = written(tmp_path, "a", {"ko_gpqa": 40.0, "ko_gsm8k": 50.0}, n=300)
    b = written(tmp_path, "b", {"ko_gpqa": 70.0, "ko_gsm8k": 50.0}, n=300)
    shown = here("compare", a, b, "--items", "2")
    assert shown.code == 0
    assert "org/b against org/a: better in 1, worse in 0, undecided in 1" in shown.out
    assert "ko_gpqa-00" in shown.out
    content = json.loads(here("compare", a, b, "--json").out)
    tasks = content["comparisons"][0]["tasks"]
    assert [task["verdict"] for task in tasks] == ["better", "undecided"]
    assert tasks[0]["difference"] == pytest.approx(30.0)
    assert len(tasks[0]["items"]) == 3


def test_the_command_refuses_in_three_lines(tmp_path: Path, here: hostile.Run) -> None:
    a = written(tmp_path, "a", {"ko_gpqa": 40.0})
    b = written(tmp_path, "b", {"ko_gpqa": 40.0}, tasks={"ko_gpqa": {"shots": 5}})
    refused = here("compare", a, b)
    assert refused.code == 2
    assert "number of few-shot examples (fewshot.count): 0 | 5" in refused.err
    assert len(refused.err.strip().splitlines()) == 3
    allowed = here("compare", a, b, "--allow", "fewshot.count")
    assert allowed.code == 0
    assert "Compared all the same (--allow)" in allowed.out


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["a"], "one run was given"),
        (["a", "nowhere"], "there is no result"),
        (["a", "c"], "no task in common"),
        (["a", "b", "--tasks", "x"], "'x' is not in both"),
        (["a", "b", "--allow", "bso"], "names no layer"),
        (["a", "d"], "per-sample scores cannot be read"),
    ],
)
def test_what_cannot_be_compared_is_a_message(
    words: list[str], what: str, tmp_path: Path, here: hostile.Run
) -> None:
    written(tmp_path, "a", {"ko_gpqa": 40.0})
    written(tmp_path, "b", {"ko_gpqa": 40.0})
    written(tmp_path, "c", {"ko_gsm8k": 40.0})
    written(tmp_path, "d", {"ko_gpqa": 40.0}, samples=False)
    ended = here("compare", *words)
    assert ended.code == 2
    assert what in ended.err


def test_what_a_model_wrote_cannot_act_on_the_terminal(tmp_path: Path, here: hostile.Run) -> None:
    a = written(tmp_path, "a", {"ko_gpqa": 40.0})
    b = written(tmp_path, "b", {"ko_gpqa": 60.0})
    for path in (a, b):
        file = samples_path(path, "ko_gpqa")
        text = file.read_text(encoding="utf-8").replace(
            '"extracted": null', '"extracted": "\\u001b[2J\\u202e"'
        )
        file.write_text(text, encoding="utf-8")
    shown = here("compare", a, b, "--items", "3")
    assert shown.code == 0
    assert "\\u001b[2J" in shown.out
    assert "\x1b[2J" not in shown.out


def test_compare_imports_neither_torch_nor_transformers(tmp_path: Path) -> None:
    a, b = written(tmp_path, "a"), written(tmp_path, "b")
    program = (
        "import sys; from ko_eval.cli.main import app\n"
        "try: app(['compare', *sys.argv[1:]])\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'transformers', 'lm_eval'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", program, str(a), str(b)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "undecided" in done.stdout
