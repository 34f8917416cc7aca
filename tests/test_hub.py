"""Hub data through the real libraries, from a local stand-in: errors, records, no network."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hub_stand_in import (
    COMMIT,
    EXPIRED,
    OLDER,
    TOKEN,
    Hub,
    Reader,
    card,
    environment,
    json_lines,
    repository,
    serving,
)

from ko_eval.errors import DataError
from ko_eval.runs.result import RunResult
from ko_eval.tasks.definition import HubSource
from ko_eval.tasks.hub import hub_rows
from ko_eval.tasks.hub_records import remember
from ko_eval.tasks.prepare import prepare_task
from ko_eval.tasks.registry import load_task
from ko_eval.tasks.rows import Row, collected
from ko_eval.tasks.sources import task_rows

Answer = dict[str, Any]

ROW = {"question": "하나?", "answer": "#### 1"}
TWO_CONFIGURATIONS = {
    "README.md": card(
        {"main": {"test": "a.jsonl", "train": "b.jsonl"}, "extra": {"test": "a.jsonl"}}
    ),
    "a.jsonl": json_lines(ROW),
    "b.jsonl": json_lines(ROW, ROW),
}


@pytest.fixture(scope="module")
def hub() -> Hub:
    """What the stand-in serves; each test adds and changes datasets of its own."""
    return {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the caches of the processes that read."""
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def endpoint(hub: Hub) -> Iterator[str]:
    with serving(hub) as address:
        yield address


@pytest.fixture(scope="module")
def online(endpoint: str, folder: Path) -> Iterator[Reader]:
    with Reader(environment(endpoint, folder)) as reader:
        yield reader


@pytest.fixture(scope="module")
def offline(endpoint: str, folder: Path) -> Iterator[Reader]:
    """A process with the same caches that must not ask the hub."""
    with Reader(environment(endpoint, folder, HF_HUB_OFFLINE="1")) as reader:
        yield reader


@pytest.fixture(scope="module")
def cut_off(folder: Path) -> Iterator[Reader]:
    """A process with the same caches whose hub does not answer."""
    with serving({}) as gone:
        pass
    with Reader(environment(gone, folder)) as reader:
        yield reader


# --- What a user meets ---


def refused(answer: Answer, *parts: str) -> None:
    """What, where and what to do, in three lines that hold every part."""
    assert set(answer) == {"error"}, answer
    _, where, hint = answer["error"].splitlines()
    assert where.startswith("  where: dataset owner/")
    assert hint.startswith("  to do: ")
    for part in parts:
        assert part in answer["error"]


def test_gated_data_names_its_page_and_the_token(online: Reader, hub: Hub) -> None:
    hub["owner/gated"] = repository({"test.jsonl": json_lines(ROW)}, gated=True)
    page = "request access on its page https://huggingface.co/datasets/owner/gated and set HF_TOKEN"
    refused(online.read("owner/gated"), "gated", "HF_TOKEN is not set", page)
    other = online.read("owner/gated", token="hf_other")
    refused(other, "gated", "the token that is set has no access to it", page)
    assert online.read("owner/gated", token=TOKEN)["rows"] == [ROW]


def test_a_token_that_is_no_longer_valid_is_said_so(online: Reader, hub: Hub) -> None:
    hub["owner/open"] = repository({"test.jsonl": json_lines(ROW)})
    refused(online.read("owner/open", token=EXPIRED), "does not accept the token", "set HF_TOKEN")
    assert online.read("owner/open")["rows"] == [ROW]


def test_private_data_may_be_there_after_all(online: Reader, hub: Hub) -> None:
    hub["owner/private"] = repository({"test.jsonl": json_lines(ROW)}, private=True)
    page = "https://huggingface.co/datasets/owner/private"
    refused(online.read("owner/private"), "or it is private and HF_TOKEN is not set", page)
    assert online.read("owner/private", token=TOKEN)["rows"] == [ROW]


def test_a_commit_that_is_refused_is_not_replaced_by_an_older_one(online: Reader, hub: Hub) -> None:
    hub["owner/closing"] = repository({"test.jsonl": json_lines(ROW)}, OLDER)
    assert online.read("owner/closing")["revision"] == OLDER
    hub["owner/closing"] = repository({"test.jsonl": json_lines(ROW, ROW)}, gated=True)
    refused(online.read("owner/closing"), "the dataset is gated")
    del hub["owner/closing"]
    refused(online.read("owner/closing"), "no such dataset")


