"""Each metric as a module for `evaluate`: loaded offline, and equal to `ko-eval score`."""

from __future__ import annotations

import ast
import importlib.util
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hostile import Run

from ko_eval.errors import DataError, TaskError
from ko_eval.interop.metric_list import METRIC_MODULES, METRICS_FOLDER
from ko_eval.scorers.registry import SCORERS
from ko_eval.tasks.prepare import prepare_samples
from ko_eval.tasks.registry import load_task
from ko_eval.types import GenerateResponse, Sample

needs_evaluate = pytest.mark.skipif(
    importlib.util.find_spec("evaluate") is None, reason="evaluate is not installed"
)
Load = Callable[[str], Any]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """`evaluate.load` without a network, and with caches of its own."""
    import evaluate

    monkeypatch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", str(tmp_path / "metrics"))

    def loaded(name: str) -> Any:
        return evaluate.load(str(METRIC_MODULES[name].path), cache_dir=str(tmp_path / "metrics"))

    return loaded


def test_every_scorer_that_judges_has_a_module() -> None:
    assert set(METRIC_MODULES) == set(SCORERS) - {"judged_elsewhere"}
    assert {path.name for path in METRICS_FOLDER.iterdir()} == set(METRIC_MODULES)


@pytest.mark.parametrize("name", METRIC_MODULES)
def test_a_module_is_the_scorer_of_its_name(name: str) -> None:
    text = (METRIC_MODULES[name].path / f"{name}.py").read_text(encoding="utf-8")
    (defined,) = (node for node in ast.parse(text).body if isinstance(node, ast.ClassDef))
    (scorer,) = (node.value for node in defined.body if isinstance(node, ast.Assign))
    assert isinstance(scorer, ast.Constant) and scorer.value == name


def test_the_list_of_metrics_tells_what_they_read_and_where_they_are(here: Run) -> None:
    done = here("list", "metrics")
    assert done.code == 0, done.err
    assert all(name in done.out for name in METRIC_MODULES)
    assert f"evaluate.load('{METRICS_FOLDER}/NAME')" in done.out


def number(sample: Sample) -> Any:
    return str(sample.target)


def ratings(sample: Sample) -> Any:
    return sample.fields["reference_answer_fullscale"]


def instructions(sample: Sample) -> Any:
    return {name: sample.fields[name] for name in ("prompt", "instruction_id_list", "kwargs")}


def choices(sample: Sample) -> Any:
    return {"choices": list(sample.choices), "answer": sample.target, "cluster": sample.cluster}


def credits(sample: Sample) -> Any:
    return {"choices": list(sample.choices), "credits": sample.fields["credits"]}


def people(sample: Sample) -> Any:
    return {"choices": list(sample.choices), "distribution": sample.fields["distribution"]}


CASES: list[tuple[str, str, str | None, Callable[[Sample], Any], dict[str, Any]]] = [
    ("gsm8k", "ko_gsm8k", None, number, {}),
    ("eq_bench", "ko_eqbench", None, ratings, {}),
    ("ifeval", "ko_ifeval", None, instructions, {}),
    ("choice_likelihood", "kornat_knowledge", None, choices, {}),
    ("context_likelihood", "ko_winogrande", None, choices, {}),
    ("graded_choice", "ko_harmlessness", None, credits, {}),
    ("social_value", "kornat_social_value", None, people, {}),
    ("choice_text", "kornat_knowledge", "generate", choices, {}),
    ("choice_text", "ko_harmlessness", "generate", credits, {"worth": "credits"}),
    ("choice_text", "kornat_social_value", "generate", people, {"worth": "distribution"}),
]


