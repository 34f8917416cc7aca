"""`ko-eval score` reads sample logs of lm-evaluation-harness, and says where they do not fit."""

from __future__ import annotations

import importlib.util
import itertools
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ko_eval.cli.main import app
from ko_eval.interop.lm_eval_logs import read_sample_log
from ko_eval.tasks.prepare import prepare_samples
from ko_eval.tasks.registry import load_task

Line = dict[str, Any]

QUESTIONS: list[Line] = [
    {
        "id": "a",
        "question": "물이 어는 온도는?",
        "choices": ["0도", "10도", "50도", "100도"],
        "answer": "A",
    },
    {"id": "b", "question": "하루는 몇 시간?", "choices": ["12", "20", "24", "48"], "answer": "C"},
]
WITHOUT_IDS: list[Line] = [{k: v for k, v in row.items() if k != "id"} for row in QUESTIONS]
TWINS: list[Line] = [
    {
        "id": "w",
        "sentence": "가방이 상자에 들어가지 않는다. _이 너무 크기 때문이다.",
        "option1": "가방",
        "option2": "상자",
        "answer": "1",
    }
]
WORD_PROBLEM: list[Line] = [
    {"id": "g", "question": "사과 둘과 셋을 더하면?", "answer": "2 + 3 = 5\n#### 5"}
]


def choice_line(
    number: int,
    row: dict[str, Any],
    sums: Sequence[float | str],
    *,
    texts: Sequence[str] | None = None,
    filter_name: str = "none",
) -> Line:
    """A line as the harness writes it for a multiple-choice task: numbers as text."""
    context = f"질문: {row['question']}\n답:"
    return {
        "doc_id": number,
        "doc": row,
        "target": "0",
        "arguments": {
            f"gen_args_{i}": {"arg_0": context, "arg_1": f" {text}"}
            for i, text in enumerate(texts or row["choices"])
        },
        "resps": [[[str(value), "False"]] for value in sums],
        "filtered_resps": [[str(value), "False"] for value in sums],
        "filter": filter_name,
        "metrics": ["acc"],
        "doc_hash": "0",
        "acc": 1.0,
    }


def text_line(number: int, row: dict[str, Any], *answers: str, filter_name: str = "none") -> Line:
    return {
        "doc_id": number,
        "doc": row,
        "target": row["answer"],
        "arguments": {"gen_args_0": {"arg_0": row["question"], "arg_1": {"until": ["\n"]}}},
        "resps": [list(answers)],
        "filtered_resps": [f"{filter_name} of it"],
        "filter": filter_name,
        "metrics": ["exact_match"],
    }


RIGHT = [
    choice_line(0, QUESTIONS[0], [-1.5, -9, -9, "-inf"]),
    choice_line(1, QUESTIONS[1], [-9, -9, -0.5, -9]),
]


@dataclass(frozen=True)
class Done:
    """What a command said."""

    code: int
    stdout: str
    stderr: str


Score = Callable[..., Done]


@pytest.fixture
def score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Score:
    """Scores a log against rows; each is a list of lines or a file."""
    monkeypatch.chdir(tmp_path)

    def run(task: object, rows: Sequence[object] | Path, log: Sequence[object] | Path) -> Done:
        capfd.readouterr()
        files = (as_file(rows, tmp_path / "rows.jsonl"), as_file(log, tmp_path / "samples_t.jsonl"))
        command = ["score", task, "--data", files[0], "--responses", files[1], "--json"]
        code = 0
        try:
            app([str(argument) for argument in command])
        except SystemExit as end:
            code = int(end.code or 0)
        return Done(code, *capfd.readouterr())

    return run


def as_file(content: Sequence[object] | Path, path: Path) -> Path:
    if isinstance(content, Path):
        return content
    lines = [json.dumps(line, ensure_ascii=False) + "\n" for line in content]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def value(done: Done, metric: str) -> float:
    assert done.code == 0, done.stderr
    found: float = json.loads(done.stdout)["metrics"][metric]["value"]
    return found


