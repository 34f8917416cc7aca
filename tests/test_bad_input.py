"""What a user can get wrong: exit code 2, two or three lines, what and where and what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    built_command: Callable[[list[str]], object],
) -> Run:
    """The command line in this process: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("KO_EVAL_CACHE", str(tmp_path / "cache"))

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = 0
        try:
            built_command([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        out, err = capfd.readouterr()
        return code, out, err

    return run


def refused(result: tuple[int, str, str], *parts: str) -> None:
    """Exit code 2, no traceback, at most four lines that hold every part."""
    code, out, err = result
    assert code == 2, err
    assert out == ""
    assert "Traceback" not in err
    message = err[err.index("error: ") :]
    assert len(message.strip().splitlines()) <= 4
    for part in parts:
        assert part in message


ROW = {"id": "a", "question": "하나 더하기 하나는?", "choices": ["1", "2", "3", "4"], "answer": "B"}


def data_file(path: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


# --- models ----------------------------------------------------------------------------------


def test_no_such_model_folder(cli: Run) -> None:
    refused(cli("run", "nowhere"), "no model folder 'nowhere'", "Hugging Face id")


def test_a_path_that_does_not_exist(cli: Run, tmp_path: Path) -> None:
    refused(cli("run", tmp_path / "a" / "b"), "no model folder")


def test_a_hub_id_without_network(cli: Run) -> None:
    refused(cli("run", "nobody/nothing"), "'nobody/nothing'", "hub")


def test_a_server(cli: Run) -> None:
    shown = cli("run", "http://user:secret@localhost:8000/v1")
    refused(shown, "more than a host and a path", "http://localhost", "KO_EVAL_API_KEY")
    assert "secret" not in shown[2]
    refused(cli("plan", "http://localhost:8000/v1"), "the model's own files")


def test_a_folder_without_config(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    refused(cli("run", "m"), "no config.json", str(tmp_path / "m"))


def test_a_damaged_config(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text('{"model_type": ')
    refused(cli("run", "m"), "config.json cannot be read")


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def test_a_folder_without_tokenizer(cli: Run, copy: Path) -> None:
    for file in copy.glob("tokenizer*"):
        file.unlink()
    refused(cli("run", copy), "no tokenizer", "tokenizer.json")


def test_a_damaged_tokenizer(cli: Run, copy: Path) -> None:
    (copy / "tokenizer.json").write_text("{}")
    refused(cli("run", copy), "tokenizer cannot be loaded")


def test_a_folder_without_weights(cli: Run, copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    refused(cli("run", copy), "no weights", "safetensors")


def test_torn_weights(cli: Run, copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    refused(cli("run", copy, "--tasks", "ko_gpqa", "--limit", 1), "cannot be loaded")


def test_missing_weights_are_not_drawn_at_random(cli: Run, copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(copy / "model.safetensors")
    del tensors["model.layers.2.mlp.up_proj.weight"]
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    refused(cli("run", copy, "--tasks", "ko_gpqa", "--limit", 1), "1 missing keys", "up_proj")


def test_pickle_weights_are_refused_unless_allowed(cli: Run, copy: Path) -> None:
    from safetensors.torch import load_file

    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    command = ("run", copy, "--tasks", "ko_gpqa", "--limit", 1)
    refused(cli(*command), "pickle", "--allow-pickle")
    code, out, _ = cli(*command, "--allow-pickle")
    assert (code, "Ko-GPQA" in out) == (0, True)


def test_remote_code_is_refused_unless_trusted(cli: Run, copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["model_type"] = "own"
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_own.Own"}
    (copy / "config.json").write_text(json.dumps(config))
    refused(cli("run", copy), "code of its own", "--trust-remote-code")


def test_a_template_that_is_not_there(cli: Run, tiny: Path) -> None:
    refused(cli("run", tiny, "--chat-template", "on"), "no chat template", "--chat-template off")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_where_there_is_none(cli: Run, tiny: Path) -> None:
    refused(cli("run", tiny, "--device", "cuda"), "0 CUDA devices", "--device cpu")


@pytest.mark.parametrize(
    ("option", "value", "part"),
    [
        ("--device", "gpu", "unknown device 'gpu'"),
        ("--dtype", "bfloat", "did you mean 'bfloat16'"),
        ("--adapter", "nowhere", "no LoRA adapter"),
        ("--engine", "transformer", "did you mean 'transformers'"),
        ("--chat-template", "yes", "known: auto, off, on"),
        ("--max-length", "999999", "longer than the model's window"),
        ("--shots", "500", "few-shot examples"),
        ("--variant", "space", "has a variant"),
        ("--data", "nowhere", "no data at 'nowhere'"),
    ],
)
def test_an_option_that_does_not_fit(
    cli: Run, tiny: Path, option: str, value: str, part: str
) -> None:
    refused(cli("run", tiny, "--tasks", "ko_gpqa", option, value), part)


def test_a_folder_where_nothing_may_be_written(cli: Run, tiny: Path, tmp_path: Path) -> None:
    # A file in the way stops even root, whom no permission stops.
    (tmp_path / "file").write_text("")
    refused(cli("run", tiny, "--tasks", "ko_gpqa", "--out", "file/out"), "cannot write", "--out")


def test_the_demo_model_without_its_package(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ko_eval.engines.demo_model._PACKAGE", "no-such-package")
    refused(cli("run", "demo"), "not installed", "pip install")


# --- tasks -----------------------------------------------------------------------------------


def test_an_unknown_task_is_answered_with_near_misses(cli: Run) -> None:
    refused(cli("show", "ko_gsm8"), "unknown task 'ko_gsm8'", "did you mean 'ko_gsm8k'")


def test_an_unknown_suite(cli: Run) -> None:
    refused(cli("run", "x", "--suite", "leaderboard"), "did you mean 'leaderboard2'")


def test_a_suite_and_tasks(cli: Run) -> None:
    refused(cli("run", "x", "--suite", "leaderboard2", "--tasks", "ko_gpqa"), "both given")


def test_a_task_file_that_is_not_there(cli: Run) -> None:
    refused(cli("show", "my/task.yaml"), "no task file 'my/task.yaml'")


TASK = """\
name: mine
request: loglikelihood
columns: {id: id, question: question, choices: choices, answer: answer}
prompt: "질문: {{ question }}\\n답:"
choices: choices
scorer: {name: choice_likelihood}
metric: acc
"""


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("prompt:", "promt:", ("unknown field 'promt'", "did you mean 'prompt'", "t.yaml")),
        ("metric: acc", "metric: acc_nrm", ("no metric 'acc_nrm'", "did you mean 'acc_norm'")),
        ("choice_likelihood", "choice_likelyhood", ("did you mean 'choice_likelihood'",)),
        ("{name: choice_likelihood}", "{name: gsm8k}", ("judges 'generate' requests",)),
        ("request: loglikelihood", "request: likelihood", ("field 'request'", "loglikelihood")),
        ("{{ question }}", "{{ qestion }}", ("needs what is not there", "qestion", "question")),
        ("{{ question }}", "{{ question", ("not valid", "prompt")),
        ("question: question", "question: text", ("column 'text' is missing", "question")),
        ("choices: choices\n", "choices: question\n", ("must give a list", "literal")),
        ("name: mine", "name: [", ("not valid YAML", "line")),
        ("name: mine", "name: " + "[" * 200 + "]" * 200, ("nested deeper than 100 levels",)),
        ("name: mine", "name: ../../etc", ("field 'name'",)),
        ("metric: acc", "fewshot: {cuont: 3}", ("field 'fewshot.cuont'", "did you mean 'count'")),
        ("metric: acc", "max_tokens: many", ("field 'max_tokens'", "many")),
        (TASK, "- a\n- list\n", ("mapping of fields",)),
    ],
)
def test_a_wrong_task_file_names_the_field(
    cli: Run, tmp_path: Path, old: str, new: str, parts: tuple[str, ...]
) -> None:
    assert old in TASK
    (tmp_path / "t.yaml").write_text(TASK.replace(old, new, 1), encoding="utf-8")
    data_file(tmp_path / "d.jsonl", ROW)
    refused(cli("show", "t.yaml", "--data", "d.jsonl"), *parts)


def test_a_task_of_the_users_own_works_by_path(cli: Run, tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "t.yaml").write_text(TASK, encoding="utf-8")
    data_file(tmp_path / "d.jsonl", ROW, {**ROW, "id": "b"})
    code, out, err = cli("run", tiny, "--tasks", "t.yaml", "--data", "d.jsonl")
    assert code == 0, err
    assert "mine" in out
    assert "leaderboard, whose test sets are private" not in out


def test_a_row_is_a_value_and_never_a_template(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(TASK, encoding="utf-8")
    data_file(tmp_path / "d.jsonl", {**ROW, "question": "{{ 7 * 7 }} {% raw %}"})
    _, out, _ = cli("show", "t.yaml", "--data", "d.jsonl")
    assert "{{ 7 * 7 }} {% raw %}" in out


def test_a_template_cannot_reach_into_python(cli: Run, tmp_path: Path) -> None:
    escape = "{{ question.__class__.__mro__ }}"
    (tmp_path / "t.yaml").write_text(TASK.replace("{{ question }}", escape), encoding="utf-8")
    data_file(tmp_path / "d.jsonl", ROW)
    refused(cli("show", "t.yaml", "--data", "d.jsonl"), "template")


# --- data ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        ([], ("the data is empty",)),
        ([ROW, {**ROW, "answer": "E"}], ("'E' is not one of A, B, C, D", "line 2")),
        ([ROW, {**ROW, "answer": 7}], ("7 is not one of", "line 2")),
        ([ROW, ROW], ("'a' occurs twice", "line 2", "line 1")),
        ([ROW, '{"id": "b", "question": '], ("not valid JSON", "line 2", "torn")),
        (
            [{k: v for k, v in ROW.items() if k != "answer"}],
            ("column 'answer' is missing", "line 1"),
        ),
        (["[1, 2]"], ("must be an object", "line 1")),
        ([{**ROW, "choices": ["1", ""]}], ("is empty", "line 1")),
    ],
)
def test_wrong_rows_are_named_by_file_and_line(
    cli: Run, tmp_path: Path, rows: list[object], parts: tuple[str, ...]
) -> None:
    data_file(tmp_path / "d.jsonl", *rows)
    refused(cli("show", "kornat_knowledge", "--data", "d.jsonl", "--sample", 9), *parts, "d.jsonl")


def test_broken_utf8_names_the_line(cli: Run, tmp_path: Path) -> None:
    good = json.dumps(ROW, ensure_ascii=False).encode()
    (tmp_path / "d.jsonl").write_bytes(good + b"\n" + good.decode().encode("cp949") + b"\n")
    refused(
        cli("show", "kornat_knowledge", "--data", "d.jsonl", "--sample", 2),
        "not UTF-8",
        "line 2",
        "CP949",
    )


def test_a_folder_without_the_tasks_file(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    refused(cli("show", "ko_gpqa", "--data", "data"), "no rows for task 'ko_gpqa'", "ko_gpqa.jsonl")


def test_a_format_that_is_not_read(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "d.xlsx").write_bytes(b"PK")
    refused(cli("show", "ko_gpqa", "--data", "d.xlsx"), "cannot be read", ".jsonl")


def test_hub_data_without_network(cli: Run) -> None:
    refused(cli("show", "ko_gsm8k", "--data", "hub"), "was not read before", "HRM8K", "--data PATH")


def test_hub_data_where_there_is_none(cli: Run) -> None:
    refused(cli("show", "ko_gpqa", "--data", "hub"), "no public equivalent")


def test_a_sample_that_is_not_there(cli: Run) -> None:
    refused(cli("show", "ko_gpqa", "--sample", 999), "no sample 999", "--sample 1 to 102")


# --- responses -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        ([{"id": "a", "response": "x"}], ("needs log-likelihoods",)),
        ([{"id": "a", "loglikelihoods": [1, 2]}], ("4 choices, but 2",)),
        ([{"id": "a", "loglikelihoods": [1, 2, 3, "x"]}], ("must be numbers",)),
        ([{"id": "z", "loglikelihoods": [1, 2, 3, 4]}], ("'z' is not in the data", "line 1")),
        ([{"loglikelihoods": [1, 2, 3, 4]}], ("no 'id'",)),
        ([{"id": "a"}], ("neither 'response'",)),
        ([{"id": "a", "loglikelihoods": [1, 2, 3, 4]}] * 2, ("'a' is answered twice", "line 2")),
        (["{"], ("not valid JSON", "line 1")),
        ([""], ("1 of 1 ids have no response", "'a'")),
    ],
)
def test_wrong_responses_are_explained(
    cli: Run, tmp_path: Path, rows: list[object], parts: tuple[str, ...]
) -> None:
    data_file(tmp_path / "d.jsonl", ROW)
    data_file(tmp_path / "r.jsonl", *rows)
    command = ("score", "kornat_knowledge", "--responses", "r.jsonl", "--data", "d.jsonl")
    refused(cli(*command), *parts)


def test_a_response_file_that_is_not_there(cli: Run) -> None:
    refused(cli("score", "ko_gpqa", "--responses", "r.jsonl"), "no response file")


def test_debug_shows_the_traceback(cli: Run) -> None:
    code, _, err = cli("show", "ko_gsm8", "--debug")
    assert code == 2
    assert "Traceback" in err


# --- more than the obvious ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ({**ROW, "question": None}, "column 'question' is empty"),
        ({**ROW, "choices": ["1", None, "3", "4"]}, "one of the choices is empty"),
        ({**ROW, "choices": "[" * 100_000}, "neither JSON nor a Python literal"),
        ('{"id": "a", "question": "\\ud83d", "choices": ["1", "2"], "answer": "A"}', "surrogate"),
    ],
    ids=["null column", "null choice", "nested cell", "half a surrogate pair"],
)
def test_a_cell_that_holds_nothing_readable(
    cli: Run, tmp_path: Path, row: object, part: str
) -> None:
    data_file(tmp_path / "d.jsonl", row)
    refused(cli("show", "kornat_knowledge", "--data", "d.jsonl"), part, "line 1")


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        ({"ko_gsm8": {"max_tokens": 16}}, ("not among the suite's tasks", "overrides.ko_gsm8")),
        ({"ko_gsm8k": {"max_token": 16}}, ("unknown field 'max_token'", "overrides.ko_gsm8k")),
    ],
)
def test_a_wrong_override_names_the_suite(
    cli: Run, tmp_path: Path, overrides: object, parts: tuple[str, ...]
) -> None:
    suite = {"name": "s", "tasks": ["ko_gsm8k"], "overrides": overrides}
    (tmp_path / "s.yaml").write_text(json.dumps(suite))
    refused(cli("run", "x", "--suite", "s.yaml"), *parts, "suite 's'")


def test_a_wrong_variant_is_found_before_it_is_chosen(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(TASK + "variants: {short: {promt: x}}\n", encoding="utf-8")
    refused(cli("show", "t.yaml"), "unknown field 'promt'")


def test_a_bundled_file_is_a_name_in_seeds(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(TASK + "data: {bundled: /etc/passwd}\n", encoding="utf-8")
    refused(cli("show", "t.yaml"), "data.bundled")


@pytest.fixture
def adapter(tiny: Path, tmp_path: Path) -> Path:
    import peft

    from ko_eval.engines.model_folder import resolve_model
    from ko_eval.engines.transformers_loading import LoadOptions, load_model

    base = load_model(resolve_model(str(tiny)), LoadOptions(dtype="float32", device="cpu"))
    config = peft.LoraConfig(r=2, target_modules=["q_proj"])
    peft.get_peft_model(base, config).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_an_adapter_of_another_model_is_refused(cli: Run, tiny: Path, adapter: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = adapter / "adapter_model.safetensors"
    renamed = {key.replace("layers", "blocks"): value for key, value in load_file(file).items()}
    save_file(renamed, file, metadata={"format": "pt"})
    command = ("run", tiny, "--tasks", "ko_gpqa", "--limit", 1, "--adapter", adapter)
    refused(cli(*command), "adapter does not fit", "8 weights are missing")


def test_a_pickle_adapter_is_refused_unless_allowed(cli: Run, tiny: Path, adapter: Path) -> None:
    from safetensors.torch import load_file

    file = adapter / "adapter_model.safetensors"
    torch.save(load_file(file), adapter / "adapter_model.bin")
    file.unlink()
    command = ("run", tiny, "--tasks", "ko_gpqa", "--limit", 1, "--adapter", adapter)
    refused(cli(*command), "pickle", "--allow-pickle")
    assert cli(*command, "--allow-pickle")[0] == 0


def test_code_in_the_configuration_is_not_needed_for_a_known_architecture(
    cli: Run, copy: Path
) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_own.Own"}
    (copy / "config.json").write_text(json.dumps(config))
    assert cli("run", copy, "--tasks", "ko_gpqa", "--limit", 1)[0] == 0


def test_a_tokenizer_that_is_larger_than_the_model(cli: Run, copy: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig.from_pretrained(copy)
    config.vocab_size = 300
    LlamaForCausalLM(config).save_pretrained(copy)
    refused(cli("run", copy, "--tasks", "ko_gpqa", "--limit", 1), "the model knows 300 tokens")


@pytest.mark.parametrize(
    ("option", "value", "part"),
    [("--device", "meta", "not supported"), ("--device-map", "foo", "unknown device map")],
)
def test_a_device_that_is_not_supported(
    cli: Run, tiny: Path, option: str, value: str, part: str
) -> None:
    refused(cli("run", tiny, "--tasks", "ko_gpqa", option, value), part)


def test_brackets_in_a_users_text_are_text(cli: Run, tmp_path: Path, tiny: Path) -> None:
    text = TASK.replace("name: mine", "name: mine\ntitle: '점수 [/b] 표'")
    (tmp_path / "t.yaml").write_text(text, encoding="utf-8")
    data_file(tmp_path / "d.jsonl", ROW)
    command = ("run", tiny, "--tasks", "t.yaml", "--data", "d.jsonl", "--out", "out[/x]")
    code, out, _ = cli(*command)
    assert code == 0
    assert "점수 [/b] 표" in out
    assert "out[/x]" in out


def test_a_cache_folder_that_cannot_be_used(
    cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gguf")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KO_EVAL_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("ko_eval.engines.demo_model._gguf_file", lambda: tmp_path / "x.gguf")
    refused(cli("run", "demo"), "cannot be converted", "KO_EVAL_CACHE")


def test_a_sample_that_failed_is_counted_and_the_exit_code_is_1(cli: Run, copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(copy / "model.safetensors")
    tensors["lm_head.weight"][:] = float("nan")
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    code, out, err = cli("run", copy, "--tasks", "ko_gpqa", "--limit", 2)
    assert code == 1
    assert "failed 2" in out
    assert "2 samples failed; run the same command again" in err
    again, out, _ = cli("run", copy, "--tasks", "ko_gpqa", "--limit", 2)
    assert again == 1
    assert "Asked the model 2 requests" in out
