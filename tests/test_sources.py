"""Rows from every kind of file give the same samples; a hash names their content."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hub_stand_in import COMMIT, serving

from ko_eval.errors import DataError
from ko_eval.runs.result import RunResult
from ko_eval.tasks.definition import HubSource
from ko_eval.tasks.prepare import prepare_task
from ko_eval.tasks.registry import load_task
from ko_eval.tasks.sources import fewshot_rows, read_rows, task_rows

ROWS = [
    {"id": "a", "question": '쉼표, 따옴표 "와"\n줄바꿈', "answer": "풀이\n#### 12"},
    {"id": "b", "question": "탭\t하나", "answer": "#### 7"},
]


def written(folder: Path, suffix: str) -> Path:
    path = folder / f"ko_gsm8k{suffix}"
    if suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in ROWS) + "\n\n")
    elif suffix == ".json":
        path.write_text(json.dumps(ROWS))
    elif suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    else:
        import csv

        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(
                file, list(ROWS[0]), dialect="excel" if suffix == ".csv" else "excel-tab"
            )
            writer.writeheader()
            writer.writerows(ROWS)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".tsv", ".parquet"])
def test_every_format_gives_the_same_rows_and_the_same_hash(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path, suffix)
    reference = written(tmp_path, ".jsonl")
    task = load_task("ko_gsm8k")
    rows = task_rows(task, str(path))
    assert [dict(row.values) for row in rows.rows] == ROWS
    assert rows.sha256 == task_rows(task, str(reference)).sha256
    assert rows.label == "private"
    samples = prepare_task(task, str(path), shots=0).samples
    assert [sample.target for sample in samples] == ["풀이\n#### 12", "#### 7"]


def test_a_folder_holds_one_file_per_task_and_its_examples(tmp_path: Path) -> None:
    written(tmp_path, ".csv")
    (tmp_path / "ko_gsm8k.fewshot.jsonl").write_text(json.dumps(ROWS[1]))
    task = load_task("ko_gsm8k")
    examples = fewshot_rows(task, str(tmp_path))
    assert task_rows(task, str(tmp_path)).source == "ko_gsm8k.csv"
    assert examples is not None
    assert (examples.label, len(examples.rows)) == ("private", 1)


def test_without_examples_beside_the_data_the_bundled_ones_are_used(tmp_path: Path) -> None:
    written(tmp_path, ".csv")
    examples = fewshot_rows(load_task("ko_gsm8k"), str(tmp_path))
    assert examples is not None
    assert examples.label == "bundled"


def test_a_changed_row_changes_the_hash(tmp_path: Path) -> None:
    task = load_task("ko_gsm8k")
    before = task_rows(task, str(written(tmp_path, ".jsonl"))).sha256
    path = tmp_path / "ko_gsm8k.jsonl"
    path.write_text(path.read_text().replace("탭", "탑"))
    assert task_rows(task, str(path)).sha256 != before


def test_json_may_name_its_rows_by_key(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    path.write_text(json.dumps({"7": {"prompt": "p"}, "8": {"prompt": "q"}}))
    assert [row.values["id"] for row in read_rows(path)] == ["7", "8"]


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("d.csv", b"id,question\na\n", "as many cells"),
        ("d.csv", b'id,question\na,"open\n', "not valid CSV"),
        ("d.parquet", b"PAR1 no", "Parquet"),
        ("d.json", b'"text"', "list of rows"),
        ("d.json", b"[" * 100_000, "not valid JSON"),
        ("d.csv", "id,물음\n".encode("cp949"), "not UTF-8"),
    ],
)
def test_a_damaged_file_is_explained(tmp_path: Path, name: str, content: bytes, part: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=part):
        list(read_rows(path))


def test_hub_data_is_read_through_datasets_with_its_own_columns(tmp_path: Path) -> None:
    """A local folder stands where a hub id would; `datasets` reads it in the same way."""
    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / "test.jsonl").write_text('{"Question": "하나?", "Answer": "#### 1"}\n')
    task = load_task("ko_gsm8k")
    source = HubSource(
        path=str(folder),
        split="test",
        columns={"id": "row_number", "question": "Question", "answer": "Answer"},
    )
    task = task.model_copy(update={"data": task.data.model_copy(update={"hub": [source]})})
    prepared = prepare_task(task, "hub", shots=0)
    assert prepared.rows.label == "hub"
    assert [(s.id, s.fields["question"]) for s in prepared.samples] == [("1", "하나?")]


def test_rows_that_a_filter_leaves_out_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    folder.mkdir()
    lines = [json.dumps({"Question": "q", "Answer": a}) for a in ("A", None, "B")]
    (folder / "test.jsonl").write_text("\n".join(lines))
    task = load_task("ko_gsm8k")
    columns = {"id": "row_number", "question": "Question", "answer": "Answer"}
    source = HubSource(path=str(folder), split="test", keep="Answer is not none", columns=columns)
    task = task.model_copy(update={"data": task.data.model_copy(update={"hub": [source]})})
    rows = task_rows(task, "hub")
    assert (len(rows.rows), rows.dropped) == (2, 1)


HUB_TASK = """\
name: mine
request: generate
columns: {id: id, question: question, answer: answer}
data: {hub: [{path: owner/name, name: main, split: test, columns: {id: row_number}}]}
prompt: "{{ question }}"
target: "{{ answer }}"
max_tokens: 4
scorer: {name: gsm8k}
"""


def test_the_commit_on_the_hub_is_recorded_at_first_use(tmp_path: Path, tiny: Path) -> None:
    files = "[{split: test, path: test.jsonl}]"
    card = f"---\nconfigs:\n- config_name: main\n  data_files: {files}\n---\n"
    row = '{"question": "하나?", "answer": "#### 1"}\n'
    (tmp_path / "t.yaml").write_text(HUB_TASK, encoding="utf-8")
    with serving({"README.md": card.encode(), "test.jsonl": row.encode()}) as endpoint:
        # The library reads its settings when it is imported, so it gets a process of its own.
        environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home")}
        environment.pop("HF_HUB_OFFLINE", None)
        command = [sys.executable, "-m", "ko_eval.cli.main", "run", str(tiny), "--data", "hub"]
        done = subprocess.run(
            [*command, "--tasks", "t.yaml", "--out", "out"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "public equivalents" in done.stdout
    result = RunResult.model_validate_json(next(tmp_path.rglob("results.json")).read_bytes())
    assert result.tasks[0].data.revision == COMMIT
    assert result.tasks[0].data.label == "hub"
