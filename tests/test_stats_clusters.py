"""Clusters from the task file to the error: they widen intervals and change nothing else."""

from __future__ import annotations

import csv
import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ko_eval.errors import DataError, TaskError
from ko_eval.resources import shipped
from ko_eval.runs.scoring import sample_line, score_task
from ko_eval.scorers.registry import create_scorer
from ko_eval.stats.paired import tango_interval
from ko_eval.tasks.definition import TaskDefinition
from ko_eval.tasks.prepare import PreparedTask, prepare_task
from ko_eval.tasks.registry import load_task, task_names
from ko_eval.types import (
    FailedResponse,
    GenerateResponse,
    LoglikelihoodResponse,
    Metric,
    Response,
    Sample,
    TaskResult,
)

EXAMPLES = str(shipped("tasks", "examples"))
DATA = Path(os.environ.get("KO_EVAL_DATA") or Path(__file__).parents[2] / "shared" / "data")
CLUSTERED = [name for name in task_names() if load_task(name).cluster]


def prepared(task: TaskDefinition, limit: int | None = 40) -> PreparedTask:
    return prepare_task(task, "bundled" if task.data.bundled else EXAMPLES, limit=limit)


def with_cluster(task: TaskDefinition, cluster: str | None) -> TaskDefinition:
    return TaskDefinition.model_validate({**task.model_dump(), "cluster": cluster})


def judged(task: PreparedTask, responses: Sequence[Response]) -> TaskResult:
    by_id = {s.id: response for s, response in zip(task.samples, responses, strict=True)}
    return score_task(task.definition, task.scorer, task.samples, by_id)[0]


# --- The task file ---


def test_tasks_whose_items_share_a_passage_a_twin_or_a_template_say_so() -> None:
    assert {
        *("ko_winogrande", "ko_harmlessness", "ko_helpfulness", "kobbq", "kobest_boolq"),
        *("click", "csatqa", "haerae_reading_comprehension"),
    } <= set(CLUSTERED)


@pytest.mark.parametrize("name", CLUSTERED)
def test_a_cluster_changes_neither_prompts_nor_samples(name: str) -> None:
    task = load_task(name)
    one, other = prepared(task), prepared(with_cluster(task, None))
    assert one.prompts_hash() == other.prompts_hash()
    assert one.rows.sha256 == other.rows.sha256
    assert [replace(sample, cluster=None) for sample in one.samples] == list(other.samples)
    assert all(sample.cluster is None for sample in other.samples)


def test_the_twins_of_ko_winogrande_are_clusters_of_two() -> None:
    samples = prepared(load_task("ko_winogrande"), limit=None).samples
    sizes = Counter(sample.cluster for sample in samples)
    assert len(samples) == 102 and set(sizes.values()) == {2} and None not in sizes


def test_a_passage_stands_for_its_questions_and_an_item_without_one_stands_alone(
    tmp_path: Path,
) -> None:
    passage = "나는 어제 책을 읽었다. " * 20
    rows = [
        {"id": f"x_{place}", "paragraph": text, "question": f"질문 {place}", "answer": "가"}
        for place, text in enumerate([passage, passage, "다른 글이다.", "", None])
    ]
    options = ["가", "나", "다", "라"]
    file = tmp_path / "click.jsonl"
    file.write_text(
        "\n".join(json.dumps({**row, "choices": options}, ensure_ascii=False) for row in rows)
    )
    first, second, third, *alone = prepare_task(load_task("click"), str(file)).samples
    assert first.cluster is not None and first.cluster == second.cluster
    assert len(first.cluster) == 16  # a hash: files of samples hold no passages
    assert third.cluster == "다른 글이다."
    assert [sample.cluster for sample in alone] == [None, None]


def test_the_mark_before_a_passage_finds_it() -> None:
    task = load_task("haerae_reading_comprehension")
    assert all(sample.cluster for sample in prepared(task).samples)


