"""Model folders and adapters that were made to run code, to hang, or to fill the memory."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile import Run, refused, safe


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def changed(file: Path, **fields: object) -> None:
    content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    file.write_text(json.dumps({**content, **fields}), encoding="utf-8")


ONE = ("--tasks", "ko_gpqa", "--limit", 1)


# --- config.json -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b'{"a":' * 100_000, id="100,000 objects"),
        pytest.param(b'{"a":' * 300 + b"1" + b"}" * 300, id="300 objects, closed"),
        pytest.param(b"\xff\xfe{\x00}\x00", id="UTF-16"),
        pytest.param(b'{"model_type": "\xc3\x28"}', id="invalid UTF-8"),
        pytest.param(b'{"model_type": "llama"}\x00', id="NUL"),
        pytest.param(b'{"vocab_size": ' + b"9" * 5000 + b"}", id="5,000 digits"),
        pytest.param(b"NaN", id="no number"),
        pytest.param(b'["llama"]', id="a list"),
        pytest.param(b'{"model_type": "\x1b[2J\x1b]0;owned\x07', id="escape codes"),
        pytest.param(b"\x80\x04\x95cos\nsystem\n.", id="a pickle"),
    ],
)
def test_a_configuration_that_is_none(here: Run, copy: Path, content: bytes) -> None:
    (copy / "config.json").write_bytes(content)
    refused(here("plan", copy, *ONE), "config.json")


@pytest.mark.parametrize(
    "fields",
    [
        {"num_hidden_layers": 1_000_000_000},
        {"num_hidden_layers": "four"},
        {"num_hidden_layers": -1},
        {"hidden_size": 10**12},
        {"num_attention_heads": 0},
        {"head_dim": 10**11},
        {"hidden_act": "__import__('os')"},
        {"rope_parameters": {"rope_type": "evil"}},
        {"model_type": ["llama"]},
        {"model_type": "../../etc/passwd"},
        {"model_type": "\x1b[2J\u202e"},
        {"model_type": "own", "auto_map": {"AutoModelForCausalLM": "evil/repo--m.Evil"}},
        {"quantization_config": "x"},
        {"dtype": "int8"},
        {"eos_token_id": "x"},
        {"_attn_implementation": "evil/kernel"},
    ],
    ids=lambda fields: json.dumps(fields)[:60],
)
def test_a_configuration_that_asks_for_too_much_or_for_nonsense(
    here: Run, copy: Path, fields: dict[str, object]
) -> None:
    changed(copy / "config.json", **fields)
    refused(here("run", copy, *ONE))


@pytest.mark.parametrize(
    "fields",
    [
        {"quantization_config": {"quant_method": "evil"}},
        {"architectures": ["os.system"]},
        {"auto_map": {"AutoConfig": "evil/repo--m.Evil"}},
        {"_name_or_path": "../../etc/passwd", "transformers_version": "\x1b[2J"},
    ],
    ids=lambda fields: json.dumps(fields)[:60],
)
def test_nonsense_that_nothing_reads_does_no_harm(
    here: Run, copy: Path, fields: dict[str, object]
) -> None:
    changed(copy / "config.json", **fields)
    ended = here("run", copy, *ONE)
    safe(ended)
    assert (ended.code, "ok 1" in ended.out) == (0, True)


# --- weights ---------------------------------------------------------------------------------


class Evil:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.system, ("touch pwned",)


def header(content: object, length: int | None = None) -> bytes:
    """A safetensors file without tensors, whose header may lie."""
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text


def tensor(begin: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(pickle.dumps(Evil()), id="a pickle by another name"),
        pytest.param(header(b"{}", 2**63), id="a header of 2^63 bytes"),
        pytest.param(header(b"{}", 10**8), id="a header longer than the file"),
        pytest.param(header(b'{"a":' * 50_000), id="a nested header"),
        pytest.param(header(b"\xff" * 8), id="a header that is no text"),
        pytest.param(header({"w": tensor(0, 4, [2**40, 2**40])}), id="a tensor of 2^80 numbers"),
        pytest.param(header({"w": tensor(0, 4, [-1])}), id="a negative shape"),
        pytest.param(header({"w": tensor(10**18, 10**18 + 4, [1])}), id="beyond the file"),
        pytest.param(header({"w": tensor(4, 0, [1])}), id="ends before it begins"),
        pytest.param(
            header({"v": tensor(0, 8, [2]), "w": tensor(0, 8, [2])}) + b"\0" * 8, id="overlapping"
        ),
        pytest.param(header({"w": tensor(0, 4, [1], "EVIL")}) + b"\0" * 4, id="an unknown type"),
        pytest.param(header({"lm_head.weight": tensor(0, 4, [1])}) + b"\0" * 4, id="one number"),
    ],
)
def test_weights_that_are_none(here: Run, copy: Path, tmp_path: Path, content: bytes) -> None:
    (copy / "model.safetensors").write_bytes(content)
    refused(here("run", copy, *ONE))
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pth"])
def test_a_pickle_is_not_opened(here: Run, copy: Path, tmp_path: Path, name: str) -> None:
    (copy / "model.safetensors").unlink()
    (copy / name).write_bytes(pickle.dumps(Evil()))
    refused(here("run", copy, *ONE), "pickle files", name)
    assert not (tmp_path / "pwned").exists()


def test_a_pickle_beside_sound_weights_is_not_opened(here: Run, copy: Path, tmp_path: Path) -> None:
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "scheduler.pt"):
        (copy / name).write_bytes(pickle.dumps(Evil()))
    assert here("run", copy, *ONE).code == 0
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "place", ["../../../etc/passwd", "/dev/zero", "pytorch_model.bin", "nowhere.safetensors", 5]
)
def test_an_index_names_no_file_but_weights(
    here: Run, copy: Path, tmp_path: Path, place: object
) -> None:
    (copy / "model.safetensors").rename(copy / "model-00001-of-00002.safetensors")
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
    index = {"metadata": {}, "weight_map": {"lm_head.weight": place}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(here("run", copy, *ONE))
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("content", ["[]", "{", '{"weight_map": 5}', '{"a":' * 9999])
def test_an_index_that_is_none(here: Run, copy: Path, content: str) -> None:
    (copy / "model.safetensors").rename(copy / "model-00001-of-00002.safetensors")
    (copy / "model.safetensors.index.json").write_text(content)
    refused(here("run", copy, *ONE))


def instead(file: Path, what: str) -> None:
    """Puts something else in the place of a file."""
    file.unlink(missing_ok=True)
    if what == "pipe":
        os.mkfifo(file)
    elif what == "folder":
        file.mkdir()
    else:
        file.symlink_to(file.name if what == "itself" else what)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        *(("model.safetensors", what) for what in ("pipe", "folder", "itself", "/dev/zero")),
        ("model.safetensors", "/etc/passwd"),
        *(("config.json", what) for what in ("pipe", "/dev/zero", "/etc/passwd")),
        *(("tokenizer.json", what) for what in ("pipe", "/dev/zero")),
    ],
)
def test_what_is_no_file_is_neither_waited_for_nor_read_without_end(
    apart: Run, copy: Path, name: str, what: str
) -> None:
    instead(copy / name, what)
    ended = apart("run", copy, *ONE)
    refused(ended)
    assert "root:" not in ended.err


@pytest.mark.parametrize("name", ["generation_config.json", "chat_template.jinja", "notes.txt"])
def test_no_other_file_is_waited_for_either(apart: Run, copy: Path, name: str) -> None:
    instead(copy / name, "pipe")
    safe(apart("run", copy, *ONE))


# --- tokenizers and chat templates -----------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", b"[" * 100_000),
        ("tokenizer.json", b"\xff\xfe"),
        ("tokenizer.json", b'{"version": "9.9", "model": {"type": "Evil"}}'),
        ("tokenizer.json", b'{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": -1}}}'),
        ("tokenizer_config.json", b"{" * 100_000),
        ("tokenizer_config.json", b'["a"]'),
        ("tokenizer_config.json", b'{"tokenizer_class": 5}'),
        ("tokenizer_config.json", b'{"added_tokens_decoder": {"x": {"content": "y"}}}'),
        ("special_tokens_map.json", b"NaN"),
    ],
)
def test_a_tokenizer_of_nonsense(here: Run, copy: Path, name: str, content: bytes) -> None:
    (copy / name).write_bytes(content)
    refused(here("plan", copy, *ONE))


def test_a_tokenizer_that_brings_code_is_refused(here: Run, copy: Path, tmp_path: Path) -> None:
    (copy / "evil.py").write_text("import os\nos.system('touch pwned')\n")
    own = {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}
    changed(copy / "tokenizer_config.json", tokenizer_class="Evil", auto_map=own)
    refused(here("plan", copy, *ONE))
    assert not (tmp_path / "pwned").exists()


def test_code_beside_a_model_is_not_imported(
    here: Run, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("modeling_llama", "configuration_llama", "tokenization_llama", "sitecustomize"):
        (copy / f"{name}.py").write_text(f"open('{tmp_path}/pwned', 'w')\n")
    monkeypatch.chdir(copy)
    assert here("run", copy, *ONE, "--out", tmp_path / "out").code == 0
    assert not (tmp_path / "pwned").exists()


def test_a_pattern_of_a_tokenizer_takes_bounded_time(apart: Run, copy: Path) -> None:
    # The library's own engine gives up on a search that branches without end.
    content = json.loads((copy / "tokenizer.json").read_text())
    content["pre_tokenizer"] = {
        "type": "Split",
        "pattern": {"Regex": "(([^x]+)+)+y"},
        "behavior": "Isolated",
        "invert": False,
    }
    (copy / "tokenizer.json").write_text(json.dumps(content))
    safe(apart("plan", copy, *ONE))


TEMPLATES = [
    pytest.param(
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        id="a loop",
    ),
    pytest.param("{{ 10 ** (10 ** 10) }}", id="a power"),
    pytest.param("{{ 'a' * 10 ** 11 }}", id="a repetition"),
    pytest.param(
        "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}"
        "{% endfor %}",
        id="doubling",
    ),
    pytest.param("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", id="recursion"),
    pytest.param("{{ messages.__class__.__mro__ }}", id="a class"),
    pytest.param("{{ cycler.__init__.__globals__.os.system('touch pwned') }}", id="globals"),
    pytest.param("{{ messages.append(1) }}", id="a change"),
    pytest.param("{{ raise_exception('\x1b[2J\u202e') }}", id="escape codes in its refusal"),
    pytest.param("{{ nothing.there }}", id="an undefined name"),
    pytest.param("{% include '/etc/passwd' %}", id="an include"),
    pytest.param("{{ 1 / 0 }}", id="a division"),
    pytest.param("{{ messages[99] }}{{ messages[99].x }}", id="no such message"),
    pytest.param("{% for", id="no template"),
    pytest.param("{{ " + "(" * 1000 + ")" * 1000 + " }}", id="1,000 brackets"),
    pytest.param("{{ '\\ud83d' }}", id="half of a surrogate pair"),
]


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_hostile_chat_template(
    here: Run, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    monkeypatch.setattr("ko_eval.engines.chat_templates._SECONDS", 0.1)
    monkeypatch.setattr("ko_eval.engines.chat_templates._MEMORY", 2**28)
    (copy / "chat_template.jinja").write_text(template, encoding="utf-8")
    refused(here("plan", copy, "--tasks", "ko_gsm8k", "--limit", 1, "--shots", 0), "template")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("template", [5, ["a"], {"default": 5}, [{"name": "x"}], True])
def test_a_chat_template_that_is_no_text(here: Run, copy: Path, template: object) -> None:
    changed(copy / "tokenizer_config.json", chat_template=template)
    refused(here("plan", copy, "--tasks", "ko_gsm8k", "--limit", 1, "--shots", 0))


# --- adapters --------------------------------------------------------------------------------

LORA: dict[str, object] = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]}


@pytest.mark.parametrize(
    ("config", "part"),
    [
        pytest.param(b"[" * 100_000, "cannot be read", id="100,000 lists"),
        pytest.param(b"\xff\xff", "cannot be read", id="invalid UTF-8"),
        pytest.param(b'["LORA"]', "must hold an object", id="a list"),
        pytest.param({}, "only LoRA", id="nothing"),
        pytest.param(
            {
                "peft_type": "PROMPT_TUNING",
                "prompt_tuning_init": "TEXT",
                "tokenizer_name_or_path": "evil/repo",
                "tokenizer_kwargs": {"trust_remote_code": True},
            },
            "only LoRA",
            id="a tokenizer of its own",
        ),
        pytest.param(
            LORA | {"megatron_config": {"a": 1}, "megatron_core": "antigravity"},
            "imported by name",
            id="a module by name",
        ),
        pytest.param(LORA | {"r": 10**9}, "whole number", id="a rank of a billion"),
        pytest.param(LORA | {"r": 0}, "whole number", id="a rank of nothing"),
        pytest.param(LORA | {"r": "8"}, "whole number", id="a rank as text"),
        pytest.param(LORA | {"rank_pattern": {"q": 10**9}}, "whole number", id="a pattern's rank"),
        pytest.param(LORA | {"rank_pattern": [1e999]}, "whole number", id="an endless rank"),
        pytest.param(
            LORA | {"target_modules": "(([a-z_.0-9]+)+)+$!"}, "more than", id="a search without end"
        ),
        pytest.param(LORA | {"target_modules": "(" * 500}, "pattern", id="no pattern"),
        pytest.param(LORA | {"target_modules": 5}, "", id="a number of modules"),
        pytest.param(LORA | {"target_modules": ["nothing"]}, "", id="no such module"),
        pytest.param(LORA | {"task_type": "EVIL"}, "", id="no such task"),
        pytest.param(LORA | {"lora_alpha": "x"}, "", id="no number"),
    ],
)
def test_a_hostile_adapter(
    here: Run,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: bytes | dict[str, object],
    part: str,
) -> None:
    monkeypatch.setattr("ko_eval.engines.adapter_folder._SECONDS_OF_MATCHING", 0.1)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    content = config if isinstance(config, bytes) else json.dumps(config).encode()
    (adapter / "adapter_config.json").write_bytes(content)
    (adapter / "adapter_model.safetensors").write_bytes(header(b"{}"))
    refused(here("run", tiny, *ONE, "--adapter", adapter), part)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_pipe_for_a_file_of_an_adapter(apart: Run, tiny: Path, tmp_path: Path, name: str) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps(LORA))
    (adapter / "adapter_model.safetensors").write_bytes(header(b"{}"))
    instead(adapter / name, "pipe")
    refused(apart("run", tiny, *ONE, "--adapter", adapter), "adapter")


# --- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        "../../etc",
        "owner/../../etc/passwd",
        "/dev/zero",
        "a\x1b[2J/b",
        "owner/model\u202e",
        "file:///etc/passwd",
        "x" * 100_000,
        "owner/model;ls",
        " ",
    ],
    ids=lambda name: ascii(name)[1:30],
)
def test_a_model_that_is_none(here: Run, model: str) -> None:
    refused(here("plan", model, *ONE))


@pytest.mark.parametrize("name", ["모델\u202egpj", "a b;c$(d)", "-x", "..model\n"])
def test_the_name_of_a_folder_is_not_the_shape_of_a_path(
    here: Run, tiny: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "models").mkdir()
    shutil.copytree(tiny, tmp_path / "models" / name)
    ended = here("run", tmp_path / "models" / name, *ONE, "--out", tmp_path / "out")
    safe(ended)
    assert ended.code == 0
    (directory,) = (tmp_path / "out").iterdir()
    assert directory.name.isprintable()
    assert not set(directory.name) & set(" /\\;$()\n")
    assert not directory.name.startswith(".")
