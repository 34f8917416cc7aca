"""A whole run with a tiny real model: its directory, its result, and what it says of itself."""

from __future__ import annotations

import json
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import transformers
from rich.console import Console
from short_runs import NINE, make_suite, options

from ko_eval.engines.transformers_loading import LoadOptions
from ko_eval.errors import UsageError
from ko_eval.reports.table import result_table
from ko_eval.resources import shipped
from ko_eval.runs.cards import all_cards
from ko_eval.runs.evaluate import RunOutcome, SilentReporter, evaluate
from ko_eval.runs.plan import RunOptions, plan_run
from ko_eval.runs.result import RunResult
from ko_eval.runs.scoring import average
from ko_eval.types import Metric


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_suite(tmp_path_factory.mktemp("suite"))


@pytest.fixture(scope="module")
def finished(tiny: Path, suite: Path, tmp_path_factory: pytest.TempPathFactory) -> RunOutcome:
    return evaluate(options(tiny, suite, tmp_path_factory.mktemp("out")))


def test_nine_scores_and_their_plain_mean(finished: RunOutcome) -> None:
    result = finished.result
    assert [task.name for task in result.tasks] == list(NINE)
    assert result.average is not None
    shown = [task.shown.value for task in result.tasks]
    assert result.average.value == pytest.approx(sum(shown) / 9, abs=1e-12)
    for task in result.tasks:
        assert task.n == sum(task.outcomes.values()) == 6
        assert task.data.label == "bundled"
        assert task.tokens.prompt > 0
        assert task.tokens.completion > 0
    assert finished.asked == 9 * 6