@needs_evaluate
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "task", "variant", "reference", "options"),
    CASES,
    ids=[f"{name}-{task}" for name, task, *_ in CASES],
)
def test_a_module_gives_what_the_command_gives(
    here: Run,
    load: Load,
    tmp_path: Path,
    name: str,
    task: str,
    variant: str | None,
    reference: Callable[[Sample], Any],
    options: dict[str, Any],
) -> None:
    scorer, _, rendered = prepare_samples(load_task(task, variant=variant), "bundled")
    samples = [item.sample for item in rendered]
    drawn = random.Random(7)
    predictions: list[Any] = []
    lines = []
    for place, sample in enumerate(samples):
        if METRIC_MODULES[name].predictions == "text":
            gold = scorer.gold(sample)
            assert isinstance(gold, GenerateResponse)
            # Right answers, answers in other words, and none.
            texts = (gold.text, f"제 생각에는 {gold.text} 입니다.", "모르겠습니다.")
            predictions.append(texts[place % 3])
            lines.append({"id": sample.id, "response": predictions[-1]})
        else:
            predictions.append([-9 * drawn.random() for _ in sample.choices])
            lines.append({"id": sample.id, "loglikelihoods": predictions[-1]})
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    words = ["--variant", variant] if variant else []
    done = here("score", task, *words, "--responses", "r.jsonl", "--json")
    assert done.code == 0, done.err
    by_command = json.loads(done.out)["metrics"]
    found = load(name).compute(
        predictions=predictions, references=[reference(sample) for sample in samples], **options
    )
    values = {metric: value for metric, value in found.items() if not metric.endswith("_stderr")}
    assert values == pytest.approx({key: metric["value"] for key, metric in by_command.items()})
    assert len(samples) >= 30
    assert any(value not in (0, 1, 100) for value in values.values())
    for metric, one in by_command.items():
        if one["stderr"] is not None:
            assert found[f"{metric}_stderr"] == pytest.approx(one["stderr"], abs=1e-12)


@needs_evaluate
@pytest.mark.slow
def test_references_may_be_json_rows_of_the_data_and_numbers(load: Load) -> None:
    rows = {
        f"emotion{i}": word for i, word in enumerate(("기쁨", "혐의를 제기함", "화", "슬픔"), 1)
    }
    rows |= {f"emotion{i}_score": i for i in range(1, 5)}  # type: ignore[misc]
    text = "기쁨: 1\n**혐의를 제기함**: 2점\n화: 3\n슬픔: 4"
    for reference in (rows, json.dumps(rows), repr(rows), {"reference_answer_fullscale": rows}):
        found = load("eq_bench").compute(predictions=[text], references=[reference])
        assert (found["eqbench"], found["eqbench_korean"]) == (0.0, 100.0)
    numbers = load("gsm8k").compute(predictions=["#### 1,200", "3개"], references=[1200, "#### 3"])
    assert (numbers["exact_match_strict"], numbers["exact_match_korean"]) == (0.5, 1.0)


@needs_evaluate
@pytest.mark.slow
def test_single_pairs_and_batches_add_up(load: Load) -> None:
    metric = load("gsm8k")
    metric.add(prediction="#### 1", reference="1")
    metric.add_batch(predictions=["#### 2", "없음"], references=[2, 3])
    assert metric.compute()["exact_match_strict"] == pytest.approx(2 / 3)


@needs_evaluate
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "prediction", "reference", "options", "message"),
    [
        ("eq_bench", "가: 1", "not json", {}, "reference 0 cannot be read"),
        ("eq_bench", "가: 1", "[1]", {}, "must be an object"),
        ("eq_bench", "가: 1", {"emotion1": "가"}, {}, "emotion1 … emotion4"),
        ("choice_likelihood", [-1.0], {"choices": ["a", "b"], "answer": 0}, {}, "has 2 choices"),
        ("choice_likelihood", [-1.0, -2.0], {"choices": ["a", "b"]}, {}, "which choice is right"),
        ("gsm8k", "#### 1", "1", {"reading": "loud"}, "reading cannot be 'loud'"),
    ],
)
def test_what_cannot_be_judged_is_named(
    load: Load,
    name: str,
    prediction: Any,
    reference: Any,
    options: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises((DataError, TaskError), match=message):
        load(name).compute(predictions=[prediction], references=[reference], **options)
