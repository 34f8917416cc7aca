"""Rows, responses, logs and results that were made to break their readers, or to be obeyed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hostile import ACTING, Run, lines, refused, safe

ROW = {"id": "a", "question": "하나 더하기 하나는?", "choices": ["1", "2", "3", "4"], "answer": "B"}
TASK = "kornat_knowledge"
SHOW = ("show", TASK, "--data", "d.jsonl")
DEEP = "[" * 500 + "]" * 500


def row(**fields: object) -> dict[str, object]:
    return {**ROW, **fields}


# --- rows ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "part"),
    [
        pytest.param("[" * 100_000, "not valid JSON", id="100,000 lists"),
        pytest.param('{"a":' * 100_000, "not valid JSON", id="100,000 objects"),
        pytest.param('{"id": "a", "question": ' + DEEP + "}", "100 levels", id="500 lists, closed"),
        pytest.param('{"id": ' + "9" * 5000 + "}", "not valid JSON", id="5,000 digits"),
        pytest.param("\x00" * 1000, "not valid JSON", id="NULs"),
        pytest.param('{"id": "a\x00b"}', "not valid JSON", id="NUL in a text"),
        pytest.param("{'id': 'a'}", "not valid JSON", id="Python for JSON"),
        pytest.param(b"\xed\xa0\xbd", "not UTF-8", id="half of a pair as bytes"),
        pytest.param(b"\xc0\xaf..\xc0\xaf", "not UTF-8", id="an overlong slash"),
        pytest.param(b"\xff\xfe{\x00", "not UTF-8", id="UTF-16"),
        pytest.param("\x1b]0;owned\x07\x1b[2J", "not valid JSON", id="escape codes for a row"),
        pytest.param(row(answer="\x1b[2J\u202eB"), "is not one of", id="escape codes for a label"),
        pytest.param(row(answer="9" * 100_000), "is not one of", id="100,000 digits for a label"),
        pytest.param(row(answer=1e308), "is not one of", id="the largest float for a label"),
        pytest.param(row(answer=["B"] * 50_000), "is not one of", id="50,000 labels"),
        pytest.param(row(choices={"A": "1"}), "must give a list", id="an object of choices"),
        pytest.param(row(choices=["1"] * 5), "", id="more choices than labels"),
        pytest.param(row(choices="9**9**9"), "literal", id="a power for choices"),
        pytest.param(row(choices="__import__('os').system('touch pwned')"), "literal", id="a call"),
        pytest.param(row(choices="[" + "1," * 200_000 + "'a'"), "", id="a long literal"),
        pytest.param(row(choices="-" * 100_000 + "1"), "", id="100,000 signs"),
        pytest.param(row(choices="1" + "+1" * 100_000), "", id="100,000 sums"),
        pytest.param(row(choices="(" * 100_000), "", id="100,000 brackets"),
        pytest.param(row(choices="{" + "'a':{" * 300), "", id="300 objects in a cell"),
        pytest.param(row(choices=["{{ 7*7 }}", "", "x", "y"]), "is empty", id="an empty choice"),
        pytest.param({"\x1b[2J": 1, "\u202eid": 2}, "column", id="escape codes for columns"),
        pytest.param({"x" * 100_000: 1}, "column", id="a column of 100,000 characters"),
        pytest.param({f"c{n}": n for n in range(20_000)}, "column", id="20,000 columns"),
    ],
)
def test_a_row_is_refused_with_its_line(here: Run, tmp_path: Path, line: object, part: str) -> None:
    lines(tmp_path / "d.jsonl", ROW, line)
    refused(here(*SHOW, "--sample", 2), part, "d.jsonl, line 2")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("d.json", b"[" * 100_000, "not valid JSON"),
        ("d.json", b'{"a": {"id": 1}, "b": 2}', "must hold a list"),
        ("d.json", b"1e999", "must hold a list"),
        ("d.csv", b'id,question\n"a', "not valid CSV"),
        ("d.csv", b"id,question\n" + b"," * 100_000, "not as many cells"),
        ("d.csv", b"id,question\n1," + b"x" * 10_000_001, "not valid CSV"),
        ("d.csv", b"\x00" * 1000, "empty"),
        ("d.tsv", b"id\tquestion\n=cmd|' /C calc'!A0\t@SUM(1+1)\n", "not there"),
        ("d.parquet", b"PAR1", "not a readable Parquet file"),
        ("d.parquet", b"PAR1" + b"\xff" * 64 + b"PAR1", "not a readable Parquet file"),
        ("d.parquet", b"PAR1" + b"\x00" * 8 + b"\xff\xff\xff\x7fPAR1", "Parquet"),
        ("d.jsonl.gz", b"\x1f\x8b", "cannot be read"),
        ("d.pkl", b"\x80\x04cos\nsystem\n", "cannot be read"),
        ("d.yaml", b"- !!python/name:os.system", "cannot be read"),
        ("d.jsonl\x1b[2J", b"", "cannot be read"),
    ],
)
def test_a_file_that_is_not_what_its_name_says(
    here: Run, tmp_path: Path, name: str, content: bytes, part: str
) -> None:
    (tmp_path / name).write_bytes(content)
    refused(here("show", TASK, "--data", name), part)


@pytest.mark.parametrize("what", ["pipe", "/dev/zero", "/dev/stdin", "itself", "folder"])
def test_data_that_is_no_file(apart: Run, tmp_path: Path, what: str) -> None:
    file = tmp_path / "d.jsonl"
    if what == "pipe":
        os.mkfifo(file)
    elif what == "folder":
        file.mkdir()
    else:
        file.symlink_to(file.name if what == "itself" else what)
    refused(apart(*SHOW), "d.jsonl")


def test_a_small_file_with_a_hundred_million_rows_is_not_unpacked(
    apart: Run, tmp_path: Path
) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"id": pyarrow.nulls(100_000_000, pyarrow.int8())})
    pyarrow.parquet.write_table(table, tmp_path / "d.parquet")
    assert (tmp_path / "d.parquet").stat().st_size < 1_000_000
    refused(apart("show", TASK, "--data", "d.parquet"), "100,000,000 rows", "d.parquet")


IDS = [
    "../../etc/passwd",
    "\x1b[2J\x1b]0;owned\x07",
    "\u202eabc\u2066",
    "a\nerror: b\r\n",
    "\x9b31m",
    "{{ 7 * 7 }}",
    "=cmd|' /C calc'!A0",
    "x" * 100_000,
    "\u200b",
]


@pytest.mark.parametrize("name", IDS, ids=[ascii(name)[:30] for name in IDS])
def test_an_id_is_a_text_wherever_it_is_shown_and_written(
    here: Run, tmp_path: Path, name: str
) -> None:
    lines(tmp_path / "d.jsonl", row(id=name))
    shown = here(*SHOW)
    safe(shown)
    assert shown.code == 0
    assert len(next(line for line in shown.out.splitlines() if "sample:" in line)) < 2200
    lines(tmp_path / "r.jsonl", {"id": name, "loglikelihoods": [0, -1, -2, -3]})
    command = ("score", TASK, "--responses", "r.jsonl", "--data", "d.jsonl", "--samples-out", "s")
    safe(here(*command))
    assert json.loads((tmp_path / "s").read_text())["id"] == name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.jsonl", "r.jsonl", "s"]
    lines(tmp_path / "r.jsonl")
    refused(here(*command), "ids have no response")


@pytest.mark.parametrize("field", ["question", "choices"])
def test_a_field_is_shown_without_being_obeyed(here: Run, tmp_path: Path, field: str) -> None:
    text = "\x1b[31m빨강\x1b[0m \u202eabc\u202c \x07\x9b2J \U000e0041\ufeff"
    value = [text, "2", "3", "4"] if field == "choices" else text
    lines(tmp_path / "d.jsonl", row(**{field: value}))
    ended = here(*SHOW)
    safe(ended)
    assert "빨강" in ended.out
    assert "\\u001b[31m" in ended.out or "\\x1b[31m" in ended.out
    assert "\\u202e" in ended.out


def test_the_last_of_two_equal_keys_counts_as_everywhere(here: Run, tmp_path: Path) -> None:
    text = json.dumps(ROW, ensure_ascii=False)[:-1] + ', "question": "second"}'
    lines(tmp_path / "d.jsonl", text)
    ended = here(*SHOW)
    assert "second" in ended.out
    assert "하나" not in ended.out


def test_a_column_may_be_called_as_python_calls_things(here: Run, tmp_path: Path) -> None:
    names = ["self", "cls", "row", "range", "__class__", "args", "kwargs", "context", "fields"]
    lines(tmp_path / "d.jsonl", {**ROW, **dict.fromkeys(names, "x")})
    ended = here("show", TASK, "--data", "d.jsonl")
    assert (ended.code, "하나 더하기" in ended.out) == (0, True)


# --- responses and logs ----------------------------------------------------------------------

ANSWER = {"id": "a", "loglikelihoods": [0, -1, -2, -3]}


@pytest.mark.parametrize(
    ("line", "part"),
    [
        pytest.param('{"id": "a", "loglikelihoods": ' + DEEP + "}", "line 1", id="500 lists"),
        pytest.param('{"id": "a", "loglikelihoods": [1e999, 0, 0, 0]}', "'a'", id="infinity"),
        pytest.param('{"id": "a", "loglikelihoods": [NaN, 0, 0, 0]}', "'a'", id="no number"),
        pytest.param(ANSWER | {"loglikelihoods": ["-inf"] * 4}, "'a'", id="nothing is likely"),
        pytest.param(ANSWER | {"loglikelihoods": ["9**9**9", 0, 0, 0]}, "numbers", id="a power"),
        pytest.param(ANSWER | {"loglikelihoods": [[0], 0, 0, 0]}, "numbers", id="a list in it"),
        pytest.param(ANSWER | {"loglikelihoods": [True, 0, 0, 0]}, "numbers", id="a truth"),
        pytest.param(ANSWER | {"loglikelihoods": ["１", "²", 0, 0]}, "numbers", id="other digits"),
        pytest.param(ANSWER | {"loglikelihoods": [0] * 100_000}, "100000", id="100,000 numbers"),
        pytest.param(ANSWER | {"token_counts": [1e300] * 4}, "whole", id="1e300 tokens"),
        pytest.param(ANSWER | {"token_counts": [-1] * 4}, "whole", id="-1 tokens"),
        pytest.param(ANSWER | {"id": {"a": "a"}}, "not in the data", id="an object for an id"),
        pytest.param(ANSWER | {"id": "\x1b[2J\u202e"}, "not in the data", id="escape codes"),
        pytest.param(ANSWER | {"id": "y" * 1_000_000}, "not in the data", id="a long id"),
        pytest.param({"id": "a", "response": {"text": "B"}}, "neither", id="an object for a text"),
        pytest.param({"id": "a", "response": "x\x1b[2J"}, "log-likelihoods", id="a text"),
    ],
)
def test_a_response_is_refused_with_its_line(
    here: Run, tmp_path: Path, line: object, part: str
) -> None:
    lines(tmp_path / "d.jsonl", ROW)
    lines(tmp_path / "r.jsonl", line)
    refused(here("score", TASK, "--responses", "r.jsonl", "--data", "d.jsonl"), part)


def test_ids_of_a_megabyte_are_not_compared_with_each_other(here: Run, tmp_path: Path) -> None:
    lines(tmp_path / "d.jsonl", *(row(id=f"{n}" + "ab" * 500_000) for n in range(2)))
    lines(tmp_path / "r.jsonl", ANSWER | {"id": "ba" * 500_000})
    command = ("score", TASK, "--responses", "r.jsonl", "--data", "d.jsonl")
    refused(here(*command), "not in the data")


LOGGED = {
    "doc_id": 0,
    "doc": {"id": "a"},
    "arguments": [["q", " 1"], ["q", " 2"], ["q", " 3"], ["q", " 4"]],
    "resps": [[[-1.0, False]]] * 4,
}


@pytest.mark.parametrize(
    "fields",
    [
        {"doc_id": 10**400},
        {"doc_id": -1},
        {"doc_id": True},
        {"doc_id": "0"},
        {"doc": []},
        {"doc": {"id": {"a": 1}}},
        {"doc": {"id": "\x1b[2J", "question": "\u202e"}},
        {"resps": {}},
        {"resps": [[["9**9**9", False]]] * 4},
        {"resps": [[["nan", False]]] * 4},
        {"resps": [[[1e999, False]]] * 4},
        {"resps": [[]] * 4},
        {"arguments": {"gen_args_0": {"arg_0": ["x"] * 9}}},
        {"arguments": [[{"a": "b"}, None]] * 4},
        {"arguments": "\x1b[2J" * 1000},
    ],
    ids=lambda fields: json.dumps(fields)[:50],
)
def test_a_log_of_the_reference_is_refused_or_counted(
    here: Run, tmp_path: Path, fields: dict[str, object]
) -> None:
    lines(tmp_path / "d.jsonl", ROW)
    lines(tmp_path / "r.jsonl", LOGGED | fields)
    ended = here("score", TASK, "--responses", "r.jsonl", "--data", "d.jsonl")
    if ended.code:
        refused(ended)
    else:
        safe(ended)
        assert "Outcomes: ok 1" in ended.out


def test_a_first_line_of_ten_megabytes_is_no_log(here: Run, tmp_path: Path) -> None:
    lines(tmp_path / "d.jsonl", ROW)
    lines(tmp_path / "r.jsonl", "[" * 10_000_000)
    refused(here("score", TASK, "--responses", "r.jsonl", "--data", "d.jsonl"), "not valid JSON")


# --- results ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> dict[str, object]:
    from ko_eval.runs.evaluate import evaluate
    from ko_eval.runs.plan import RunOptions

    options = RunOptions(
        model=str(tiny), tasks=("ko_gpqa",), limit=2, out=tmp_path_factory.mktemp("result")
    )
    content: dict[str, object] = json.loads(evaluate(options).result.model_dump_json())
    return content


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("seconds", -1.0),
        ("seconds", 1e300),
        ("n", -5),
        ("n", 10**400),
        ("outcomes", {"failed": 10**9}),
        ("outcomes", {"failed": -(10**9)}),
        ("usage.requests", -1),
        ("usage.tokens_written", 10**400),
        ("usage.tokens_distinct", 10**18),
        ("tokens.prompt", "9" * 5000),
        ("name", {"a": 1}),
        ("shown", None),
    ],
)
def test_a_result_with_impossible_numbers_is_refused(
    here: Run, tmp_path: Path, tiny: Path, result: dict[str, object], place: str, value: object
) -> None:
    changed = json.loads(json.dumps(result))
    *above, last = place.split(".")
    part = changed["tasks"][0]
    for name in above:
        part = part[name]
    part[last] = value
    (tmp_path / "results.json").write_text(json.dumps(changed))
    refused(here("plan", tiny, "--tasks", "ko_gpqa", "--from", "results.json"), "results.json")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("[" * 100_000, id="100,000 lists"),
        pytest.param("", id="nothing"),
        pytest.param("null", id="null"),
        pytest.param('{"schema_version": "1.' + "9" * 5000 + '"}', id="a version of 5,000 digits"),
        pytest.param('{"schema_version": "９.９"}', id="a version in other digits"),
        pytest.param('{"schema_version": "1.2\\n\\u001b[2J"}', id="a version with escape codes"),
        pytest.param('{"schema_version": "1.2", "tasks": ' + DEEP + "}", id="500 lists"),
    ],
)
def test_a_result_that_is_none(here: Run, tmp_path: Path, tiny: Path, content: str) -> None:
    (tmp_path / "results.json").write_text(content)
    refused(here("plan", tiny, "--tasks", "ko_gpqa", "--from", "results.json"), "results.json")


def test_a_result_that_is_a_pipe_is_not_waited_for(apart: Run, tmp_path: Path, tiny: Path) -> None:
    os.mkfifo(tmp_path / "results.json")
    refused(apart("plan", tiny, "--tasks", "ko_gpqa", "--from", tmp_path), "ordinary file")


def test_the_names_in_a_result_are_shown_without_being_obeyed(
    here: Run, tmp_path: Path, tiny: Path, result: dict[str, object]
) -> None:
    changed = json.loads(json.dumps(result))
    changed["model"]["name"] = "\x1b]0;owned\x07\u202egpj.exe"
    (tmp_path / "results.json").write_text(json.dumps(changed))
    ended = here("plan", tiny, "--tasks", "ko_gpqa", "--limit", 2, "--from", "results.json")
    safe(ended)
    assert ended.code == 0
    assert "\\u001b]0;owned\\u0007\\u202egpj.exe" in ended.err
    assert not ACTING.search(ended.out)