def test_the_run_directory_is_as_designed(finished: RunOutcome) -> None:
    directory = finished.directory
    assert directory.name == f"short-bundled-{finished.result.fingerprint}"
    run = json.loads((directory / "run.json").read_text(encoding="utf-8"))
    assert run["fingerprint"] == finished.result.fingerprint
    assert run["sessions"][0]["environment"]["torch"]
    assert run["sessions"][0]["conditions"]["device"] == "cpu"
    for name in NINE:
        assert len((directory / "responses" / f"{name}.jsonl").read_bytes().splitlines()) == 6
        lines = (directory / "samples" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        assert [set(json.loads(line)) >= {"id", "metrics", "outcome"} for line in lines] == [
            True
        ] * 6
    stored = RunResult.model_validate_json((directory / "results.json").read_bytes())
    assert stored == finished.result
    assert not list(directory.rglob("*.tmp"))


def test_the_result_carries_its_provenance(finished: RunOutcome) -> None:
    result = finished.result
    assert result.conditions["dtype"] == "float32"
    assert result.model.template_sha256 is None
    assert result.environment["transformers"]
    gpqa = result.tasks[0]
    assert gpqa.protocol["shots"].status == "known"
    assert len(gpqa.data.sha256) == 64
    assert result.tasks[1].fewshot is not None


def test_a_second_run_asks_nothing_and_loads_no_model(
    tiny: Path, suite: Path, finished: RunOutcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (finished.directory / "results.json").read_bytes()
    monkeypatch.setitem(sys.modules, "ko_eval.engines.transformers_engine", None)
    again = evaluate(options(tiny, suite, finished.directory.parents[1]))
    assert (again.asked, again.answered_before) == (0, 54)
    assert again.directory == finished.directory
    assert (again.directory / "results.json").read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [{"limit": 5}, {"shots": 1, "limit": 3}, {"max_length": 1900}, {"seed": 1}],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_the_responses_changes_the_fingerprint(
    tiny: Path, suite: Path, finished: RunOutcome, change: dict[str, Any]
) -> None:
    plan = plan_run(options(tiny, suite, Path("unused"), **change))
    assert plan.fingerprint != finished.result.fingerprint


def test_sessions_that_differ_are_named_in_the_result(
    tiny: Path, suite: Path, tmp_path: Path
) -> None:
    first = evaluate(options(tiny, suite, tmp_path))
    record = first.directory / "run.json"
    content = json.loads(record.read_text(encoding="utf-8"))
    content["sessions"][0]["environment"]["torch"] = "1.0"
    record.write_text(json.dumps(content), encoding="utf-8")
    (first.directory / "responses" / "ko_gpqa.jsonl").unlink()
    second = evaluate(options(tiny, suite, tmp_path))
    assert second.asked == 6
    assert "2 sessions that differ in torch" in second.result.warnings[0]


def test_other_weights_change_the_fingerprint(
    tiny: Path, suite: Path, finished: RunOutcome, tmp_path: Path
) -> None:
    from tiny_model import make_tiny_llama

    other = make_tiny_llama(tmp_path / tiny.name, seed=1)
    plan = plan_run(options(other, suite, Path("unused")))
    assert plan.layers["model"] != finished.result.layers["model"]
    assert plan.layers["tasks"] == finished.result.layers["tasks"]


def test_a_cut_context_is_counted_in_the_result(tiny: Path, tmp_path: Path) -> None:
    outcome = evaluate(
        RunOptions(model=str(tiny), tasks=("ko_winogrande",), limit=2, max_length=64, out=tmp_path)
    )
    assert outcome.result.tasks[0].truncated == 2
    assert "cut on the left" in outcome.result.warnings[0]


def test_a_variant_is_taken_and_recorded(tiny: Path, tmp_path: Path) -> None:
    plain, joint = (
        evaluate(
            RunOptions(
                model=str(tiny), tasks=("ko_winogrande",), limit=2, variant=variant, out=tmp_path
            )
        )
        for variant in (None, "option_and_rest")
    )
    assert joint.result.tasks[0].variant == "option_and_rest"
    assert "acc_norm" in joint.result.tasks[0].metrics
    assert plain.directory != joint.directory


def test_the_protocol_in_the_result_is_what_was_done(tiny: Path, tmp_path: Path) -> None:
    more: dict[str, Any] = {"tasks": ("ko_winogrande",), "limit": 2, "out": tmp_path}
    result = evaluate(
        RunOptions(model=str(tiny), shots=1, variant="option_and_rest", **more)
    ).result
    protocol = result.tasks[0].protocol
    assert protocol["shots"].value == 1
    assert "option" in str(protocol["scored"].value)


def test_a_new_description_asks_nothing_again(tiny: Path, tmp_path: Path) -> None:
    text = (shipped("tasks", "ko_gpqa.yaml")).read_text(encoding="utf-8")
    path = tmp_path / "t.yaml"
    asked = []
    for description in ("one", "two"):
        path.write_text(text.replace("Graduate-level", description), encoding="utf-8")
        outcome = evaluate(
            RunOptions(model=str(tiny), tasks=(str(path),), limit=2, out=tmp_path / "out")
        )
        asked.append(outcome.asked)
    assert asked == [2, 0]


def test_an_average_of_perfect_scores_is_not_certain() -> None:
    perfect = Metric(100.0, 0.0, 67.6, 100.0, 8)
    both = average([perfect, perfect])
    assert both.low is not None
    assert both.low == pytest.approx(100 - (2 * 32.4**2) ** 0.5 / 2)
    assert both.high == 100.0


def test_one_task_twice_is_refused(tiny: Path) -> None:
    with pytest.raises(UsageError, match="given twice"):
        plan_run(RunOptions(model=str(tiny), tasks=("ko_gpqa", "ko_gpqa")))


def test_the_boards_first_row_averages_to_its_published_value() -> None:
    card = all_cards()["leaderboard2-linkbricks-gemma-2-27b"]
    shown = [Metric(card.shown[name].value, None, None, None, 1) for name in NINE]
    assert round(average(shown).value, 2) == card.average == 51.37


@pytest.fixture(scope="module")
def without_positions(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with ALiBi, which cannot take packed rows."""
    folder = tmp_path_factory.mktemp("alibi")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny)
    config = transformers.BloomConfig(
        vocab_size=len(tokenizer), hidden_size=32, n_layer=1, n_head=2, seq_length=2048
    )
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class Interrupting(SilentReporter):
    """Ctrl-C when the third request is answered."""

    def __init__(self) -> None:
        self.left = 3

    def answered(self, name: str, tokens: int) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def test_how_answers_came_about_is_kept_when_a_run_is_stopped_and_when_it_is_repeated(
    without_positions: Path, tmp_path: Path
) -> None:
    asked = RunOptions(
        model=str(without_positions),
        tasks=("kornat_knowledge",),
        limit=6,
        load=LoadOptions(dtype="float32", device="cpu"),
        out=tmp_path,
    )
    with pytest.raises(KeyboardInterrupt):
        evaluate(asked, Interrupting())
    (record,) = tmp_path.rglob("run.json")
    (session,) = json.loads(record.read_text(encoding="utf-8"))["sessions"]
    assert session["conditions"]["likelihood"] == "plain"
    assert "no position ids" in session["warnings"][0]
    finished = evaluate(asked)
    assert finished.answered_before == 3
    repeated = evaluate(asked)
    assert repeated.asked == 0
    assert repeated.result.warnings == finished.result.warnings
    assert sum("no position ids" in text for text in repeated.result.warnings) == 1
    assert repeated.result.conditions["likelihood"] == "plain"


def test_a_variant_has_a_directory_of_its_own_and_is_named_in_the_table(
    tiny: Path, tmp_path: Path
) -> None:
    fields: dict[str, Any] = {
        "model": str(tiny),
        "tasks": ("kornat_knowledge", "kornat_social_value"),
        "limit": 2,
        "load": LoadOptions(dtype="float32", device="cpu"),
        "out": tmp_path,
    }
    plain = evaluate(RunOptions(**fields))
    varied = evaluate(RunOptions(**fields, variant="pmi"))
    assert plain.directory != varied.directory
    assert "-pmi-" in varied.directory.name
    assert "run as they are, without a variant 'pmi': kornat_social_value" in varied.result.warnings
    console = Console(width=200, file=StringIO())
    console.print(result_table(varied.result))
    assert isinstance(console.file, StringIO)
    shown = console.file.getvalue()
    assert "KorNAT-Knowledge (pmi)" in shown
    assert "KorNAT-Social-Value (pmi)" not in shown


def test_the_record_says_how_the_run_was_last_asked_for(tiny: Path, tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "model": str(tiny),
        "limit": 2,
        "load": LoadOptions(dtype="float32", device="cpu"),
        "out": tmp_path,
    }
    task = tmp_path / "kornat_knowledge.yaml"
    task.write_text(shipped("tasks", "kornat_knowledge.yaml").read_text())
    first = evaluate(RunOptions(**fields, tasks=("kornat_knowledge",)))
    second = evaluate(RunOptions(**fields, tasks=(str(task),)))
    assert (second.directory, second.asked) == (first.directory, 0)
    record = json.loads((second.directory / "run.json").read_text())
    assert record["options"]["tasks"] == [str(task)]


def test_results_of_the_schema_before_are_still_read(finished: RunOutcome) -> None:
    content = json.loads((finished.directory / "results.json").read_text())
    content["schema_version"] = "1.0"
    for task in content["tasks"]:
        del task["groups"], task["format_loss"]
    assert RunResult.model_validate(content).tasks[0].groups == {}
