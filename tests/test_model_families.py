"""Other architectures than Llama: batched answers equal the plainest computation one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from ko_eval.engines.encoding import Encoder, load_tokenizer
from ko_eval.engines.model_folder import resolve_model
from ko_eval.engines.model_settings import ModelSettings
from ko_eval.engines.transformers_engine import TransformersEngine
from ko_eval.engines.transformers_loading import LoadOptions
from ko_eval.types import (
    ContextContinuation,
    GenerateRequest,
    GenerateResponse,
    LoglikelihoodRequest,
    LoglikelihoodResponse,
    Message,
)

CONTEXTS = ("질문: 물은 몇 도에서 끓는가?\n답:", "짧다", "아주 긴 문맥이 여기에 있다. " * 6)
SMALL = {"num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 64}
FAMILIES: dict[str, dict[str, Any]] = {
    "GPT2": {"n_layer": 3, "n_head": 4, "n_embd": 64},
    "GPTNeoX": {**SMALL, "intermediate_size": 128},
    # A window shorter than a context, and softcapped logits.
    "Gemma2": {**SMALL, "head_dim": 16, "num_key_value_heads": 2, "sliding_window": 32},
    "Qwen3": {**SMALL, "head_dim": 16, "num_key_value_heads": 2, "intermediate_size": 128},
    "Phi3": {**SMALL, "num_key_value_heads": 2, "intermediate_size": 128},
    # No attention at all: padding on the wrong side would show.
    "Mamba": {"num_hidden_layers": 3, "hidden_size": 64},
}


@pytest.fixture(scope="module", params=FAMILIES)
def engine(
    request: pytest.FixtureRequest, tiny: Path, tmp_path_factory: pytest.TempPathFactory
) -> TransformersEngine:
    folder = tmp_path_factory.mktemp("families") / str(request.param)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny)
    config = getattr(transformers, f"{request.param}Config")(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.1,
        **FAMILIES[request.param],
    )
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    model = resolve_model(str(folder))
    options = LoadOptions(dtype="float32", device="cpu")
    return TransformersEngine.load(model, load_tokenizer(model), ModelSettings(), options)


def encoder(engine: TransformersEngine) -> Encoder:
    return Encoder(engine.tokenizer, engine.settings, max_length=400)


def test_log_likelihoods(engine: TransformersEngine) -> None:
    after = (" 백 도이다.", " 네")
    asked = [
        LoglikelihoodRequest("t", c, tuple(ContextContinuation(c, text) for text in after))
        for c in CONTEXTS
    ]
    encoded: list[Any] = encoder(engine).encode(asked)
    found = {answer.key: answer.response for answer in engine.loglikelihood(encoded)}
    for request in encoded:
        response = found[request.key]
        assert isinstance(response, LoglikelihoodResponse)
        for pair, value in zip(request.pairs, response.loglikelihoods, strict=True):
            with torch.inference_mode():
                logits = engine.model(torch.tensor([pair.context + pair.continuation])).logits
            logs = torch.log_softmax(logits.double(), dim=-1)[0, len(pair.context) - 1 :]
            expected = sum(float(logs[i, token]) for i, token in enumerate(pair.continuation))
            assert value == pytest.approx(expected, abs=1e-4)


def test_generation(engine: TransformersEngine) -> None:
    asked = [GenerateRequest("t", c, c, (Message("user", c),), (), 10) for c in CONTEXTS]
    encoded: list[Any] = encoder(engine).encode(asked)
    found = {answer.key: answer.response for answer in engine.generate(encoded)}
    for request in encoded:
        ids = list(request.prompt)
        while len(ids) < len(request.prompt) + 10 and ids[-1] != engine.tokenizer.eos_token_id:
            with torch.inference_mode():
                ids.append(int(engine.model(torch.tensor([ids])).logits[0, -1].argmax()))
        response = found[request.key]
        assert isinstance(response, GenerateResponse)
        expected = engine.tokenizer.decode(ids[len(request.prompt) :])
        assert response.text == expected.replace("</s>", "")
