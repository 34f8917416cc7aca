"""What the bounds on hostile input let through: what sound models and texts really hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from ko_eval.engines.chat_templates import filled_chat
from ko_eval.engines.config_checks import check_config
from ko_eval.safe_text import visible
from ko_eval.types import JsonValue

TURNS = [
    {"role": "user", "content": "하나"},
    {"role": "assistant", "content": "둘"},
    {"role": "user", "content": "셋"},
]


@pytest.mark.parametrize(
    "fields",
    [
        {"vocab_size": 262_400, "vocab_size_per_layer_input": 262_144},
        {"vision_feature_layer": -2, "vision_config": {"num_hidden_layers": 27}},
        {"moe_layer_end_index": -1, "moe_num_experts": 64},
        {"num_experts": 16_384, "num_experts_per_tok": 64},
        {"n_layer": 96, "n_embd": 12_288, "n_inner": None},
        {"layer_norm_epsilon": 1, "layers_block_type": ["mamba"], "num_hidden_layers": 80},
        {"quantization_config": {"group_size": -1, "weight_block_size": [128, 128]}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_configuration_that_models_have_is_not_refused(
    tmp_path: Path, fields: dict[str, JsonValue]
) -> None:
    check_config(tmp_path, fields, trust_remote_code=False)


@pytest.fixture(scope="module")
def tokenizer(tiny: Path) -> PreTrainedTokenizerBase:
    found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tiny)
    return found


def test_a_template_may_be_one_of_several_with_quotes_of_both_kinds(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    default = "{% for m in messages %}{{ 'it\\'s ' + m['content'] + \"'\\n\" }}{% endfor %}"
    tokenizer.chat_template = {"default": default, "tool_use": "{{ 10 ** 2 }}"}
    assert filled_chat(tokenizer, TURNS) == "it's 하나'\nit's 둘'\nit's 셋'\n"


@pytest.mark.parametrize(
    "template",
    [
        "{% for round in messages %}[Round {{ loop.index }}] {{ round.content }}{% endfor %}",
        "** {% for m in messages %}{{ m.content | trim }}{% endfor %} | round **",
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
        "{% for m in messages %}{{ m | tojson(ensure_ascii=False) }}{% endfor %}",
        "{{ strftime_now('%d') }}{{ messages[::-1] | map(attribute='content') | join }}",
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
        "{{ ns.n * 2 }}{{ '-' * 3 }}{{ m.content }}{% continue %}{% endfor %}",
    ],
)
def test_a_template_without_powers_is_filled(
    tokenizer: PreTrainedTokenizerBase, template: str
) -> None:
    tokenizer.chat_template = template
    text = filled_chat(tokenizer, TURNS, strftime_now=lambda form: form)
    assert all(turn["content"] in text for turn in TURNS)


@pytest.mark.parametrize(
    "text",
    [
        "한글 ᄒᆞᆫ글 ㅋㅋㅋ ㄱㅏ 漢字(한자) 《책》 「말」 ‘홑’ “겹” … — ～ ￦1,000 ℃ ㎏ ①",
        "\u1112\u1161\u11ab\u1100\u1173\u11af",
        "👨\u200d👩\u200d👧 ❤\ufe0f 👍🏽 🇰🇷 1\ufe0f\u20e3",
        "क्\u200dष می\u200cخواهم שלום مرحبا",
        "\u00a0\u3000\u3164 é e\u0301 x² ∑∞≤",
    ],
    ids=["Korean", "jamo", "emoji", "joiners", "spaces"],
)
def test_a_text_that_people_write_is_shown_as_it_is(text: str) -> None:
    assert visible(text) == text
