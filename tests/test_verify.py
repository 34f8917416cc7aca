"""`ko-eval verify` says whether a run's files hold together, and in which layer two runs differ."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import hostile
import pytest
from layer_mutations import MUTATIONS, plain_setup
from misbehaving_server import Ask, Fault, MisbehavingServer
from result_files import write_result
from server_runs import options as server_options
from server_runs import run as server_run
from tiny_model import make_tiny_llama

from ko_eval.engines.encoding import Encoder
from ko_eval.engines.vllm_options import VllmOptions
from ko_eval.errors import DataError, UsageError
from ko_eval.reports.verify_words import differences_lines
from ko_eval.resources import shipped
from ko_eval.runs.evaluate import RunOutcome, evaluate
from ko_eval.runs.index import shipped_index, with_index
from ko_eval.runs.layer_differences import Differences, differences, layers_of, read_layers
from ko_eval.runs.layer_names import LAYERS, allowed_layers
from ko_eval.runs.layers import fingerprint, local_layers
from ko_eval.runs.plan import RunPlan, plan_run
from ko_eval.runs.result import read_result
from ko_eval.runs.verify import verify_run


@pytest.fixture(scope="module")
def models(
    tiny: Path, tiny_bos: Path, tiny_chat: Path, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Path]:
    other = make_tiny_llama(tmp_path_factory.mktemp("models") / "other", seed=1)
    return {"plain": tiny, "bos": tiny_bos, "chat": tiny_chat, "other": other}


@pytest.fixture(scope="module")
def run(models: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> RunOutcome:
    setup = plain_setup(tmp_path_factory.mktemp("runs") / "a", models["plain"])
    return evaluate(setup.written())


@pytest.fixture
def copy(run: RunOutcome, tmp_path: Path) -> Path:
    """A copy of the run, to be tampered with."""
    return Path(shutil.copytree(run.directory, tmp_path / "copy"))


# What results alone tell is not in a plan; the others show that a run's files hold its layers.
RUN = {"BOS", "chat template", "few-shot order", "data row", "dtype", "title"}


def causes(found: Differences) -> set[str]:
    return {each.layer.name for each in found.causes}


# --- two runs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MUTATIONS)
def test_exactly_the_layer_that_was_changed_is_named(
    name: str, run: RunOutcome, models: Mapping[str, Path], tmp_path: Path
) -> None:
    layer, change = MUTATIONS[name]
    setup = plain_setup(tmp_path / "b", models["plain"])
    change(setup, models)
    if name in RUN:
        found = differences(layers_of(run.result), layers_of(evaluate(setup.written()).result))
        assert not found.unknown
    else:  # The layers are settled before a model is asked.
        plan = plan_run(setup.written())
        found = differences(read_layers(run.result.layers), read_layers(plan.layers))
        assert {unknown.name for unknown, _ in found.unknown} == {"definition"}
    assert causes(found) == {layer}


def test_two_runs_alike_differ_in_nothing(
    run: RunOutcome, models: Mapping[str, Path], tmp_path: Path
) -> None:
    again = evaluate(plain_setup(tmp_path / "b", models["plain"]).written())
    found = differences(layers_of(run.result), layers_of(again.result))
    assert found == Differences((), (), ())
    assert again.result.fingerprint == run.result.fingerprint


def planned(models: Mapping[str, Path], folder: Path, **options: Any) -> RunPlan:
    setup = plain_setup(folder, models["plain"])
    setup.options |= options
    return plan_run(setup.written())


def test_an_adapter_is_named(run: RunOutcome, models: Mapping[str, Path], tmp_path: Path) -> None:
    from ko_eval.engines.transformers_loading import LoadOptions

    adapter = make_adapter(models["plain"], tmp_path / "adapter")
    load = LoadOptions(dtype="float32", device="cpu", adapter=str(adapter))
    plan = planned(models, tmp_path / "b", load=load)
    found = differences(read_layers(run.result.layers), read_layers(plan.layers))
    assert causes(found) == {"adapter"}


def make_adapter(model: Path, folder: Path) -> Path:
    """A LoRA adapter that changes nothing yet."""
    import peft
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(str(model))
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    peft.get_peft_model(base, config).save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize(
    ("engine", "vllm", "expected"),
    [
        ("vllm", VllmOptions(), {"engine.name"}),
        ("vllm", VllmOptions(quantization="fp8"), {"engine.name", "engine.quantization"}),
        (
            "vllm",
            VllmOptions(engine_args={"kv_cache_dtype": "fp8"}),
            {"engine.name", "engine.options"},
        ),
    ],
    ids=["engine", "quantisation", "arguments"],
)
def test_the_engine_and_how_it_runs_a_model_are_named(
    engine: Any, vllm: VllmOptions, expected: set[str], models: Mapping[str, Path], tmp_path: Path
) -> None:
    plan = planned(models, tmp_path / "b", vllm=VllmOptions())
    assert isinstance(plan.encoder, Encoder)
    setup = plain_setup(tmp_path / "c", models["plain"])
    setup.options["vllm"] = vllm
    layers = local_layers(setup.written(), engine, plan.folder, plan.encoder, plan.tasks)
    assert causes(differences(read_layers(plan.layers), read_layers(layers))) == expected


def test_the_room_for_a_thought_is_named(tmp_path: Path, no_server_key: None) -> None:
    with MisbehavingServer() as server:
        few = plan_run(server_options(server, tmp_path, asked={"thinking_tokens": 100}))
        many = plan_run(server_options(server, tmp_path, asked={"thinking_tokens": 200}))
    found = differences(read_layers(few.layers), read_layers(many.layers))
    assert causes(found) == {"thinking.budget"}
    assert {layer.name for layer, _ in found.unknown} >= {"model.weights", "engine.dtype", "bos"}


def test_two_changes_are_both_named_and_the_first_one_first(
    run: RunOutcome, models: Mapping[str, Path], tmp_path: Path
) -> None:
    setup = plain_setup(tmp_path / "b", models["plain"])
    for name in ("stop", "BOS"):
        MUTATIONS[name][1](setup, models)
    other = evaluate(setup.written()).result
    found = differences(layers_of(run.result), layers_of(other))
    assert [each.layer.name for each in found.causes] == ["bos", "stop"]
    lines = differences_lines(found, run.result, other)
    assert any("BOS" in line and line.startswith("first") for line in lines)


def test_what_follows_from_a_change_is_told_apart_from_it(
    run: RunOutcome, models: Mapping[str, Path], tmp_path: Path
) -> None:
    setup = plain_setup(tmp_path / "b", models["plain"])
    MUTATIONS["data row"][1](setup, models)
    found = differences(layers_of(run.result), layers_of(evaluate(setup.written()).result))
    assert {each.layer.name for each in found.follow} == {"data.order", "prompts", "tokens"}
    assert {each.task for each in (*found.causes, *found.follow)} == {"sums"}


def test_the_details_do_not_change_the_fingerprint(run: RunOutcome) -> None:
    layers = dict(run.result.layers)
    assert layers.pop("details")
    assert fingerprint(layers) == run.result.fingerprint  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shots", "expected"),
    [(0, {"fewshot.count"}), (1, {"fewshot.count", "fewshot.rows"})],
    ids=["none", "one"],
)
def test_other_examples_are_named_beside_their_count_where_there_are_any(
    shots: int,
    expected: set[str],
    run: RunOutcome,
    models: Mapping[str, Path],
    tmp_path: Path,
) -> None:
    setup = plain_setup(tmp_path / "b", models["plain"])
    MUTATIONS["few-shot example"][1](setup, models)
    setup.options["shots"] = shots
    plan = plan_run(setup.written())
    assert causes(differences(read_layers(run.result.layers), read_layers(plan.layers))) == expected


def test_an_older_result_is_compared_as_far_as_its_layers_go(tmp_path: Path) -> None:
    changed = {"ko_gpqa": {"shots": 5}}
    a = read_result(write_result(tmp_path / "a", shown={"ko_gpqa": 50.0}))
    b = read_result(write_result(tmp_path / "b", shown={"ko_gpqa": 50.0}, tasks=changed))
    assert "details" not in a.layers
    found = differences(layers_of(a), layers_of(b))
    assert causes(found) == {"fewshot.count"}
    longer = read_result(write_result(tmp_path / "c", shown={"ko_gpqa": 50.0}, n=80))
    assert causes(differences(layers_of(a), layers_of(longer))) == {"data.order"}


def test_an_older_definition_that_differs_by_its_hash_is_unknown_and_no_difference(
    tmp_path: Path,
) -> None:
    changed = {"ko_gpqa": {"definition_sha256": "0" * 64}}
    a = read_result(write_result(tmp_path / "a", shown={"ko_gpqa": 50.0}))
    b = read_result(write_result(tmp_path / "b", shown={"ko_gpqa": 50.0}, tasks=changed))
    found = differences(layers_of(a), layers_of(b))
    assert not found.causes
    assert {"scorer", "definition"} <= {layer.name for layer, task in found.unknown if task}


def test_layers_of_any_shape_are_read_without_an_error() -> None:
    shapes: list[dict[str, Any]] = [
        {"tasks": None, "details": 3, "engine": [], "encoding": "x"},
        {"tasks": {"a": [1]}, "details": {"tasks": {"a": "b"}, "model": None}},
        {"details": {"model": {"weights": {"a": [None]}}}},
        {},
    ]
    for one in shapes:
        for other in shapes:
            differences(read_layers(one), read_layers(other))


def test_layers_are_allowed_by_name_and_by_group() -> None:
    assert allowed_layers(["stop"]) == {"stop"}
    assert allowed_layers(["data"]) == {"data.rows", "data.order", "data.limit", "data.items"}
    with pytest.raises(UsageError, match="'fewshots'"):
        allowed_layers(["fewshots"])
    assert len({layer.name for layer in LAYERS}) == len(LAYERS)


# --- one run -------------------------------------------------------------------------------------


def test_a_run_as_it_was_made_is_intact(run: RunOutcome) -> None:
    checked = verify_run(run.directory)
    assert (checked.faults, checked.unchecked) == ([], [])
    assert len(checked.sound) == 5  # the fingerprint, and two of each task


def _edited(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def _flip_an_answer(copy: Path) -> None:
    path = copy / "samples" / "capitals.jsonl"
    first, *rest = path.read_text(encoding="utf-8").splitlines()
    line = json.loads(first)
    line["metrics"]["acc"] = 1.0 - line["metrics"]["acc"]
    path.write_text("\n".join([json.dumps(line, ensure_ascii=False), *rest]) + "\n", "utf-8")


def _change_result(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def tamper(copy: Path) -> None:
        path = copy / "results.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        change(content)
        path.write_text(json.dumps(content), encoding="utf-8")

    return tamper


def _drop_a_response(copy: Path) -> None:
    path = copy / "responses" / "sums.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))


def _swap_samples(copy: Path) -> None:
    path = copy / "samples" / "sums.jsonl"
    path.write_bytes(b"".join(reversed(path.read_bytes().splitlines(keepends=True))))


TAMPERED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a response": (
        lambda copy: _edited(copy / "responses" / "sums.jsonl", '"kind"', '"Kind"'),
        "not as they were written",
    ),
    "a response is gone": (_drop_a_response, "have no response in the journal"),
    "a journal is gone": (
        lambda copy: (copy / "responses" / "sums.jsonl").unlink(),
        "the journal cannot be read",
    ),
    "a journal of another run": (
        lambda copy: _other_run(copy / "responses" / "sums.jsonl"),
        "of another run",
    ),
    "a sample's score": (_flip_an_answer, "the responses give other scores"),
    "samples change places": (_swap_samples, "are not those of the run's layers"),
    "samples are gone": (
        lambda copy: (copy / "samples" / "sums.jsonl").unlink(),
        "per-sample scores cannot be read",
    ),
    "the shown score": (
        _change_result(lambda c: c["tasks"][0]["shown"].update(value=99.0)),
        "the shown score is 99",
    ),
    "a count": (_change_result(lambda c: c["tasks"][0].update(n=3)), "n = 3"),
    "outcomes": (
        _change_result(lambda c: c["tasks"][0]["outcomes"].update(ok=1, no_answer=1)),
        "the outcomes",
    ),
    "the seed": (_change_result(lambda c: c.update(seed=7)), "the seed is 7"),
    "the model's hash": (
        _change_result(lambda c: c["model"].update(sha256="0" * 64)),
        "the model's hash",
    ),
    "an error": (
        _change_result(lambda c: c["tasks"][0]["shown"].update(stderr=0.1)),
        "the shown score has the error 0.1",
    ),
    "a limit": (
        _change_result(lambda c: c["tasks"][0]["metrics"]["acc"].update(low=0.49)),
        "acc has the error",
    ),
    "a metric that nothing gives": (
        _change_result(lambda c: c["tasks"][0]["metrics"].update(x=c["tasks"][0]["shown"])),
        "x follows from nothing",
    ),
    "the leading metric": (
        _change_result(lambda c: c["tasks"][0].update(metric="acc_norm")),
        "the leading metric is 'acc_norm'",
    ),
    "a group": (
        _change_result(lambda c: c["tasks"][0]["groups"].update(easy=c["tasks"][0]["shown"])),
        "the score of 'easy' follows from nothing",
    ),
    "the format loss": (
        _change_result(lambda c: c["tasks"][1]["format_loss"]["shown"].update(value=50.0)),
        "the format loss is 50",
    ),
    "the level of chance": (
        _change_result(lambda c: c["tasks"][0]["levels"].update(chance=0.0)),
        "chance and best",
    ),
    "the label of the data": (
        _change_result(lambda c: c["tasks"][0]["data"].update(label="hub")),
        "its data are called hub",
    ),
    "the shots": (_change_result(lambda c: c["tasks"][0].update(shots=5)), "5 few-shot examples"),
    "a sample's cluster": (
        lambda copy: _edited(copy / "samples" / "sums.jsonl", '"cluster": null', '"cluster": "a"'),
        "cluster and group",
    ),
    "a sample's made-up metric": (
        lambda copy: _edited(
            copy / "samples" / "sums.jsonl", '"metrics": {', '"metrics": {"x": 1, '
        ),
        "'x', which is no metric",
    ),
    "the average's error": (
        _change_result(lambda c: c["average"].update(stderr=0.1)),
        "the average has the error 0.1",
    ),
    "the average": (_change_result(lambda c: c["average"].update(value=88.0)), "the average is 88"),
    "a layer": (
        _change_result(lambda c: c["layers"]["encoding"].update(max_length=1)),
        "the fingerprint is",
    ),
    "the rows' hash": (
        _change_result(lambda c: c["tasks"][0]["data"].update(sha256="0" * 64)),
        "its rows are not those",
    ),
    "the record": (
        lambda copy: _edited(copy / "run.json", '"fingerprint": "', '"fingerprint": "x'),
        "different fingerprints",
    ),
}


def _other_run(path: Path) -> None:
    from ko_eval.runs.journal import decode_entry, encode_entry

    lines = path.read_bytes().splitlines()
    entries = [found[1] for line in lines if (found := decode_entry(line))]
    path.write_bytes(b"".join(encode_entry(entry, "other") for entry in entries))


@pytest.mark.parametrize("what", TAMPERED)
def test_whatever_is_tampered_with_is_found(what: str, copy: Path) -> None:
    tamper, expected = TAMPERED[what]
    tamper(copy)
    faults = verify_run(copy).faults
    assert any(expected in fault for fault in faults), faults


def test_an_index_that_does_not_follow_from_the_tasks_is_found(tmp_path: Path) -> None:
    definition = shipped_index().index
    assert definition is not None
    value = {"value": 0.5, "stderr": 0.05, "low": 0.4, "high": 0.6, "n": 100}
    tasks = {
        name: {"metrics": {metric: value for metric in (entry.metric, entry.published) if metric}}
        for name, entry in definition.entries.items()
    }
    path = write_result(tmp_path / "a", tasks=tasks)
    content = with_index(read_result(path)).model_dump(mode="json")
    for number, found in ((content["index"]["shown"]["value"], False), (99.0, True)):
        content["index"]["shown"]["value"] = number
        (path / "results.json").write_text(json.dumps(content), encoding="utf-8")
        assert any("the index is 99" in fault for fault in verify_run(path).faults) is found
    content["index"]["definition_sha256"] = "0" * 64
    (path / "results.json").write_text(json.dumps(content), encoding="utf-8")
    assert "the index: its definition is not at hand" in verify_run(path).unchecked


def test_a_task_that_stands_twice_is_no_result_of_a_run(copy: Path) -> None:
    _change_result(lambda c: c["tasks"].append(c["tasks"][0]))(copy)
    with pytest.raises(DataError, match="'capitals' stands in it twice"):
        verify_run(copy)


def test_a_torn_last_line_is_no_fault(copy: Path) -> None:
    with (copy / "responses" / "sums.jsonl").open("ab") as file:
        file.write(b'{"crc32": "0')
    assert verify_run(copy).intact


def test_where_the_rows_are_gone_the_scores_are_unchecked_and_not_called_sound(
    run: RunOutcome, copy: Path
) -> None:
    record = copy / "run.json"
    content = json.loads(record.read_text(encoding="utf-8"))
    content["options"]["data"] = str(copy / "nowhere")
    record.write_text(json.dumps(content), encoding="utf-8")
    checked = verify_run(copy)
    assert checked.intact
    assert len(checked.unchecked) == 2
    assert not any("follow from the responses" in text for text in checked.sound)


def test_a_task_whose_scorer_changed_since_is_unchecked_and_no_fault(
    models: Mapping[str, Path], tmp_path: Path
) -> None:
    setup = plain_setup(tmp_path / "b", models["plain"])
    outcome = evaluate(setup.written())
    capitals = tmp_path / "b" / "capitals.yaml"
    # The scores are now those of another metric.
    text = capitals.read_text(encoding="utf-8")
    capitals.write_text(text.replace("metric: acc", "scale: 50"), encoding="utf-8")
    checked = verify_run(outcome.directory)
    assert checked.intact
    assert any("has been changed since" in text for text in checked.unchecked)


def test_a_run_that_another_version_scored_differently_is_unchecked_and_no_fault(
    copy: Path,
) -> None:
    _change_result(lambda c: c["tasks"][0]["metrics"]["acc"].update(stderr=0.1))(copy)
    assert verify_run(copy).faults
    _change_result(lambda c: c.update(ko_eval="0.0.9"))(copy)
    checked = verify_run(copy)
    assert checked.intact
    assert any("ko-eval 0.0.9 has been changed since" in text for text in checked.unchecked)


def test_a_run_that_was_asked_in_text_for_want_of_likelihoods_is_intact(
    tmp_path: Path, no_server_key: None
) -> None:
    with MisbehavingServer(echo=False) as server:
        outcome = server_run(server, tmp_path, tasks=("ko_gpqa",))
    assert outcome.result.tasks[0].variant == "generate"
    checked = verify_run(outcome.directory)
    assert (checked.faults, checked.unchecked) == ([], [])


def test_a_run_with_failed_samples_is_intact(tmp_path: Path, no_server_key: None) -> None:
    row = json.loads(shipped("seeds", "ko_gsm8k.jsonl").read_text("utf-8").splitlines()[0])

    def fault(ask: Ask) -> Fault | None:
        return Fault(400, b'{"error": {"message": "no"}}') if row["question"] in ask.text else None

    with MisbehavingServer(fault=fault) as server:
        outcome = server_run(server, tmp_path)
    assert outcome.result.failed == 1
    checked = verify_run(outcome.directory)
    assert (checked.faults, checked.unchecked) == ([], [])


# --- the command ---------------------------------------------------------------------------------


def test_the_command_says_intact_or_what_is_wrong(
    run: RunOutcome, copy: Path, here: hostile.Run
) -> None:
    assert here("verify", run.directory).code == 0
    _flip_an_answer(copy)
    ended = here("verify", copy)
    assert ended.code == 1
    assert "wrong:" in ended.out
    assert "not intact" in ended.out
    content = json.loads(here("verify", copy, "--json").out)
    assert content["intact"] is False


def test_the_command_names_the_first_layer_that_differs(
    run: RunOutcome, models: Mapping[str, Path], tmp_path: Path, here: hostile.Run
) -> None:
    setup = plain_setup(tmp_path / "b", models["plain"])
    MUTATIONS["few-shot order"][1](setup, models)
    other = evaluate(setup.written()).directory
    ended = here("verify", run.directory, other)
    assert ended.code == 1
    assert "order of the few-shot examples (fewshot.order)" in ended.out
    assert json.loads(here("verify", run.directory, other, "--json").out)["first"] == (
        "fewshot.order"
    )
    assert here("verify", run.directory, run.directory).code == 0


def test_verify_of_nothing_is_a_message(tmp_path: Path, here: hostile.Run) -> None:
    ended = here("verify", tmp_path / "nowhere")
    assert ended.code == 2
    assert "there is no result" in ended.err


def test_verify_imports_neither_torch_nor_transformers(run: RunOutcome) -> None:
    program = (
        "import sys; from pathlib import Path; from ko_eval.runs.verify import verify_run; "
        "checked = verify_run(Path(sys.argv[1])); assert checked.intact and not checked.unchecked; "
        "sys.exit(int('torch' in sys.modules or 'transformers' in sys.modules))"
    )
    command = [sys.executable, "-c", program, str(run.directory)]
    assert subprocess.run(command, check=False).returncode == 0