def test_a_dataset_that_does_not_exist(online: Reader) -> None:
    refused(online.read("owner/nothing"), "no such dataset", "check its name", "HF_TOKEN")
    refused(online.read("owner/nothing", token=TOKEN), "no such dataset", "check its name")


def test_what_is_no_id_is_not_asked_for(online: Reader) -> None:
    answer = online.read("owner/not/an/id")
    refused(answer, "neither a folder here nor an id", "write OWNER/NAME")


def test_a_missing_name_is_answered_with_near_ones(online: Reader, hub: Hub) -> None:
    hub["owner/two"] = repository(TWO_CONFIGURATIONS)
    refused(online.read("owner/two", name="mian"), "configuration 'mian'", "did you mean 'main'?")
    split = online.read("owner/two", name="main", split="tset")
    refused(split, "no split 'tset'", "did you mean 'test'? (known: test, train)")
    refused(online.read("owner/two", files="c.jsonl"), "no file 'c.jsonl'", "a.jsonl")
    branch = online.read("owner/two", name="main", revision="mein")
    refused(branch, "no revision 'mein'", "did you mean 'main'?")
    commit = online.read("owner/two", name="main", revision=OLDER)
    refused(commit, f"no revision '{OLDER}'", "give a commit")


def test_several_configurations_need_a_name(online: Reader, hub: Hub) -> None:
    hub["owner/several"] = repository(TWO_CONFIGURATIONS)
    refused(online.read("owner/several"), "2 configurations", "'data.hub.name'", "main, extra")


def test_a_part_of_a_split_can_be_asked_for(online: Reader, hub: Hub) -> None:
    hub["owner/parts"] = repository(TWO_CONFIGURATIONS)
    assert len(online.read("owner/parts", name="main", split="train[:1]+test")["rows"]) == 2


def test_damaged_files_are_explained_by_their_cause(online: Reader, hub: Hub) -> None:
    hub["owner/damaged"] = repository({"test.jsonl": b'{"question": "tor'})
    answer = online.read("owner/damaged")
    refused(answer, "cannot load 'owner/damaged / test' from the hub", "JSON", "--data bundled")


# --- The same commit, the same content ---


def records(folder: Path, dataset: str) -> list[Path]:
    return sorted((folder / "cache" / "hub").glob(f"{dataset.replace('/', '--')}--*.json"))


def clear_caches_of_the_libraries(folder: Path) -> None:
    for path in ((folder / "home" / "datasets"), (folder / "home" / "hub")):
        shutil.rmtree(path, ignore_errors=True)


def test_what_was_read_is_recorded(online: Reader, hub: Hub, folder: Path) -> None:
    hub["owner/recorded"] = repository(TWO_CONFIGURATIONS)
    answer = online.read("owner/recorded", name="main", split="train")
    (path,) = records(folder, "owner/recorded")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert (record["name"], record["split"], record["files"]) == ("main", "train", None)
    assert (record["commit"], record["rows"]) == (COMMIT, 2)
    assert record["sha256"] == answer["sha256"]
    online.read("owner/recorded", name="main", split="train")
    again = json.loads(path.read_text(encoding="utf-8"))
    assert again["first_seen"] == record["first_seen"]
    assert again["read"]["main"] > record["read"]["main"]
    assert not list(path.parent.glob(".*"))


@pytest.mark.slow
def test_other_content_under_the_same_commit_is_refused(
    endpoint: str, hub: Hub, tmp_path: Path
) -> None:
    hub["owner/changing"] = repository({"test.jsonl": json_lines(ROW)})
    other = {**ROW, "answer": "#### 2"}
    # Listings of files are remembered inside a process.
    with Reader(environment(endpoint, tmp_path)) as reader:
        before = reader.read("owner/changing")["sha256"]
        hub["owner/changing"] = repository({"test.jsonl": json_lines(other)})
    with Reader(environment(endpoint, tmp_path)) as reader:
        assert reader.read("owner/changing")["sha256"] == before
        clear_caches_of_the_libraries(tmp_path)
        answer = reader.read("owner/changing")
        (record,) = records(tmp_path, "owner/changing")
        assert "has changed under the same commit" in answer["error"]
        for part in (COMMIT, before, str(record), "delete this record"):
            assert part in answer["error"]
        assert len(answer["error"].splitlines()) == 3
        record.unlink()
        assert reader.read("owner/changing")["rows"] == [other]


def test_a_task_may_pin_the_content(online: Reader, hub: Hub) -> None:
    hub["owner/pinned"] = repository({"test.jsonl": json_lines(ROW)})
    sha256 = online.read("owner/pinned")["sha256"]
    assert online.read("owner/pinned", sha256=sha256)["rows"] == [ROW]
    answer = online.read("owner/pinned", sha256="0" * 64)
    refused(answer, "not those that the task pins", sha256, "0" * 64)