@pytest.mark.parametrize("log", [RIGHT, RIGHT[::-1]], ids=["in order", "in another order"])
def test_a_choice_log_is_scored_by_the_ids_of_its_documents(score: Score, log: list[Line]) -> None:
    assert value(score("kornat_knowledge", QUESTIONS, log), "acc") == 1.0


def test_documents_without_ids_are_matched_by_their_place(score: Score) -> None:
    log = [{**line, "doc": row} for line, row in zip(RIGHT, WITHOUT_IDS, strict=True)]
    assert value(score("kornat_knowledge", WITHOUT_IDS, log), "acc") == 1.0
    assert value(score("kornat_knowledge", QUESTIONS, log[::-1]), "acc") == 1.0


def test_choices_in_another_order_are_put_into_ours(score: Score) -> None:
    turned = choice_line(1, QUESTIONS[1], [-9, -0.5, -9, -9], texts=["48", "24", "20", "12"])
    assert value(score("kornat_knowledge", QUESTIONS, [RIGHT[0], turned]), "acc") == 1.0


def test_log_likelihoods_without_the_question_follow_as_for_mutual_information(
    score: Score, tmp_path: Path
) -> None:
    def doubled(line: Line, bare: Sequence[float]) -> Line:
        asked = list(line["arguments"].values())
        without = [{**one, "arg_0": ""} for one in asked]
        return {
            **line,
            "arguments": {f"gen_args_{i}": one for i, one in enumerate(asked + without)},
            "resps": [*line["resps"], *([[str(x), "False"]] for x in bare)],
        }

    log = [
        doubled(choice_line(0, QUESTIONS[0], [-3, -9, -2, -9]), [-9, -9, -2, -9]),
        doubled(choice_line(1, QUESTIONS[1], [-1, -9, -2, -9]), [-1, -9, -9, -9]),
    ]
    task = tmp_path / "pmi.yaml"
    task.write_text(
        "name: pmi\nrequest: loglikelihood\ncolumns: {id: id?, question: question, "
        "choices: choices, answer: answer}\nlabels: [A, B, C, D]\n"
        'prompt: "질문: {{ question }}\\n답:"\nchoices: choices\nunconditional: "답:"\n'
        "scorer: {name: choice_likelihood}\nmetric: acc_pmi\n",
        encoding="utf-8",
    )
    done = score(task, QUESTIONS, log)
    assert value(done, "acc_pmi") == 1.0
    assert value(done, "acc") == 0.0


@pytest.mark.parametrize("turned", [False, True])
def test_a_task_with_two_contexts_is_told_apart_by_them(score: Score, turned: bool) -> None:
    row = TWINS[0]
    before, after = str(row["sentence"]).split("_")
    asked = [("가방", -2.0), ("상자", -7.0)]
    line = {
        **choice_line(0, {**row, "question": ""}, [x for _, x in asked], texts=["", ""]),
        "doc": row,
        "arguments": {
            f"gen_args_{i}": {"arg_0": f"예시.\n\n{before}{option}", "arg_1": after}
            for i, (option, _) in enumerate(asked[::-1] if turned else asked)
        },
    }
    done = score("ko_winogrande", TWINS, [line])
    assert value(done, "acc") == (0.0 if turned else 1.0)


def test_a_generation_log_is_scored_by_its_raw_text_once_for_all_filters(score: Score) -> None:
    log = [
        text_line(0, WORD_PROBLEM[0], " 2 + 3 = 5이므로 #### 5", filter_name=name)
        for name in ("strict-match", "flexible-extract")
    ]
    done = score("ko_gsm8k", WORD_PROBLEM, log)
    assert json.loads(done.stdout)["n"] == 1
    assert json.loads(done.stdout)["outcomes"]["ok"] == 1


def test_logs_of_older_versions_hold_numbers_and_lists(score: Score) -> None:
    line = {
        **RIGHT[0],
        "arguments": [
            [f"질문: {QUESTIONS[0]['question']}", f" {c}"] for c in QUESTIONS[0]["choices"]
        ],
        "resps": [[[-1.0, False]], [[-2.0, False]], [[-3.0, True]], [[-4.0, False]]],
    }
    assert value(score("kornat_knowledge", QUESTIONS[:1], [line]), "acc") == 1.0


