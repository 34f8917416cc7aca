"""`ko-eval export`: each format is read back by the library of the other side."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import server_runs
import yaml
from hostile import Run
from hypothesis import given
from hypothesis import strategies as st
from misbehaving_server import Ask, MisbehavingServer
from result_files import write_result
from short_runs import NINE

from ko_eval.engines.transformers_loading import LoadOptions
from ko_eval.errors import DataError, KoEvalError
from ko_eval.interop.exported_run import ExportedRun, hub_dataset, open_run
from ko_eval.interop.lm_eval_export import results_content, write_lm_eval
from ko_eval.interop.lm_eval_export_samples import sample_lines
from ko_eval.interop.model_card import eval_result_files, model_index
from ko_eval.interop.sample_tables import COLUMNS, csv_text, write_parquet
from ko_eval.resources import shipped
from ko_eval.runs.evaluate import evaluate
from ko_eval.runs.plan import RunOptions
from ko_eval.runs.result import TaskReport
from ko_eval.runs.sample_files import read_samples
from ko_eval.scorers.gsm8k import cleaned
from ko_eval.tasks.definition import HubSource
from ko_eval.tasks.hub_errors import label
from ko_eval.tasks.registry import load_task, task_names

ITEMS = 6
BOARD_KEYS = {
    "ko_gpqa": ("ko_gpqa_diamond_zeroshot", "acc_norm,none"),
    "ko_winogrande": ("ko_winogrande", "acc,none"),
    "ko_gsm8k": ("ko_gsm8k", "exact_match,strict-match"),
    "ko_eqbench": ("ko_eqbench", "eqbench,none"),
    "ko_ifeval": ("ko_ifeval", "strict_acc,none"),
    "kornat_knowledge": ("kornat_common", "acc_norm,none"),
    "kornat_social_value": ("kornat_social", "A-SVA,none"),
    "ko_harmlessness": ("kornat_harmless", "acc_norm,none"),
    "ko_helpfulness": ("kornat_helpful", "acc_norm,none"),
}
"""FACTS section 1: the board's key and the metric that it shows, except that our own mean of two
metrics leads Ko-IFEval."""


def solutions() -> dict[str, str]:
    lines = shipped("seeds", "ko_gsm8k.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["question"]: cleaned(row["answer"]) for row in map(json.loads, lines)}


def solved(ask: Ask, reply: dict[str, Any]) -> dict[str, Any]:
    """Right answers to word problems, by turns in the published form and in Korean words."""
    question = ask.text.rpartition("질문: ")[2].removesuffix("\n답:")
    answers = solutions()
    if question in answers:
        place = list(answers).index(question)
        form = ("풀이\n#### {}", "정답은 {}입니다.", "모르겠습니다")[place % 3]
        reply["choices"][0]["message"]["content"] = form.format(answers[question])
    return reply


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExportedRun]:
    """A finished run of the nine tasks."""
    with MisbehavingServer(reply=solved) as server:
        done = server_runs.run(server, tmp_path_factory.mktemp("out"), tasks=NINE, limit=ITEMS)
    yield open_run(done.directory)


def task_of(run: ExportedRun, name: str) -> TaskReport:
    return next(task for task in run.result.tasks if task.name == name)


def as_public(run: ExportedRun, *, limit: int | None = None, **data: Any) -> ExportedRun:
    """The run as if its word problems had been asked on public data."""
    wanted = {
        "label": "hub",
        "source": "HAERAE-HUB/HRM8K / GSM8K / test",
        "revision": "0" * 40,
        **data,
    }
    tasks = [
        task.model_copy(update={"data": task.data.model_copy(update=wanted)})
        if task.name == "ko_gsm8k"
        else task
        for task in run.result.tasks
    ]
    return ExportedRun(
        run.directory, run.result.model_copy(update={"tasks": tasks, "limit": limit})
    )


def test_results_have_the_boards_keys_and_metric_names(run: ExportedRun) -> None:
    content: Any = results_content(run)
    assert list(content["results"]) == [key for key, _ in BOARD_KEYS.values()]
    for name, (key, metric) in BOARD_KEYS.items():
        task = task_of(run, name)
        values = content["results"][key]
        assert values[metric] == task.metrics[task.metric].value
        shown, reading = metric.split(",")
        assert values[f"{shown}_stderr,{reading}"] == task.metrics[task.metric].stderr
        assert content["n-samples"][key] == {"effective": ITEMS}
        assert content["n-shot"][key] == task.shots
        assert "bundled" in values["alias"]
        assert content["configs"][key]["metadata"]["data_label"] == "bundled"


def test_format_losses_are_in_the_export(run: ExportedRun) -> None:
    content: Any = results_content(run)
    word_problems = content["results"]["ko_gsm8k"]
    assert word_problems["exact_match,strict-match"] == pytest.approx(2 / ITEMS)
    assert word_problems["exact_match,korean"] == pytest.approx(4 / ITEMS)


def test_what_is_not_known_is_left_out(run: ExportedRun, tmp_path: Path) -> None:
    content: Any = results_content(run)
    # The run was limited, its server gave neither revision nor dtype, and no template was used.
    for key in ("lm_eval_version", "chat_template", "chat_template_sha", "task_hashes"):
        assert key not in content
    assert "original" not in content["n-samples"]["ko_gsm8k"]
    assert "model_revision" not in content["config"]
    assert set(content["config_general"]) == {"model_name"}
    single: Any = results_content(
        open_run(write_result(tmp_path / "run", n=1, shown={"ko_gpqa": 0.0}))
    )
    values = single["results"]["ko_gpqa_diamond_zeroshot"]
    assert set(values) == {"alias", "sample_len", "acc,none"}
    assert single["n-samples"]["ko_gpqa_diamond_zeroshot"] == {"original": 1, "effective": 1}


def test_a_sample_line_per_document_and_filter(run: ExportedRun) -> None:
    lines = [json.loads(line) for line in sample_lines(run, task_of(run, "ko_gsm8k"))]
    assert [line["filter"] for line in lines] == [
        *["strict-match"] * ITEMS,
        *["flexible-extract"] * ITEMS,
        *["korean"] * ITEMS,
    ]
    assert [line["doc_id"] for line in lines] == [*range(ITEMS)] * 3
    published, in_words, korean = lines[0], lines[1], lines[2 * ITEMS + 1]
    assert published["resps"][0][0].endswith("#### " + published["filtered_resps"][0])
    assert published["exact_match"] == 1.0
    assert in_words["filtered_resps"] == ["[invalid]"]
    assert in_words["exact_match"] == 0.0
    assert korean["exact_match"] == 1.0
    prompt, settings = published["arguments"]["gen_args_0"].values()
    turns = json.loads(prompt)  # as the harness sends a chat to a server
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * 5 + ["user"]
    assert turns[-1]["content"].endswith("\n답:")
    assert "질문:" in settings["until"]


def test_a_sample_line_of_choices_holds_each_pair_and_its_loglikelihood(run: ExportedRun) -> None:
    (line, *_) = map(json.loads, sample_lines(run, task_of(run, "kornat_knowledge")))
    (record, *_) = read_samples(run.directory, "kornat_knowledge")
    assert len(line["arguments"]) == len(line["resps"]) == 4
    sums = [float(answers[0][0]) for answers in line["resps"]]
    assert sums == record.detail["loglikelihoods"]
    assert line["target"] == str(record.detail["right"])
    assert [pair["arg_1"].strip() for pair in line["arguments"].values()] == line["doc"]["choices"]
    assert (line["acc"], line["acc_norm"]) == (record.metrics["acc"], record.metrics["acc_norm"])


@pytest.mark.parametrize("task", NINE)
def test_our_own_command_scores_an_exported_log_as_the_run_did(
    run: ExportedRun, here: Run, tmp_path: Path, task: str
) -> None:
    lines = list(sample_lines(run, task_of(run, task)))
    (tmp_path / "samples.jsonl").write_text("\n".join(lines), encoding="utf-8")
    done = here("score", task, "--responses", "samples.jsonl", "--limit", ITEMS, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)["metrics"]
    ours = {name: metric.value for name, metric in task_of(run, task).metrics.items()}
    # A log says nothing of tokens.
    ours.pop("acc_tokens", None)
    assert {name: metric["value"] for name, metric in found.items()} == pytest.approx(ours)


def test_an_export_without_journal_and_questions_has_scores_alone(tmp_path: Path) -> None:
    bare = open_run(write_result(tmp_path / "run", n=3, shown={"ko_gpqa": 100.0}))
    lines = [json.loads(line) for line in sample_lines(bare, bare.result.tasks[0])]
    assert [line["acc"] for line in lines] == [1.0] * 3
    assert all(line["resps"] == [] and line["arguments"] == {} for line in lines)
    assert all("target" not in line and "prompt_hash" not in line for line in lines)


def test_two_tasks_of_one_board_key_keep_apart(tmp_path: Path) -> None:
    shown = {"ko_gpqa": 50.0, "ko_winogrande": 50.0}
    same = {"ko_winogrande": {"board_key": "ko_gpqa_diamond_zeroshot"}}
    both = open_run(write_result(tmp_path / "run", n=2, shown=shown, tasks=same))
    content: Any = results_content(both)
    assert list(content["results"]) == ["ko_gpqa_diamond_zeroshot", "ko_winogrande"]


@pytest.mark.parametrize("name", ["../../out", "..", "/etc/x", "a\x1b[2Jb", "가" * 300])
def test_no_model_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    directory = write_result(tmp_path / "run", n=1, shown={"ko_gpqa": 0.0}, model=name)
    paths = write_lm_eval(open_run(directory), tmp_path / "here")
    assert len(paths) == 2
    for path in paths:
        assert path.is_file()
        assert path.resolve().parent.parent == (tmp_path / "here").resolve()


def test_a_result_without_a_date_is_an_error_that_says_so(tmp_path: Path) -> None:
    directory = write_result(tmp_path / "run", n=1, shown={"ko_gpqa": 0.0}, created="soon")
    with pytest.raises(DataError, match="'created' is no date"):
        write_lm_eval(open_run(directory), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_huggingface_hub_reads_the_model_index_back(run: ExportedRun) -> None:
    from huggingface_hub import ModelCard, ModelCardData

    text = model_index(as_public(run), source_url="https://example.org/runs/1")
    data = ModelCard(f"---\n{text}---\n# A model\n").data
    assert isinstance(data, ModelCardData)
    assert data.model_name == run.model
    assert data.eval_results is not None
    results = {result.dataset_name.partition(" (")[0]: result for result in data.eval_results}
    assert len(results) == len(NINE) + 1
    word_problems = results["Ko-GSM8K"]
    assert word_problems.dataset_type == "HAERAE-HUB/HRM8K"
    assert (word_problems.dataset_config, word_problems.dataset_split) == ("GSM8K", "test")
    assert word_problems.dataset_revision == "0" * 40
    assert word_problems.metric_type == "exact_match"
    assert word_problems.metric_value == pytest.approx(200 / ITEMS, abs=1e-4)
    assert word_problems.source_url == "https://example.org/runs/1"
    choices = results["KorNAT-Knowledge"]
    assert choices.dataset_type == "bundled"
    assert "never comparable with the board" in choices.dataset_name
    assert "ko_eval" not in text and ", 6 items)" in choices.dataset_name
    assert choices.metric_name is not None and "95 % interval" in choices.metric_name
    assert any(result.metric_type == "average" for result in data.eval_results)


def test_huggingface_hub_reads_the_evaluation_results_back(run: ExportedRun) -> None:
    from huggingface_hub import parse_eval_result_entries

    made = eval_result_files(as_public(run))
    assert list(made.files) == ["ko-eval-ko_gsm8k.yaml"]
    assert set(made.left_out) == set(NINE) - {"ko_gsm8k"}
    assert "bundled" in made.left_out["ko_gpqa"]
    (entry,) = parse_eval_result_entries(yaml.safe_load(made.files["ko-eval-ko_gsm8k.yaml"]))
    assert (entry.dataset_id, entry.task_id) == ("HAERAE-HUB/HRM8K", "GSM8K")
    assert entry.dataset_revision == "0" * 40
    assert entry.value == pytest.approx(200 / ITEMS, abs=1e-4)
    assert entry.date == run.result.created
    assert entry.notes is not None
    assert "6 items" in entry.notes
    assert "assumed: shots" in entry.notes


def test_what_was_asked_in_part_is_said_or_left_out(run: ExportedRun) -> None:
    assert "the first 6 items" in model_index(as_public(run, limit=ITEMS))
    with pytest.raises(DataError, match="no task of the run was asked on a whole dataset"):
        eval_result_files(as_public(run, limit=ITEMS))


SOURCES = {
    f"{name}-{place}": source
    for name in task_names()
    for place, source in enumerate(load_task(name, check_scorer=False).data.hub)
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_every_public_source_is_known_as_its_dataset(run: ExportedRun, source: HubSource) -> None:
    names = source.name if isinstance(source.name, list) else [source.name]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    words = label(source, f"{names[0]}{more}" if names[0] else None)
    dataset = hub_dataset(task_of(as_public(run, source=words), "ko_gsm8k"))
    assert dataset is not None
    assert (dataset.id, dataset.split) == (source.path, source.split)
    if not source.files:
        assert dataset.config == (None if more else names[0])


@pytest.mark.parametrize("source", ["/data/rows / test", "../rows / test", "a b / test", ""])
def test_a_folder_is_no_dataset_of_the_hub(run: ExportedRun, source: str) -> None:
    assert hub_dataset(task_of(as_public(run, source=source), "ko_gsm8k")) is None


def test_the_model_index_can_be_pasted_into_a_card(run: ExportedRun, tmp_path: Path) -> None:
    from huggingface_hub import metadata_load, metadata_save

    card = tmp_path / "README.md"
    card.write_text("---\nlicense: mit\n---\n# A model\n", encoding="utf-8")
    made = yaml.safe_load(model_index(run))
    metadata_save(card, {"license": "mit", **made})
    assert metadata_load(card) == {"license": "mit", **made}


def test_bundled_data_alone_have_no_place_among_evaluation_results(run: ExportedRun) -> None:
    with pytest.raises(DataError, match="no task of the run was asked on a whole"):
        eval_result_files(run)


def test_datasets_reads_the_parquet_file_back(run: ExportedRun, tmp_path: Path) -> None:
    import datasets

    write_parquet(run, tmp_path / "scores.parquet")
    rows = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "scores.parquet"), cache_dir=str(tmp_path / "cache")
    )["train"]
    assert rows.column_names == list(COLUMNS)
    for name in NINE:
        task = task_of(run, name)
        leading = rows.filter(lambda row: row["task"] == name and row["leading"])  # noqa: B023
        assert leading["sample"] == [one.id for one in read_samples(run.directory, name)]
        assert set(leading["data_label"]) == {"bundled"}
        assert set(leading["data_sha256"]) == {task.data.sha256}
        mean = sum(leading["value"]) / ITEMS
        assert mean == pytest.approx(task.metrics[task.metric].value)


def test_the_csv_file_holds_the_same_rows(run: ExportedRun, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    write_parquet(run, tmp_path / "scores.parquet")
    columnar = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    plain = list(csv.DictReader(io.StringIO(csv_text(run))))
    assert len(plain) == len(columnar) > ITEMS * len(NINE)
    for one, other in zip(plain, columnar, strict=True):
        assert (one["task"], one["sample"], one["metric"]) == (
            other["task"],
            other["sample"],
            other["metric"],
        )
        assert math.isclose(float(one["value"]), other["value"], abs_tol=1e-12)


def test_no_answer_of_a_model_becomes_a_formula_of_a_spreadsheet(tmp_path: Path) -> None:
    directory = write_result(tmp_path / "run", n=3, shown={"ko_gpqa": 0.0})
    path = directory / "samples" / "ko_gpqa.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for line, answer in zip(lines, ["=HYPERLINK(1)", "-3.5", "+cmd|' /C'!A0"], strict=True):
        line["extracted"] = answer
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    rows = csv.DictReader(io.StringIO(csv_text(open_run(directory))))
    assert {row["extracted"] for row in rows} == {"'=HYPERLINK(1)", "-3.5", "'+cmd|' /C'!A0"}


def test_the_command_writes_every_format(run: ExportedRun, here: Run, tmp_path: Path) -> None:
    done = here("export", run.directory, "--format", "model-index")
    assert done.code == 0 and yaml.safe_load(done.out)["model-index"][0]["name"] == run.model
    done = here("export", run.directory, "--format", "csv")
    assert done.code == 0 and done.out == csv_text(run)
    done = here("export", run.directory, "--format", "parquet", "-o", "scores.parquet")
    assert done.out == "scores.parquet\n" and (tmp_path / "scores.parquet").is_file()
    done = here("export", run.directory, "--format", "lm-eval", "-o", "out")
    written = [tmp_path / line for line in done.out.splitlines()]
    assert len(written) == 1 + len(NINE) and all(path.is_file() for path in written)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "lm-evol", "-o", "x"], "did you mean 'lm-eval'"),
        (["--format", "parquet"], "say where with -o"),
        (["--format", "model-index", "--source-url", "javascript:alert(1)"], "https://"),
        (["--format", "eval-results", "-o", "x"], "--data hub"),
    ],
)
def test_what_cannot_be_exported_is_said_in_two_or_three_lines(
    run: ExportedRun, here: Run, words: list[str], message: str
) -> None:
    done = here("export", run.directory, *words)
    assert done.code == 2
    assert message in done.err
    assert 2 <= len(done.err.splitlines()) <= 3
    assert done.out == ""


def test_a_damaged_sample_file_leaves_nothing_behind(here: Run, tmp_path: Path) -> None:
    directory = write_result(tmp_path / "run", n=2, shown={"ko_gpqa": 50.0, "ko_gsm8k": 50.0})
    (directory / "samples" / "ko_gsm8k.jsonl").write_text("{", encoding="utf-8")
    for kind in ("lm-eval", "parquet", "csv"):
        done = here("export", directory, "--format", kind, "-o", f"out/{kind}")
        assert done.code == 2
        assert "ko_gsm8k.jsonl, line 1" in done.err
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_compare_finds_no_difference_between_a_run_and_its_export(
    run: ExportedRun, here: Run, tmp_path: Path
) -> None:
    write_lm_eval(run, tmp_path / "theirs")
    (theirs,) = (tmp_path / "theirs").iterdir()
    done = here("compare", run.directory, theirs, "--json")
    assert done.code == 0, done.err
    (other,) = json.loads(done.out)["comparisons"]
    assert {task["task"] for task in other["tasks"]} == set(NINE)
    assert all(task["difference"] == 0 for task in other["tasks"])


@pytest.fixture(scope="module")
def single(run: ExportedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's word problems alone."""
    folder = tmp_path_factory.mktemp("single")
    result = run.result.model_copy(update={"tasks": [task_of(run, "ko_gsm8k")]})
    (folder / "results.json").write_text(result.model_dump_json(indent=2), encoding="utf-8")
    for kind in ("samples", "asked", "responses"):
        (folder / kind).mkdir()
        shutil.copy(run.directory / kind / "ko_gsm8k.jsonl", folder / kind)
    return folder


