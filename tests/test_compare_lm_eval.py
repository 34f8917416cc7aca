"""`ko-eval compare` reads what lm-evaluation-harness wrote, and what we write in its layout."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hostile
import pytest
import yaml
from result_files import write_result
from tiny_model import make_tiny_llama

from ko_eval.errors import DataError
from ko_eval.interop.compared import read_any_runs
from ko_eval.reports.comparison import Pair, compare_runs
from ko_eval.runs.sample_files import samples_path

harness = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed"
)


def pair_of(*paths: Path, **more: Any) -> Pair:
    (pair,) = compare_runs(read_any_runs(paths), **more)
    return pair


# --- what the harness itself wrote ---------------------------------------------------------------

EVALUATE = """
import sys, lm_eval
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager
tasks, out, *models = sys.argv[1:]
for model, shots in zip(models[::2], models[1::2]):
    tracker = EvaluationTracker(output_path=f"{out}/{shots}")
    found = lm_eval.simple_evaluate(
        model="hf", model_args=f"pretrained={model},dtype=float32", tasks=["choosing", "writing"],
        device="cpu", num_fewshot=int(shots), log_samples=True, evaluation_tracker=tracker,
        bootstrap_iters=0,
        task_manager=TaskManager(include_path=tasks, include_defaults=False),
    )
    samples = found.pop("samples")
    tracker.save_results_aggregated(results=found, samples=samples)
    for name in found["configs"]:
        tracker.save_results_samples(task_name=name, samples=samples[name])
"""


@pytest.fixture(scope="module")
def written_by_the_harness(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of two models, and one of them with few-shot examples."""
    folder = tmp_path_factory.mktemp("harness")
    other = make_tiny_llama(folder / "other", seed=1)
    words = [str(_tasks(folder)), str(folder / "out")]
    for model, shots in ((tiny, "0"), (other, "0"), (other, "1")):
        words += [str(model), shots]
    done = subprocess.run(
        [sys.executable, "-c", EVALUATE, *words],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    zero, one = folder / "out" / "0", folder / "out" / "1"
    (tiny_out,) = zero.glob("*tiny")
    (other_out,) = zero.glob("*other")
    return {"tiny": tiny_out, "other": other_out, "one shot": one}


def _tasks(folder: Path) -> Path:
    """Tasks of the harness's own form: one chooses, one writes."""
    rows = [
        {"question": f"{n} 더하기 {n}는 얼마인가?", "choices": [str(n), str(2 * n)], "right": n % 2}
        for n in range(30)
    ]
    data = folder / "rows.json"
    data.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    shared: dict[str, Any] = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(folder / "c")},
        "test_split": "test",
        "fewshot_split": "test",
        "doc_to_text": "질문: {{question}}\n답:",
    }
    own: dict[str, dict[str, Any]] = {
        "choosing": {
            "output_type": "multiple_choice",
            "doc_to_choice": "{{choices}}",
            "doc_to_target": "right",
            "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
        },
        "writing": {
            "output_type": "generate_until",
            "doc_to_target": "{{choices[right]}}",
            "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4},
            "metric_list": [{"metric": "exact_match"}],
        },
    }
    tasks = folder / "tasks"
    tasks.mkdir()
    for name, each in own.items():
        text = yaml.safe_dump({"task": name, **shared, **each}, allow_unicode=True)
        (tasks / f"{name}.yaml").write_text(text, encoding="utf-8")
    return tasks


@harness
@pytest.mark.slow
def test_two_runs_of_the_harness_are_compared_item_by_item(
    written_by_the_harness: dict[str, Path],
) -> None:
    a, b = written_by_the_harness["tiny"], written_by_the_harness["other"]
    pair = pair_of(a, b)
    by_name = {task.name: task for task in pair.tasks}
    assert set(by_name) == {"choosing", "writing"}
    choosing = by_name["choosing"]
    assert (choosing.metric, choosing.n, choosing.method) == ("acc_norm", 30, "mcnemar")
    scores = [
        json.loads(next(path.glob("results_*.json")).read_bytes())["results"]["choosing"]
        for path in (a, b)
    ]
    expected = (scores[1]["acc_norm,none"] - scores[0]["acc_norm,none"]) * 100
    assert choosing.difference == pytest.approx(expected)
    assert choosing.gained - choosing.lost == round(expected * 30 / 100)
    assert {each.layer.name for each in pair.comparability.with_model} == {"model"}


@harness
@pytest.mark.slow
def test_another_few_shot_count_of_the_harness_is_refused(
    written_by_the_harness: dict[str, Path],
) -> None:
    with pytest.raises(DataError, match=r"\(fewshot\.count\): 0 \| 1"):
        pair_of(written_by_the_harness["other"], written_by_the_harness["one shot"])


# --- the same layout, written by us --------------------------------------------------------------


@pytest.fixture
def exported(tmp_path: Path) -> list[Path]:
    """Two results of the harness's form: 40 items, of which 20 and 28 are right."""
    return [_written(tmp_path / name, range(right)) for name, right in (("a", 20), ("b", 28))]