def test_a_damaged_record_is_named(online: Reader, hub: Hub, folder: Path) -> None:
    hub["owner/torn"] = repository({"test.jsonl": json_lines(ROW)})
    online.read("owner/torn")
    (path,) = records(folder, "owner/torn")
    path.write_text('{"form": 1, "pa', encoding="utf-8")
    error = online.read("owner/torn")["error"]
    assert "damaged" in error
    assert str(path) in error
    path.unlink()


def test_a_record_needs_a_folder_to_write_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KO_EVAL_CACHE", str(tmp_path / "file"))
    rows = collected((Row(ROW, "row 1"),), "hub", "owner/name / test")
    with pytest.raises(DataError, match="set KO_EVAL_CACHE"):
        remember(HubSource(path="owner/name", split="test"), rows, COMMIT, [])


def test_a_new_commit_has_a_record_of_its_own(online: Reader, hub: Hub, folder: Path) -> None:
    hub["owner/moving"] = repository({"test.jsonl": json_lines(ROW)}, OLDER)
    assert online.read("owner/moving")["revision"] == OLDER
    hub["owner/moving"] = repository({"test.jsonl": json_lines(ROW, ROW)})
    assert online.read("owner/moving")["revision"] == COMMIT
    assert len(records(folder, "owner/moving")) == 2


# --- Without the hub ---


@pytest.fixture(params=["HF_HUB_OFFLINE", "no network"])
def apart(request: pytest.FixtureRequest, offline: Reader, cut_off: Reader) -> Reader:
    return offline if request.param == "HF_HUB_OFFLINE" else cut_off


def test_what_was_read_once_can_be_read_apart(online: Reader, apart: Reader, hub: Hub) -> None:
    hub["owner/kept"] = repository(TWO_CONFIGURATIONS)
    sources: list[dict[str, Any]] = [
        {"name": "main"},
        {"name": "main", "split": "train[1:]"},
        {"name": ["extra", "main"], "keep": "config == 'main'"},
        {"files": "b.jsonl", "split": "train"},
        {"name": "extra", "revision": COMMIT},
    ]
    for fields in sources:
        read = online.read("owner/kept", **fields)
        assert read["revision"] == COMMIT
        assert apart.read("owner/kept", **fields) == read


def test_the_commit_that_was_read_last_is_read_apart_and_no_other(
    online: Reader, apart: Reader, hub: Hub
) -> None:
    older = repository({"test.jsonl": json_lines(ROW)}, OLDER)
    newer = repository({"test.jsonl": json_lines(ROW, ROW)})
    for last, number in ((newer, 2), (older, 1)):
        for each in (older, newer, last):
            hub["owner/back"] = each
            online.read("owner/back")
        assert len(apart.read("owner/back")["rows"]) == number
        assert len(apart.read("owner/back", revision=OLDER)["rows"]) == 1
        assert len(apart.read("owner/back", revision=COMMIT)["rows"]) == 2
    refused(apart.read("owner/back", revision="a-branch"), "was not read before")


def test_what_was_not_read_before_is_named(online: Reader, apart: Reader, hub: Hub) -> None:
    hub["owner/half"] = repository(TWO_CONFIGURATIONS)
    online.read("owner/half", name="main")
    answer = apart.read("owner/half", name="extra")
    refused(answer, "'owner/half / extra / test' was not read before", "--data bundled")


def test_a_cache_that_was_cleared_is_named(
    online: Reader, apart: Reader, hub: Hub, folder: Path
) -> None:
    hub["owner/cleared"] = repository({"test.jsonl": json_lines(ROW)})
    online.read("owner/cleared")
    shutil.rmtree(folder / "home" / "datasets" / "owner___cleared")
    error = apart.read("owner/cleared")["error"]
    assert "no longer holds it" in error
    assert "HF_HOME" in error


def test_no_network_names_the_way_out(cut_off: Reader) -> None:
    answer = cut_off.read("owner/never")
    refused(answer, "the hub cannot be reached", "--data bundled", "HF_HUB_OFFLINE=1")


# --- Odd values ---


