"""Scores in experiment trackers, read back by each tracker's own library."""

from __future__ import annotations

import importlib.util
import struct
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import hostile
import pytest
from result_files import write_result

import ko_eval
from ko_eval.errors import RunError, UsageError
from ko_eval.interop.tracking import PROJECT, facts, scalars, tracker
from ko_eval.runs.result import RunResult, Value, read_result


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, drawn from a seed."""
    folder = tmp_path_factory.mktemp("out") / "org--model" / "leaderboard2-bundled-0123456789ab"
    return write_result(folder, model="org/model", n=20)


@pytest.fixture(scope="module")
def result(directory: Path) -> RunResult:
    return read_result(directory)


def needs(library: str) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")


def test_every_score_and_the_average_are_sent(result: RunResult) -> None:
    sent = scalars(result)
    assert result.average is not None
    assert sent["overall/average"] == result.average.value
    for task in result.tasks:
        assert sent[f"score/{task.name}"] == task.shown.value
        assert sent[f"metrics/{task.name}/{task.metric}"] == task.metrics[task.metric].value
        assert sent[f"outcomes/{task.name}/ok"] == 20
    assert facts(result)["model"] == "org/model"
    assert facts(result)["fingerprint"] == result.fingerprint


def test_the_index_is_sent_where_there_is_one(result: RunResult) -> None:
    shown = Value(value=12.5, stderr=1.5, low=9.5, high=15.5, n=9)
    category = {"name": "knowledge", "tasks": ["ko_gpqa"], "shown": shown, "weight": 1.0}
    index = {
        "name": "ko-index",
        "definition_sha256": "0",
        "shown": shown,
        "plain_average": shown,
        "categories": [category],
        "tasks": [],
    }
    content = {**result.model_dump(), "index": index}
    sent = scalars(RunResult.model_validate(content))
    assert (sent["overall/index"], sent["overall/index_stderr"]) == (12.5, 1.5)
    assert sent["index/knowledge"] == 12.5


def test_no_name_is_the_beginning_of_another(result: RunResult) -> None:
    names = list(scalars(result))
    assert len(names) > 9
    assert not [(a, b) for a in names for b in names if b.startswith(f"{a}/")]


def test_what_is_no_number_is_not_sent(result: RunResult) -> None:
    nothing = Value.model_construct(
        value=float("nan"), stderr=float("inf"), low=None, high=None, n=0
    )
    sent = scalars(result.model_copy(update={"average": nothing}))
    assert not [name for name in sent if name.startswith("overall/")]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("tensorbord:logs", "did you mean 'tensorboard'"),
        ("tensorboard", "needs a folder"),
        ("", "--track cannot be ''"),
        ("comet:x", "--track cannot be 'comet:x'"),
    ],
)
def test_a_wrong_target_is_refused(target: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        tracker(target)
    assert message in str(caught.value)


def test_a_tracker_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs the package 'mlflow'"):
        tracker("mlflow")


def read_tensorboard(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def test_tensorboard_reads_what_was_sent(
    result: RunResult, directory: Path, tmp_path: Path
) -> None:
    needs("tensorboard")
    place = tracker(f"tensorboard:{tmp_path / 'logs'}").send(result, directory)
    (folder,) = (tmp_path / "logs").iterdir()
    assert place == f"TensorBoard: {folder}"
    assert folder.name == f"org--model--{directory.name}"
    log = read_tensorboard(folder)
    sent = scalars(result)
    assert set(log.Tags()["scalars"]) == set(sent)
    for name, value in sent.items():
        (event,) = log.Scalars(name)
        assert event.value == pytest.approx(value, rel=1e-6)
    (text,) = log.Tensors("run/text_summary")
    assert result.fingerprint.encode() in text.tensor_proto.string_val[0]


def test_what_is_sent_again_to_tensorboard_replaces_what_was_there(
    result: RunResult, directory: Path, tmp_path: Path
) -> None:
    needs("tensorboard")
    assert result.average is not None
    changed = result.average.model_copy(update={"value": 99.0})
    one = tracker(f"tensorboard:{tmp_path}")
    one.send(result, directory)
    one.send(result.model_copy(update={"average": changed}), directory)
    (folder,) = tmp_path.iterdir()
    events = read_tensorboard(folder).Scalars("overall/average")
    assert [event.value for event in events] == [99.0]


def test_a_folder_that_cannot_be_written_is_told(
    result: RunResult, directory: Path, tmp_path: Path
) -> None:
    needs("tensorboard")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(RunError, match="TensorBoard did not take the scores") as caught:
        tracker(f"tensorboard:{tmp_path / 'file'}").send(result, directory)
    assert "the results are on disk" in str(caught.value)


def wandb_records(path: Path) -> Iterator[Any]:
    """What Weights & Biases keeps for a later `wandb sync`: its messages in LevelDB's log format.

    After 7 bytes of its own come blocks of 32 KiB, in them pieces of records: checksum (4 bytes),
    length (2), kind (1: whole, 2: first, 3: middle, 4: last), content.
    """
    proto = import_module("wandb.proto.wandb_internal_pb2")
    data, place, record = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            message = proto.Record()
            message.ParseFromString(record)
            record = b""
            yield message


def test_wandb_keeps_what_was_sent_offline(
    result: RunResult, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("wandb")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    tracker("wandb:team/korean").send(result, directory)
    (path,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    sent: dict[str, float] = {}
    projects: set[str] = set()
    # A process of its own writes the file.
    until = time.monotonic() + 30
    while not any(record.HasField("exit") for record in wandb_records(path)):
        assert time.monotonic() < until
        time.sleep(0.1)
    for record in wandb_records(path):
        if record.run.project:
            projects.add(f"{record.run.entity}/{record.run.project}")
        for item in record.history.item:
            sent["/".join(item.nested_key) or item.key] = float(item.value_json)
    assert projects == {"team/korean"}
    assert sent.items() >= scalars(result).items()


def test_mlflow_reads_what_was_sent(
    result: RunResult, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "store").as_uri()
    place = tracker(f"mlflow:{uri}").send(result, directory)
    client = import_module("mlflow").MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(PROJECT)
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_id in place
    assert run.info.status == "FINISHED"
    assert run.data.metrics == scalars(result)
    assert run.data.params == facts(result)
    assert [item.path for item in client.list_artifacts(run.info.run_id)] == ["results.json"]


# From the command line and from Python.

WORDS = ("--tasks", "ko_gpqa", "--limit", 3, "--dtype", "float32", "--device", "cpu")


def test_the_command_sends_its_scores(tiny: Path, here: hostile.Run, tmp_path: Path) -> None:
    needs("tensorboard")
    done = here("run", tiny, *WORDS, "--track", "tensorboard:logs")
    assert done.code == 0
    assert "Sent to TensorBoard: logs/" in done.out
    (folder,) = (tmp_path / "logs").iterdir()
    (shown,) = read_tensorboard(folder).Scalars("score/ko_gpqa")
    (path,) = tmp_path.rglob("results.json")
    assert shown.value == pytest.approx(read_result(path).tasks[0].shown.value)


def test_a_refusal_is_a_warning_and_the_results_stand(
    tiny: Path, here: hostile.Run, tmp_path: Path
) -> None:
    needs("tensorboard")
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = here("run", tiny, *WORDS, "--track", "tensorboard:file")
    assert done.code == 0
    assert "warning: TensorBoard did not take the scores" in done.err
    assert len(list(tmp_path.rglob("results.json"))) == 1


def test_a_wrong_target_is_refused_before_anything_is_read(here: hostile.Run) -> None:
    done = here("run", "no-such-model", *WORDS, "--track", "comet")
    assert done.code == 2
    assert "--track cannot be 'comet'" in done.err


def test_python_sends_its_scores(tiny: Path, tmp_path: Path) -> None:
    needs("tensorboard")
    ko_eval.evaluate(
        tiny,
        tasks="ko_gpqa",
        limit=3,
        dtype="float32",
        device="cpu",
        out=tmp_path / "out",
        track=f"tensorboard:{tmp_path / 'logs'}",
    )
    assert len(list((tmp_path / "logs").rglob("events.*"))) == 1