def _written(folder: Path, right: Sequence[int], **changes: Any) -> Path:
    """A run as the harness writes it, of one task of 40 questions."""
    folder.mkdir(parents=True)
    date = "2026-11-22T09-00-00.000000"
    lines = [
        {
            "doc_id": number,
            "doc": {"id": f"ko_gpqa-{number + 1:05}", "question": "질문"},
            "target": "0",
            "arguments": {},
            "resps": [[["-1.0", "False"]]],
            "filtered_resps": [["-1.0", "False"]],
            "filter": "none",
            "metrics": ["acc"],
            "doc_hash": f"{number:064}",
            "prompt_hash": f"{number:064}",
            "target_hash": "0" * 64,
            "acc": float(number in right),
        }
        for number in range(40)
    ]
    content: dict[str, Any] = {
        "results": {
            "ko_gpqa_diamond_zeroshot": {
                "alias": "ko_gpqa",
                "sample_len": 40,
                "acc,none": len(right) / 40,
                "acc_stderr,none": 0.08,
            }
        },
        "configs": {"ko_gpqa_diamond_zeroshot": {"doc_to_text": "{{question}}"}},
        "n-shot": {"ko_gpqa_diamond_zeroshot": 0},
        "n-samples": {"ko_gpqa_diamond_zeroshot": {"original": 40, "effective": 40}},
        "config": {"model": "hf", "model_dtype": "torch.bfloat16"},
        "model_name": f"org/{folder.name}",
        "chat_template_sha": None,
        "max_length": 4096,
        **changes,
    }
    (folder / f"results_{date}.json").write_text(json.dumps(content), encoding="utf-8")
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    log = folder / f"samples_ko_gpqa_diamond_zeroshot_{date}.jsonl"
    log.write_text(text, encoding="utf-8")
    return folder


def test_results_of_the_harness_are_read_from_their_folder_or_their_file(
    exported: list[Path], tmp_path: Path
) -> None:
    for a in (exported[0], next(exported[0].glob("results_*.json"))):
        pair = pair_of(a, exported[1])
        (task,) = pair.tasks
        assert task.name == "ko_gpqa_diamond_zeroshot"
        assert [task.a, task.b] == pytest.approx([50.0, 70.0])
        assert (task.gained, task.lost) == (8, 0)
    (tmp_path / "above").mkdir()
    exported[0].rename(tmp_path / "above" / "a")
    assert pair_of(tmp_path / "above", exported[1]).tasks[0].difference == pytest.approx(20.0)
    exported[1].rename(tmp_path / "above" / "b")
    with pytest.raises(DataError, match="several models"):
        read_any_runs([tmp_path / "above"])


@pytest.mark.parametrize(
    ("changes", "layer"),
    [
        ({"config": {"model": "hf", "model_dtype": "torch.float16"}}, "engine.dtype"),
        ({"chat_template_sha": "0" * 64}, "template.policy"),
        ({"n-shot": {"ko_gpqa_diamond_zeroshot": 5}}, "fewshot.count"),
        ({"configs": {"ko_gpqa_diamond_zeroshot": {"doc_to_text": "x"}}}, "prompt"),
        (
            {"n-samples": {"ko_gpqa_diamond_zeroshot": {"original": 50, "effective": 40}}},
            "data.limit",
        ),
    ],
    ids=["dtype", "template", "shots", "prompt", "limit"],
)
def test_what_the_harness_logs_of_its_protocol_must_agree(
    changes: dict[str, Any], layer: str, exported: list[Path], tmp_path: Path
) -> None:
    other = _written(tmp_path / "c", range(20), **changes)
    with pytest.raises(DataError, match=rf"\({layer}\)"):
        pair_of(exported[0], other)


def test_a_run_of_ours_is_compared_with_one_of_the_harness(
    exported: list[Path], tmp_path: Path
) -> None:
    ours = write_result(tmp_path / "ours", model="org/ours", shown={"ko_gpqa": 50.0}, n=40)
    pair = pair_of(ours, exported[1])
    (task,) = pair.tasks
    # The board's key names our task, and our metric is the one that is looked for.
    assert (task.name, task.metric, task.n, task.method) == ("ko_gpqa", "acc", 40, "mcnemar")
    assert task.b == pytest.approx(70.0)
    assert pair.comparability.harnesses == ("ko-eval", "lm-evaluation-harness")
    few = write_result(
        tmp_path / "few",
        shown={"ko_gpqa": 50.0},
        n=40,
        tasks={"ko_gpqa": {"shots": 5}},
    )
    with pytest.raises(DataError, match=r"\(fewshot\.count\)"):
        pair_of(few, exported[1])


def test_another_use_of_the_chat_template_is_refused_between_harnesses(
    exported: list[Path], tmp_path: Path
) -> None:
    with_template = {"ko_gpqa": {"chat_template": True}}
    ours = write_result(tmp_path / "ours", shown={"ko_gpqa": 50.0}, n=40, tasks=with_template)
    with pytest.raises(DataError, match=r"\(template\.policy\): on \| off"):
        pair_of(ours, exported[0])
    theirs = _written(tmp_path / "theirs", range(20), chat_template_sha="0" * 64)
    assert pair_of(ours, theirs).tasks[0].method == "mcnemar"