SHUFFLED: list[Line] = [{**QUESTIONS[0], "choices": ["얼음", "수증기", "소금", "설탕"]}]
LABELS = ["(A)", "(B)", "(C)", "(D)"]


def test_the_prompts_of_a_log_are_not_kept(tmp_path: Path) -> None:
    asked = [{**WORD_PROBLEM[0], "id": str(number)} for number in range(100)]
    task = load_task("ko_gsm8k")
    _, rows, rendered = prepare_samples(task, str(as_file(asked, tmp_path / "rows.jsonl")))
    lines = [
        {
            **text_line(number, row, "5", filter_name=name),
            "arguments": {"gen_args_0": {"arg_0": f"{number} " * 20_000, "arg_1": {}}},
        }
        for name in ("whole", "number")
        for number, row in enumerate(asked)
    ]
    log = as_file(lines, tmp_path / "samples_t.jsonl")
    del lines
    tracemalloc.start()
    try:
        found = list(read_sample_log(log, task, rows, [each.sample for each in rendered]))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == 100
    # A few lines of 60 KB each, not the 6 MB of all documents.
    assert most < 1_500_000


def test_labels_count_only_where_the_log_shows_our_order_of_the_options(score: Score) -> None:
    line = choice_line(0, SHUFFLED[0], [-1, -2, -3, -4], texts=LABELS)
    accepted = []
    for order in itertools.permutations(SHUFFLED[0]["choices"]):
        options = "\n".join(map("{} {}".format, LABELS, order))
        for one in line["arguments"].values():
            one["arg_0"] = f"{SHUFFLED[0]['question']}\n{options}\n정답:"
        done = score("ko_gpqa", SHUFFLED, [line])
        if done.code == 0:
            accepted.append(order)
        else:
            assert "does not show the options of sample 'a' in our order" in done.stderr
    assert len(accepted) == 1


@pytest.mark.parametrize(
    ("task", "rows", "log", "parts"),
    [
        ("kornat_knowledge", QUESTIONS, RIGHT[:1], ("1 of 2 ids", "'b'")),
        (
            "kornat_knowledge",
            QUESTIONS,
            [*RIGHT, choice_line(0, QUESTIONS[0], [-2, -2, -2, -2])],
            ("document 0 is answered twice, and differently", "line 3"),
        ),
        (
            "kornat_knowledge",
            QUESTIONS[:1],
            [RIGHT[0], {**RIGHT[1], "doc": WITHOUT_IDS[1]}],
            ("document 1 of the log is none of the 1 rows", "line 2"),
        ),
        (
            "kornat_knowledge",
            WITHOUT_IDS,
            [{**line, "doc": row} for line, row in zip(RIGHT, WITHOUT_IDS[::-1], strict=True)],
            ("document 0 of the log is not the row '1'", "column 'question' differs"),
        ),
        (
            "kornat_knowledge",
            QUESTIONS,
            [choice_line(0, QUESTIONS[0], [-1, -2, -3, -4], texts=LABELS), RIGHT[1]],
            ("document 0 of the log was not asked about the choices of sample 'a'", "0도, 10도"),
        ),
        (
            "kornat_knowledge",
            QUESTIONS,
            [choice_line(0, QUESTIONS[0], [-1, -2, -3]), RIGHT[1]],
            ("was not asked about the choices",),
        ),
        (
            "kornat_knowledge",
            QUESTIONS,
            [text_line(0, QUESTIONS[0], "A"), RIGHT[1]],
            ("document 0 of the log has no log-likelihood", "multiple_choice"),
        ),
        (
            "ko_gsm8k",
            WORD_PROBLEM,
            [choice_line(0, {**WORD_PROBLEM[0], "choices": ["5"]}, [-1])],
            ("document 0 of the log has no generated text", "generate_until"),
        ),
        (
            "ko_gsm8k",
            WORD_PROBLEM,
            [
                {
                    **text_line(0, WORD_PROBLEM[0], "-12.5"),
                    "arguments": {"gen_args_0": {"arg_0": ""}},
                }
            ],
            ("no generated text",),
        ),
        ("ko_gsm8k", WORD_PROBLEM, [text_line(0, WORD_PROBLEM[0], "5", "6")], ("has 2 answers",)),
        (
            "ko_gsm8k",
            WORD_PROBLEM,
            [text_line(0, WORD_PROBLEM[0], "5"), {"doc_id": 1}],
            ("it needs doc_id, doc and resps", "line 2"),
        ),
    ],
)
def test_what_does_not_fit_is_named(
    score: Score, task: str, rows: list[Line], log: list[Line], parts: tuple[str, ...]
) -> None:
    done = score(task, rows, log)
    assert done.code == 2
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in done.stderr


