"""Packs that are written: the same bytes every time, whole or not at all; and their commands."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from command_server import CommandServer
from conftest import Command
from pack_files import (
    TASKS,
    entries_of,
    errors_lines,
    files_of_at_most,
    listing,
    model_folder,
)

from ko_eval.errors import DataError, KoEvalError, ModelError, RunError
from ko_eval.runs.pack import PackOptions, make_pack
from ko_eval.runs.pack_archive import unpacked
from ko_eval.runs.packed import packed_tasks
from ko_eval.tasks.packs import packed_fewshot, packed_rows
from ko_eval.tasks.prepare import prepare_task
from ko_eval.tasks.registry import load_task

pytestmark = pytest.mark.usefixtures("cache")


def test_packing_twice_gives_the_same_bytes(tmp_path: Path, sound_pack: bytes) -> None:
    time.sleep(0.01)
    again = make_pack(PackOptions(tasks=TASKS, out=tmp_path / "other-name.tar"))
    assert again.path.read_bytes() == sound_pack
    assert again.size == len(sound_pack)


def test_a_pack_is_a_plain_tar_file_of_sorted_names_without_times_or_owners(
    sound_pack: bytes,
) -> None:
    entries = [found for found, _ in entries_of(sound_pack)]
    names = [found.name for found in entries]
    assert names[0] == "manifest.json"
    assert names[1:] == sorted(names[1:])
    assert names[1:] == [f"{kind}/{name}.jsonl" for kind in ("fewshot", "rows") for name in TASKS]
    assert {(found.mtime, found.uid, found.uname, found.mode) for found in entries} == {
        (0, 0, "", 0o644)
    }


def test_a_task_from_a_pack_asks_what_the_task_itself_asks(
    tmp_path: Path, sound_pack: bytes
) -> None:
    (tmp_path / "p.tar").write_bytes(sound_pack)
    folder = unpacked(tmp_path / "p.tar")
    suite, tasks = packed_tasks(folder, ())
    assert suite is None
    assert [task.name for task, _ in tasks] == list(TASKS)
    for task, variant in tasks:
        direct = prepare_task(load_task(task.name))
        packed = prepare_task(task, "elsewhere", pack=folder)
        assert variant is None
        assert packed.requests == direct.requests
        assert packed.samples == direct.samples
        assert packed.definition_hash() == direct.definition_hash()
        for ours, theirs in ((packed.rows, direct.rows), (packed.fewshot, direct.fewshot)):
            assert ours is not None or theirs is None
            assert ours is None or (
                theirs is not None
                and (ours.label, ours.source, ours.sha256, ours.columns)
                == (theirs.label, theirs.source, theirs.sha256, theirs.columns)
            )


def test_examples_are_packed_for_any_number_of_shots(tmp_path: Path, sound_pack: bytes) -> None:
    (tmp_path / "p.tar").write_bytes(sound_pack)
    folder = unpacked(tmp_path / "p.tar")
    task = load_task("ko_gpqa")
    assert task.fewshot.count == 0
    assert len(packed_fewshot(folder, "ko_gpqa").rows) > 1  # type: ignore[union-attr]
    direct = prepare_task(task, shots=1)
    assert prepare_task(task, shots=1, pack=folder).prompts_hash() == direct.prompts_hash()


def test_private_rows_keep_their_label_their_order_and_every_value(tmp_path: Path) -> None:
    rows = [
        {
            "id": "b",
            "question": "하나\u2028둘 \x07?",
            "answer": "#### 1",
            "x": {"z": 1, "a": [1.5]},
        },
        {"id": "a", "question": "큰 수?", "answer": "#### 2", "x": {"z": 1e308, "a": 10**30}},
    ]
    (tmp_path / "data").mkdir()
    text = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "data" / "ko_gsm8k.jsonl").write_text(text)
    made = make_pack(
        PackOptions(tasks=("ko_gsm8k",), data=str(tmp_path / "data"), out=tmp_path / "p.tar")
    )
    packed = packed_rows(unpacked(made.path), "ko_gsm8k")
    assert packed.label == "private"
    assert [json.dumps(row.values) for row in packed.rows] == [json.dumps(row) for row in rows]


def test_all_missing_pieces_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    options = PackOptions(
        tasks=TASKS, data=str(tmp_path / "data"), model="no/folder/here", out=tmp_path / "p.tar"
    )
    before = listing(tmp_path)
    with pytest.raises(DataError, match="3 pieces are missing") as caught:
        make_pack(options)
    for piece in ("'ko_gpqa'", "'ko_gsm8k'", "'no/folder/here'"):
        assert piece in caught.value.what
    assert len(errors_lines(caught.value)) == 3
    assert listing(tmp_path) == before


def test_pickle_weights_are_packed_only_where_asked_for(tmp_path: Path) -> None:
    model = model_folder(tmp_path / "m", **{"pytorch_model.bin": "weights"})
    options = PackOptions(tasks=("ko_gpqa",), model=str(model), out=tmp_path / "p.tar")
    with pytest.raises(ModelError, match="pickle"):
        make_pack(options)
    assert not (tmp_path / "p.tar").exists()
    made = make_pack(dataclasses.replace(options, allow_pickle=True))
    assert "model/pytorch_model.bin" in made.manifest.files


def test_safetensors_are_packed_and_what_the_model_does_not_need_is_not(tmp_path: Path) -> None:
    needed = {"model.safetensors": "w", "chat_template.jinja": "t", "vocab.txt": "v"}
    others = {"pytorch_model.bin": "pickle", "README.md": "words", ".env": "HF_TOKEN=hf_secret"}
    model = model_folder(tmp_path / "m", **needed, **others)
    (model / "additional_chat_templates").mkdir()
    (model / "additional_chat_templates" / "tool.jinja").write_text("t")
    made = make_pack(PackOptions(tasks=("ko_gpqa",), model=str(model), out=tmp_path / "p.tar"))
    of_model = {place for place in made.manifest.files if place.startswith("model/")}
    assert of_model == {
        "model/additional_chat_templates/tool.jinja",
        *(f"model/{name}" for name in ("config.json", "tokenizer.json", *needed)),
    }
    assert b"hf_secret" not in made.path.read_bytes()


def test_a_link_out_of_the_model_folder_is_not_followed_into_a_pack(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("mine")
    model = model_folder(tmp_path / "m", **{"model.safetensors": "w"})
    (model / "vocab.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError, match=r"'vocab.txt' is a link out of its folder"):
        make_pack(PackOptions(tasks=("ko_gpqa",), model=str(model), out=tmp_path / "p.tar"))


def test_the_links_of_the_hubs_own_cache_are_followed(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--o--n" / "snapshots" / "c0ffee"
    snapshot.parent.mkdir(parents=True)
    model_folder(snapshot, **{"model.safetensors": "w"})
    (tmp_path / "models--o--n" / "blobs").mkdir()
    (snapshot / "model.safetensors").rename(tmp_path / "models--o--n" / "blobs" / "abc")
    (snapshot / "model.safetensors").symlink_to("../../blobs/abc")
    made = make_pack(PackOptions(tasks=("ko_gpqa",), model=str(snapshot), out=tmp_path / "p.tar"))
    contents = {found.name: content for found, content in entries_of(made.path.read_bytes())}
    assert contents["model/model.safetensors"] == b"w"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"out": Path("/")}, "is a folder"),
        ({"revision": "main"}, "--revision was given, but no MODEL"),
        ({"model": "https://example.org/v1"}, "the model of a server cannot be packed"),
    ],
)
def test_what_cannot_be_packed_is_said(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    fields: dict[str, Any] = {"tasks": ("ko_gpqa",), "out": tmp_path / "p.tar", **more}
    with pytest.raises(KoEvalError, match=message):
        make_pack(PackOptions(**fields))
    assert listing(tmp_path) == []


def test_a_full_disk_leaves_no_half_pack_and_the_old_one_untouched(tmp_path: Path) -> None:
    path = tmp_path / "p.tar"
    path.write_bytes(b"the pack of yesterday")
    with files_of_at_most(30_000), pytest.raises(RunError, match="no room on the disk"):
        make_pack(PackOptions(tasks=TASKS, out=path))
    assert listing(tmp_path) == ["p.tar"]
    assert path.read_bytes() == b"the pack of yesterday"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_half_pack(
    tmp_path: Path, command_server: CommandServer, number: signal.Signals
) -> None:
    model = model_folder(tmp_path / "m")
    with (model / "model.safetensors").open("wb") as weights:
        weights.truncate(1 << 28)
    command = command_server.start(
        ["pack", model, "--tasks", "ko_gpqa", "-o", tmp_path / "p.tar"], tmp_path
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".p.tar.*")) and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(command.process, number)
    assert command.returncode == 128 + number
    assert [path.name for path in tmp_path.iterdir() if "p.tar" in path.name] == []


def test_a_run_from_a_pack_is_the_run_without_it(
    ko_eval: Command, tmp_path: Path, tiny: Path
) -> None:
    tasks = ("--tasks", "ko_gpqa,ko_winogrande")
    options = ("--limit", "3", "--dtype", "float32", "--device", "cpu")
    assert ko_eval("pack", tiny, *tasks, "-o", "p.tar").returncode == 0
    direct = ko_eval("run", tiny, *tasks, *options, "--out", "direct")
    assert direct.returncode == 0, direct.stderr
    packed = ko_eval("run", "--pack", "p.tar", *options, "--out", "packed")
    assert packed.returncode == 0, packed.stderr
    (ours,), (theirs,) = (list((tmp_path / name).glob("*/*")) for name in ("packed", "direct"))
    assert ours.relative_to(tmp_path / "packed") == theirs.relative_to(tmp_path / "direct")
    first, second = (json.loads((found / "results.json").read_text()) for found in (ours, theirs))
    for content in (first, second):
        del content["created"]
        for task in content["tasks"]:
            del task["seconds"]
    assert first == second
    assert first["model"]["name"] == "tiny"


def test_the_command_says_what_it_packed(ko_eval: Command, tmp_path: Path) -> None:
    done = ko_eval("pack", "--tasks", "ko_gpqa", "--variant", "generate", "-o", "p.tar")
    assert done.returncode == 0, done.stderr
    size = (tmp_path / "p.tar").stat().st_size
    assert f"p.tar, {size:,} bytes" in done.stdout
    assert "generate" in done.stdout
    assert "ko_gpqa.jsonl" in done.stdout
    assert "ko-eval run --pack p.tar MODEL" in done.stdout


def test_a_models_own_code_is_packed_and_refused_without_the_option(
    ko_eval: Command, tmp_path: Path
) -> None:
    config = json.dumps({"model_type": "own", "auto_map": {"AutoModel": "code.Model"}})
    code = "raise SystemExit('the code ran')"
    files = {"config.json": config, "code.py": code, "model.safetensors": "w"}
    model_folder(tmp_path / "m", **files)
    done = ko_eval("pack", "m", "--tasks", "ko_gpqa", "-o", "p.tar")
    assert done.returncode == 0, done.stderr
    done = ko_eval("run", "--pack", "p.tar")
    assert done.returncode == 2
    assert "the model brings code of its own" in done.stderr
    assert "the code ran" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "--pack", "p.tar"), "no MODEL was given, and the pack holds none"),
        (("run",), "no MODEL was given"),
        (("run", "m", "--pack", "p.tar", "--data", "hub"), "the pack was made with --data bundled"),
        (("run", "m", "--pack", "p.tar", "--suite", "leaderboard2"), "made with no --suite"),
        (
            ("run", "m", "--pack", "p.tar", "--variant", "cot"),
            "the pack was made with no --variant",
        ),
        (("run", "m", "--pack", "p.tar", "--tasks", "ko_gpaq"), "did you mean 'ko_gpqa'"),
        (("run", "m", "--pack", "p.tar", "--tasks", "ko_gpqa,ko_gpqa"), "was given twice"),
        (("run", "m", "--pack", "p.tar", "--tasks", ","), "no task was given"),
        (("run", "m", "--pack", "none.tar"), "there is no pack at 'none.tar'"),
        (("pack", "--suite", "leaderboard2", "--tasks", "ko_gpqa", "-o", "q.tar"), "both given"),
        (
            ("pack", "--suite", "leaderboard2", "--data", "hub", "-o", "q.tar"),
            "was not read before",
        ),
    ],
)
def test_what_does_not_fit_together_is_said(
    ko_eval: Command, tmp_path: Path, sound_pack: bytes, arguments: tuple[str, ...], says: str
) -> None:
    (tmp_path / "p.tar").write_bytes(sound_pack)
    done = ko_eval(*arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 4
    assert not (tmp_path / "q.tar").exists()