@pytest.mark.skipif(not (DATA / "kobbq").is_dir(), reason=f"no folder {DATA / 'kobbq'}")
def test_the_questions_of_kobbq_come_in_269_templates(tmp_path: Path) -> None:
    with (DATA / "kobbq" / "KoBBQ_test_samples.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    copy = tmp_path / "kobbq.jsonl"
    copy.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    sizes = Counter(
        sample.cluster for sample in prepare_task(load_task("kobbq"), str(copy)).samples
    )
    assert (len(rows), len(sizes), max(sizes.values())) == (2280, 269, 16)


def test_a_cluster_that_names_no_field_is_refused() -> None:
    with pytest.raises(ValueError, match="'cluster' names the field 'passage'"):
        with_cluster(load_task("ko_gsm8k"), "passage")
    with pytest.raises((DataError, TaskError), match="cluster"):
        prepared(with_cluster(load_task("ko_gsm8k"), "passage[0] ~ question"))


# --- Scorers ---


def choosing(sample: Sample, place: int) -> LoglikelihoodResponse:
    sums = [-9.0] * len(sample.choices)
    sums[place % len(sums)] = -1.0 - place % 3
    return LoglikelihoodResponse(tuple(sums), token_counts=(2,) * len(sums))


def some_responses(task: PreparedTask) -> list[Response]:
    """Gold answers, wrong ones, unreadable ones and a failure, in turn."""
    responses: list[Response] = []
    random = np.random.default_rng(0)
    for sample in task.samples:
        gold = task.scorer.gold(sample)
        if isinstance(gold, LoglikelihoodResponse):
            responses.append(choosing(sample, int(random.integers(5))))
        elif random.random() < 0.6:
            responses.append(gold)
        else:
            responses.append(GenerateResponse(text="음, 잘 모르겠습니다.", finish_reason="stop"))
    responses[3] = FailedResponse("no answer came")
    return responses


BUNDLED = [name for name in task_names() if load_task(name).data.bundled]
IN_TEXT = ["ko_harmlessness", "kornat_knowledge", "kornat_social_value"]


@pytest.mark.parametrize(
    ("name", "variant"),
    [*((name, None) for name in BUNDLED), *((name, "generate") for name in IN_TEXT)],
)
def test_every_metric_has_an_error_and_an_interval_around_it(
    name: str, variant: str | None
) -> None:
    task = prepared(load_task(name, variant=variant))
    result = judged(task, some_responses(task))
    assert set(result.metrics) - {"acc_tokens"} <= set(task.scorer.metrics)
    for metric in (*result.metrics.values(), result.shown):
        assert_has_interval(metric)
    if result.format_loss is not None:
        assert_has_interval(result.format_loss.shown)
    assert (result.format_loss is not None) == (name in ("ko_gsm8k", "ko_eqbench", "ko_ifeval"))


def assert_has_interval(metric: Metric) -> None:
    assert metric.stderr is not None and metric.low is not None and metric.high is not None
    assert math.isfinite(metric.stderr) and metric.stderr >= 0
    assert metric.low <= metric.value <= metric.high
    assert metric.low < metric.high


@pytest.mark.parametrize("name", BUNDLED)
def test_items_asked_twice_in_one_cluster_leave_every_error_as_it_was(name: str) -> None:
    task = prepared(with_cluster(load_task(name), None), limit=30)
    responses = some_responses(task)
    once = judged(task, responses)
    twice = [
        replace(sample, id=f"{sample.id}-{copy}", cluster=sample.id)
        for sample in task.samples
        for copy in "ab"
    ]
    doubled = replace(task, samples=tuple(twice))
    again = judged(doubled, [response for response in responses for _ in "ab"])
    alone = judged(
        replace(task, samples=tuple(replace(sample, cluster=None) for sample in twice)),
        [response for response in responses for _ in "ab"],
    )
    for metric, value in once.metrics.items():
        assert again.metrics[metric].value == pytest.approx(value.value)
        narrower = alone.metrics[metric].stderr
        assert value.stderr is not None and narrower is not None
        assert again.metrics[metric].stderr == pytest.approx(value.stderr, rel=0.03)
        assert narrower < value.stderr * 0.8 or value.stderr == 0


def test_the_error_of_twins_is_that_of_their_sums() -> None:
    task = prepared(load_task("ko_winogrande"))
    responses = some_responses(task)
    result = judged(task, responses)
    hits = [
        task.scorer.score(sample, response).metrics["acc"]
        for sample, response in zip(task.samples, responses, strict=True)
    ]
    twins: dict[str | None, float] = {}
    for sample, hit in zip(task.samples, hits, strict=True):
        twins[sample.cluster] = twins.get(sample.cluster, 0.0) + hit - float(np.mean(hits))
    expected = math.sqrt(20 / 19 * sum(total**2 for total in twins.values())) / 40
    assert result.metrics["acc"].stderr == pytest.approx(expected, rel=1e-12)


def test_the_format_loss_of_instructions_is_that_of_their_pooled_shares() -> None:
    task = prepared(load_task("ko_ifeval"))
    result = judged(task, some_responses(task))
    loss = result.format_loss
    assert loss is not None
    after, before = result.metrics[loss.korean], result.metrics[loss.published]
    assert loss.shown.value == pytest.approx(100 * (after.value - before.value))
    assert loss.shown.stderr is not None and after.stderr is not None
    # Both are read from the same responses, so their difference is surer than either.
    assert loss.shown.stderr < 100 * after.stderr


@pytest.mark.parametrize("name", ["ko_gsm8k", "ko_eqbench"])
def test_a_format_loss_of_nothing_is_as_unsure_in_points_as_in_shares(name: str) -> None:
    task = prepared(load_task(name), limit=20)
    unread = [GenerateResponse(text="음…", finish_reason="stop")] * 20
    loss = judged(task, unread).format_loss
    assert loss is not None
    assert (loss.shown.value, loss.shown.stderr) == (0.0, 0.0)
    half = 100 * tango_interval(0, 0, 20)[1]
    assert (loss.shown.low, loss.shown.high) == pytest.approx((-half, half))


def test_the_verdict_valid_is_the_only_metric_without_an_error() -> None:
    task = prepared(load_task("ko_eqbench"))
    scorer = create_scorer("eq_bench", {"unparseable": "exclude"})
    result = judged(replace(task, scorer=scorer), some_responses(task))
    without = [name for name, metric in result.metrics.items() if metric.stderr is None]
    assert without == ["valid"]


# --- Files ---


def test_lines_of_samples_hold_what_the_error_of_a_task_comes_from() -> None:
    task = prepared(load_task("ko_winogrande"))
    responses = {s.id: choosing(s, place) for place, s in enumerate(task.samples)}
    result, scores = score_task(task.definition, task.scorer, task.samples, responses)
    lines = [json.loads(sample_line(score)) for score in scores]
    assert [line["cluster"] for line in lines] == [sample.cluster for sample in task.samples]
    assert {line["group"] for line in lines} == {None}
    twins = [
        sum(line["metrics"]["acc"] for line in lines if line["cluster"] == name) / 2
        for name in dict.fromkeys(line["cluster"] for line in lines)
    ]
    expected = np.std(twins, ddof=1) / math.sqrt(len(twins))
    assert result.metrics["acc"].stderr == pytest.approx(expected, rel=1e-9)


def test_a_score_keeps_the_group_of_its_sample() -> None:
    task = prepare_task(load_task("kornat_knowledge"), limit=8)
    responses = {sample.id: choosing(sample, 0) for sample in task.samples}
    result, scores = score_task(task.definition, task.scorer, task.samples, responses)
    assert [score.group for score in scores] == [s.fields["subject"] for s in task.samples]
    assert set(result.groups) == {score.group for score in scores}
    assert json.loads(sample_line(scores[0]))["group"] == scores[0].group