def test_logs_are_read_without_lm_eval() -> None:
    code = (
        "import sys\nsys.modules['lm_eval'] = None\n"
        "import ko_eval.interop.lm_eval_logs\nprint('read')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "read\n", done.stderr


RUN_HARNESS = """
import sys
from pathlib import Path
from lm_eval.__main__ import cli_evaluate
model, tasks, names, output = sys.argv[1:]
sys.argv = ["lm-eval", "run", "--model", "hf", "--model_args", f"pretrained={model},dtype=float32",
            "--device", "cpu", "--tasks", names, "--include_path", tasks, "--output_path", output,
            "--log_samples"]
cli_evaluate()
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed")
def test_logs_of_a_real_run_give_the_values_of_that_run(
    tiny: Path, tmp_path: Path, score: Score
) -> None:
    import yaml

    choice_rows = [{**row, "right": "ABCD".index(str(row["answer"]))} for row in QUESTIONS]
    sources = {"kornat_knowledge": choice_rows, "ko_gsm8k": WORD_PROBLEM}
    own: dict[str, dict[str, Any]] = {
        "kornat_knowledge": {
            "output_type": "multiple_choice",
            "doc_to_text": "질문: {{question}}\n답:",
            "doc_to_choice": "{{choices}}",
            "doc_to_target": "right",
            "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
        },
        "ko_gsm8k": {
            "output_type": "generate_until",
            "doc_to_text": "질문: {{question}}\n답:",
            "doc_to_target": "answer",
            "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8},
            "metric_list": [{"metric": "exact_match"}],
            "filter_list": [
                {"name": "whole", "filter": [{"function": "take_first"}]},
                {
                    "name": "number",
                    "filter": [
                        {"function": "regex", "regex_pattern": "([0-9]+)"},
                        {"function": "take_first"},
                    ],
                },
            ],
        },
    }
    (tmp_path / "tasks").mkdir()
    for name, rows in sources.items():
        data = tmp_path / f"{name}.jsonl"
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        data.write_text("".join(lines), encoding="utf-8")
        definition = {
            "task": f"local_{name}",
            "dataset_path": "json",
            "dataset_kwargs": {
                "data_files": {"test": str(data)},
                "cache_dir": str(tmp_path / "cache"),
            },
            "test_split": "test",
            **own[name],
        }
        text = yaml.safe_dump(definition, allow_unicode=True)
        (tmp_path / "tasks" / f"{name}.yaml").write_text(text, encoding="utf-8")
    output = tmp_path / "output"
    done = subprocess.run(
        [
            *(sys.executable, "-c", RUN_HARNESS, tiny, tmp_path / "tasks"),
            *(",".join(f"local_{name}" for name in own), output),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (results,) = output.rglob("results_*.json")
    expected = json.loads(results.read_text(encoding="utf-8"))["results"]["local_kornat_knowledge"]
    (log,) = output.rglob("samples_local_kornat_knowledge_*.jsonl")
    scored = score("kornat_knowledge", tmp_path / "kornat_knowledge.jsonl", log)
    for metric in ("acc", "acc_norm"):
        assert value(scored, metric) == pytest.approx(expected[f"{metric},none"])
    (log,) = output.rglob("samples_local_ko_gsm8k_*.jsonl")
    assert len(log.read_text(encoding="utf-8").splitlines()) == 2, "one line per filter"
    scored = score("ko_gsm8k", tmp_path / "ko_gsm8k.jsonl", log)
    assert json.loads(scored.stdout)["n"] == 1