def test_without_sample_logs_the_scores_are_compared_by_their_errors(
    exported: list[Path],
) -> None:
    for log in exported[1].glob("samples_*"):
        log.unlink()
    task = pair_of(*exported).tasks[0]
    assert task.method == "unpaired"
    assert task.difference == pytest.approx(20.0)
    assert task.stderr == pytest.approx((8.0**2 + 8.0**2) ** 0.5)
    assert "no sample log" in task.notes[0]


def _scores_alone(folder: Path, **values: float) -> Path:
    """A result of the harness without logs: the numbers of one task, or `N/A`."""
    path = _written(folder, range(20), results={"ko_gpqa_diamond_zeroshot": values})
    for log in path.glob("samples_*"):
        log.unlink()
    return path


def test_an_error_of_zero_decides_nothing_about_a_few_items(tmp_path: Path) -> None:
    """All wrong and all right have no spread, and yet an interval."""
    wrong, right = (
        _scores_alone(
            tmp_path / name, **{"acc,none": value, "acc_stderr,none": 0.0, "sample_len": 1}
        )
        for name, value in (("a", 0.0), ("b", 1.0))
    )
    task = pair_of(wrong, right).tasks[0]
    assert (task.method, task.difference, task.verdict) == ("unpaired", 100.0, "undecided")
    assert task.low is not None
    assert task.low < 100
    many = [
        _scores_alone(
            tmp_path / name, **{"acc,none": value, "acc_stderr,none": 0.0, "sample_len": 200}
        )
        for name, value in (("c", 0.0), ("d", 1.0))
    ]
    assert pair_of(*many).tasks[0].verdict == "better"
    # Of how many items it is not said.
    unknown = _scores_alone(tmp_path / "e", **{"acc,none": 1.0, "acc_stderr,none": 0.0})
    assert pair_of(wrong, unknown).tasks[0].low is None


@pytest.mark.parametrize("metric", ["eqbench", "bleu"])
def test_a_small_value_of_another_scale_is_no_share(metric: str, tmp_path: Path) -> None:
    """0.47 of 100 is no 47 %."""
    low, high = (
        _scores_alone(tmp_path / name, **{f"{metric},none": value, f"{metric}_stderr,none": 0.4})
        for name, value in (("a", 0.47), ("b", 27.5))
    )
    task = pair_of(low, high).tasks[0]
    assert (task.a, task.b, task.verdict) == (0.47, 27.5, "better")


def _without_ids(folder: Path) -> Path:
    (log,) = folder.glob("samples_*")
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    text = "".join(json.dumps({**line, "doc": {"question": "질문"}}) + "\n" for line in lines)
    log.write_text(text, encoding="utf-8")
    return folder


def _numbered(folder: Path, first: int, right: Sequence[int]) -> Path:
    """A run of ours of 40 items, whose ids are numbers."""
    ours = write_result(folder, model="org/ours", shown={"ko_gpqa": 50.0}, n=40)
    path = samples_path(ours, "ko_gpqa")
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for place, line in enumerate(lines):
        line |= {"id": str(place + first), "metrics": {"acc": float(place in right)}}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return ours


def test_rows_without_ids_are_paired_by_their_number_whoever_counts_from_one(
    exported: list[Path], tmp_path: Path
) -> None:
    ours = _numbered(tmp_path / "ours", 1, range(20))
    (task,) = pair_of(ours, _without_ids(exported[0])).tasks
    assert (task.n, task.method, task.gained, task.lost) == (40, "mcnemar", 0, 0)
    assert not task.notes


def test_numbers_that_may_be_ids_of_another_kind_are_not_paired(
    exported: list[Path], tmp_path: Path
) -> None:
    ours = _numbered(tmp_path / "ours", 7, range(20))
    (task,) = pair_of(ours, _without_ids(exported[0])).tasks
    assert task.method == "unpaired"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("[", "not valid JSON"),
        ("[" * 100_000, "nested deeper"),
        ("[]", "holds no results"),
        ('{"results": {"a": 3}}', "holds no results"),
        ('{"results": {}}', "no scores of tasks"),
        ('{"results": {"a": {"alias": "a"}}}', "no scores of tasks"),
        ('{"results": {"a": {"acc,none": NaN}}}', "no scores of tasks"),
        (f'{{"results": {{"a": {{"acc,none": {"9" * 400}}}}}}}', "no scores of tasks"),
    ],
    ids=["torn", "deep", "list", "shape", "empty", "no numbers", "not a number", "too large"],
)
def test_what_is_no_result_is_a_message(
    content: str, what: str, tmp_path: Path, here: hostile.Run
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "results_2026.json").write_text(content, encoding="utf-8")
    ended = here("compare", "a", "a")
    assert ended.code == 2
    assert what in ended.err


def test_a_damaged_sample_log_is_named_with_its_line(
    exported: list[Path], here: hostile.Run
) -> None:
    (log,) = exported[0].glob("samples_*")
    with log.open("a", encoding="utf-8") as file:
        file.write('{"doc_id": ')
    ended = here("compare", *exported)
    assert ended.code == 2
    assert "line 41" in ended.err