def typed_file() -> bytes:
    """A Parquet file whose columns are no JSON, with the images that `datasets` would decode."""
    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    table = pyarrow.table(
        {
            "day": pyarrow.array([date(2024, 10, 9)]),
            "price": pyarrow.array([Decimal("12.50")]),
            "text": pyarrow.array(["한글".encode()], pyarrow.binary()),
            "image": pyarrow.array([{"bytes": b"\x89PNG\r\n", "path": None}], image),
            "nested": pyarrow.array([{"list": [{"number": 1.0}, None]}]),
            "missing": pyarrow.array([float("nan")]),
        }
    )
    features = {
        "day": {"dtype": "date32", "_type": "Value"},
        "price": {"dtype": "decimal128(4, 2)", "_type": "Value"},
        "text": {"dtype": "binary", "_type": "Value"},
        "image": {"_type": "Image"},
        "nested": {"list": {"feature": {"number": {"dtype": "float64", "_type": "Value"}},
                            "_type": "List"}},
        "missing": {"dtype": "float64", "_type": "Value"},
    }  # fmt: skip
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table.replace_schema_metadata(metadata), buffer)
    return buffer.getvalue()


def test_values_that_are_no_json_get_one_form(online: Reader, hub: Hub, tmp_path: Path) -> None:
    hub["owner/typed"] = repository({"test.parquet": typed_file()})
    answer = online.read("owner/typed")
    (row,) = answer["rows"]
    image = row.pop("image")
    assert row == {
        "day": "2024-10-09",
        "price": 12.5,
        "text": "한글",
        "nested": {"list": [{"number": 1.0}, None]},
        "missing": None,
    }
    assert image["bytes"].startswith("(6 bytes, SHA-256 ")
    (tmp_path / "d.parquet").write_bytes(typed_file())
    rows = task_rows(load_task("ko_gsm8k"), str(tmp_path / "d.parquet"))
    assert rows.sha256 == answer["sha256"]


# --- The command line ---

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


@pytest.mark.slow
def test_the_commit_on_the_hub_is_recorded_at_first_use(
    endpoint: str, hub: Hub, tmp_path: Path, tiny: Path
) -> None:
    hub["owner/name"] = repository(TWO_CONFIGURATIONS)
    (tmp_path / "t.yaml").write_text(HUB_TASK, encoding="utf-8")
    command = [sys.executable, "-m", "ko_eval.cli.main", "run", str(tiny)]
    done = subprocess.run(
        [*command, "--data", "hub:owner/name", "--tasks", "t.yaml", "--out", "out"],
        cwd=tmp_path,
        env=environment(endpoint, tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "public equivalents" in done.stdout
    assert done.stderr == ""
    result = RunResult.model_validate_json(next(tmp_path.rglob("results.json")).read_bytes())
    assert result.tasks[0].data.revision == COMMIT
    assert result.tasks[0].data.label == "hub"


# --- A local folder stands where a hub id would; `datasets` reads it in the same way ---


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


@pytest.fixture
def two_parts(tmp_path: Path) -> Path:
    """A dataset with two configurations, each in a folder of its own name."""
    folder = tmp_path / "hub"
    card = "---\nconfigs:\n"
    for name, numbers in (("Law", (1, 2)), ("Math", (3,))):
        (folder / name).mkdir(parents=True)
        lines = [json.dumps({"question": f"{i}?", "answer": f"#### {i}"}) for i in numbers]
        (folder / name / "test.jsonl").write_text("\n".join(lines), encoding="utf-8")
        card += f"- config_name: {name}\n  data_files: [{{split: test, path: {name}/test.jsonl}}]\n"
    (folder / "README.md").write_text(card + "---\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("files", [None, "{name}/test.jsonl"], ids=["names", "files"])
def test_several_configurations_are_read_one_after_another(
    two_parts: Path, files: str | None
) -> None:
    source = HubSource(path=str(two_parts), name=["Math", "Law"], split="test", files=files)
    rows = hub_rows(source)
    assert [(row.values["config"], row.values["question"]) for row in rows.rows] == [
        ("Math", "3?"),
        ("Law", "1?"),
        ("Law", "2?"),
    ]
    assert rows.source == f"{two_parts} / Math and 1 more / test"
    assert rows.rows[2].where == f"{two_parts} / Law / test, row 2"


def test_a_single_configuration_adds_no_column(two_parts: Path) -> None:
    rows = hub_rows(HubSource(path=str(two_parts), name="Law", split="test"))
    assert [set(row.values) for row in rows.rows] == [{"question", "answer"}] * 2


def test_a_configuration_that_is_missing_is_named(two_parts: Path) -> None:
    with pytest.raises(DataError, match=r"no configuration 'History'\n.*\n.*known: Law, Math"):
        hub_rows(HubSource(path=str(two_parts), name=["Law", "History"], split="test"))