@given(data=st.data())
def test_a_damaged_run_is_an_error_or_exported(
    single: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    copied = Path(shutil.copytree(single, folder / "run"))
    path = data.draw(st.sampled_from(sorted(copied.rglob("*.json*"))))
    content = path.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    other = data.draw(st.sampled_from([b"", b"NaN", b"-1e999", b'"', b"}", b"\\ud800", b"\xff"]))
    length = data.draw(st.integers(0, 12))
    path.write_bytes(content[:place] + other + content[place + length :])
    try:
        damaged = open_run(copied)
        write_lm_eval(damaged, folder / "out")
        csv_text(damaged)
        write_parquet(damaged, folder / "scores.parquet")
        yaml.safe_load(model_index(damaged))
    except KoEvalError as error:
        assert str(error)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "1e999"])
def test_a_score_that_is_no_number_is_an_error(tmp_path: Path, word: str) -> None:
    directory = write_result(tmp_path / "run", n=2, shown={"ko_gpqa": 50.0})
    path = directory / "results.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"value": 50.0', f'"value": {word}'), encoding="utf-8")
    with pytest.raises(DataError, match="finite number"):
        open_run(directory)


@pytest.mark.parametrize("kind", ["lm-eval", "parquet", "csv", "model-index"])
def test_an_export_that_cannot_be_written_is_said(
    run: ExportedRun, here: Run, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = here("export", run.directory, "--format", kind, "-o", "file/out")
    assert done.code == 2
    assert "cannot write: Not a directory" in done.err


def test_an_export_needs_no_model_library(tmp_path: Path) -> None:
    directory = write_result(tmp_path / "run", n=2, shown={"ko_gpqa": 50.0})
    code = (
        "import sys\n"
        "from ko_eval.cli.main import app\n"
        "for kind in ('lm-eval', 'model-index', 'csv', 'parquet'):\n"
        "    try: app(['export', sys.argv[1], '--format', kind, '-o', sys.argv[2] + kind])\n"
        "    except SystemExit as end: assert not end.code, kind\n"
        "print([name for name in ('torch', 'transformers', 'datasets') if name in sys.modules])\n"
    )
    command = [sys.executable, "-c", code, str(directory), str(tmp_path / "out-")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed")
def test_lm_eval_reads_its_layout_back(run: ExportedRun, tmp_path: Path) -> None:
    """Its names of files, its table, its means, its filters and its own writing of them."""
    import datasets
    from lm_eval import utils
    from lm_eval.api.metrics import mean, mean_stderr
    from lm_eval.filters.extraction import RegexFilter
    from lm_eval.loggers import EvaluationTracker

    paths = [str(path) for path in write_lm_eval(run, tmp_path)]
    (results_path,) = utils.get_results_filenames(paths)
    sample_paths = utils.get_sample_results_filenames(paths)
    keys = {utils.get_file_task_name(Path(path).name): path for path in sample_paths}
    assert set(keys) == {key for key, _ in BOARD_KEYS.values()}
    assert Path(results_path).parent.name == utils.sanitize_model_name(run.model)

    results = json.loads(Path(results_path).read_text(encoding="utf-8"))
    table = utils.make_table(results)
    for name, (key, metric) in BOARD_KEYS.items():
        shown, reading = metric.split(",")
        rows = [line.split("|") for line in table.splitlines()]
        value = f"{task_of(run, name).metrics[task_of(run, name).metric].value:.4f}"
        assert any(
            [cell.strip() for cell in row[3:6:2]] == [reading, shown] and row[7].strip() == value
            for row in rows
            if len(row) > 7
        ), (key, metric)

    alike: list[str] = []
    samples: dict[str, list[dict[str, Any]]] = {}
    for key, path in keys.items():
        loaded = datasets.load_dataset(
            "json", data_files=path, split="train", cache_dir=str(tmp_path / "cache")
        )
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        assert len(loaded) == len(lines) > 0
        samples[key] = [json.loads(line) for line in lines]
    for name, (key, metric) in BOARD_KEYS.items():
        shown, reading = metric.split(",")
        values = [line[shown] for line in samples[key] if line["filter"] == reading]
        if name != "ko_ifeval":  # ours is no plain mean
            assert mean(values) == pytest.approx(results["results"][key][metric])
            # Ours counts items that share a passage or a twin as one; the harness counts each.
            if not any(one.cluster for one in read_samples(run.directory, name)):
                stderr = results["results"][key][f"{shown}_stderr,{reading}"]
                assert mean_stderr(values) == pytest.approx(stderr)
                alike.append(name)

    assert len(alike) >= 3
    strict = [line for line in samples["ko_gsm8k"] if line["filter"] == "strict-match"]
    found = RegexFilter(regex_pattern=r"#### (\-?[0-9\.\,]+)").apply(
        [line["resps"][0] for line in strict], [line["doc"] for line in strict]
    )
    assert [one[0] for one in found] == [line["filtered_resps"][0] for line in strict]
    assert "[invalid]" in [one[0] for one in found]

    tracker = EvaluationTracker(output_path=str(tmp_path / "again"))
    tracker.general_config_tracker.log_experiment_args(
        "ko-eval", f"pretrained={run.model}", None, None, False
    )
    tracker.save_results_aggregated(dict(results))
    (again,) = (tmp_path / "again").rglob("results_*.json")
    assert json.loads(again.read_text(encoding="utf-8"))["results"] == results["results"]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed")
def test_lm_eval_gives_the_exported_answers_to_the_exported_prompts(
    tiny: Path, tmp_path: Path
) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    tasks = ("ko_gpqa", "ko_winogrande", "kornat_knowledge")
    load = LoadOptions(dtype="float32", device="cpu")
    options = RunOptions(model=str(tiny), tasks=tasks, limit=3, load=load, out=tmp_path)
    run = open_run(evaluate(options).directory)
    model = HFLM(pretrained=str(tiny), device="cpu", dtype="float32", batch_size=1)
    asked, answers = [], []
    for task in run.result.tasks:
        for line in map(json.loads, sample_lines(run, task)):
            pairs = [tuple(pair.values()) for pair in line["arguments"].values()]
            assert len(pairs) == len(line["resps"]) >= 2
            asked += [
                Instance("loglikelihood", {}, pair, place) for place, pair in enumerate(pairs)
            ]
            answers += [answer for (answer,) in line["resps"]]
    found = model.loglikelihood(asked, disable_tqdm=True)
    assert [sum_ for sum_, _ in found] == pytest.approx(
        [float(sum_) for sum_, _ in answers], abs=1e-3
    )
    assert [str(greedy) for _, greedy in found] == [greedy for _, greedy in answers]
