"""Random models of many families, too small to take time, and a task for their engine."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
import transformers

from ko_eval.engines.base import EncodedLoglikelihood, EncodedPair
from ko_eval.types import LoglikelihoodRequest

VOCABULARY = 300
SMALL = {
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "hidden_size": 64,
    "intermediate_size": 96,
    "max_position_embeddings": 512,
}
GROUPED = {**SMALL, "num_key_value_heads": 2}
HEADS = {**GROUPED, "head_dim": 16}
SLIDING = {"sliding_window": 24}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("Llama", GROUPED),
    "Llama, dynamic positions": (
        "Llama",
        {
            **GROUPED,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 1e4,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 128,
            },
        },
    ),
    "Qwen 2": ("Qwen2", GROUPED),
    "Qwen 2, sliding": (
        "Qwen2",
        {**GROUPED, **SLIDING, "use_sliding_window": True, "max_window_layers": 1},
    ),
    "Qwen 3": ("Qwen3", HEADS),
    "Gemma 2": ("Gemma2", {**HEADS, **SLIDING}),
    "Gemma 3": ("Gemma3Text", {**HEADS, **SLIDING, "sliding_window_pattern": 2}),
    "Mistral": ("Mistral", {**GROUPED, "sliding_window": None}),
    "Mistral, sliding": ("Mistral", {**GROUPED, **SLIDING}),
    "Phi": ("Phi", SMALL),
    "Phi 3": ("Phi3", {**GROUPED, "pad_token_id": 0}),
    "EXAONE 4": ("Exaone4", {**GROUPED, **SLIDING, "sliding_window_pattern": 2}),
    "GPT-NeoX": ("GPTNeoX", SMALL),
    "GPT-2": ("GPT2", {"n_layer": 3, "n_head": 4, "n_embd": 64, "n_positions": 512}),
    "Cohere 2": ("Cohere2", {**GROUPED, **SLIDING, "sliding_window_pattern": 2}),
    "OLMo 2": ("Olmo2", GROUPED),
    "Granite": ("Granite", {**GROUPED, "logits_scaling": 4.0}),
    "SmolLM 3": ("SmolLM3", {**GROUPED, "pad_token_id": 0}),
    "Qwen 3, mixture of experts": (
        "Qwen3Moe",
        {**HEADS, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
    ),
}


def make_model(family: str, fields: dict[str, Any], dtype: torch.dtype = torch.float32) -> Any:
    config = getattr(transformers, f"{family}Config")(
        vocab_size=VOCABULARY,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.15,
        **{"pad_token_id": 0, **fields},
    )
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


def task(items: int = 6, seed: int = 0) -> list[EncodedLoglikelihood]:
    """A header that all share; choices of many tokens, of one, that begin alike, and the same."""
    draw = random.Random(seed)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(draw.randrange(3, VOCABULARY) for _ in range(count))

    header, requests = tokens(40), []
    for item in range(items):
        context = header + tokens(draw.randrange(1, 30))
        start = tokens(3)
        continuations = [start, start + tokens(2), tokens(1), tokens(1), start]
        pairs = [EncodedPair(context, continuation) for continuation in continuations]
        # Two contexts before one continuation, and one without the header.
        pairs += [EncodedPair(context + tokens(4), start), EncodedPair(tokens(2), start)]
        requests.append(of_pairs(f"item-{item}", pairs))
    return requests


def of_pairs(key: str, pairs: Sequence[EncodedPair]) -> EncodedLoglikelihood:
    return EncodedLoglikelihood(key, LoglikelihoodRequest("t", key, ()), tuple(pairs), 0)
