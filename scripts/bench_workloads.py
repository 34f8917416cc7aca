"""What the benchmarks measure with: models by name, and likelihood requests of tasks.

Models: `tiny` (the tests' Llama), `demo` (SmolLM2-135M), and random ones of a given shape, made on
the device and never written to disk. Random ones read with the tiny tokenizer, whose ids lie within
their larger embedding: what a token costs depends on the shapes only.

Public rows come from KO_EVAL_DATA: the first ones of the test files. KoBBQ has no examples of its
own; its last five rows are taken away from the test for them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench_common import REPOSITORY, data_folder

from ko_eval.engines.base import (
    EncodedLoglikelihood,
    EncodedPair,
    LikelihoodPath,
    TokenIds,
)
from ko_eval.engines.encoding import Encoder, load_tokenizer
from ko_eval.engines.model_folder import resolve_model
from ko_eval.engines.model_settings import ModelSettings
from ko_eval.engines.transformers_loading import LoadOptions, load_model
from ko_eval.tasks.prepare import prepare_task
from ko_eval.tasks.registry import load_task
from ko_eval.types import JsonValue, LoglikelihoodRequest, LoglikelihoodResponse

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ko_eval.engines.transformers_engine import TransformersEngine

QWEN_SHAPE: Mapping[str, Any] = {
    "architecture": "Qwen3",
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "tie_word_embeddings": True,
}
_LLAMA: Mapping[str, Any] = {
    "architecture": "Llama",
    "vocab_size": 128_256,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0},
}
QWEN_VOCABULARY = 151_669
"""Entries of Qwen 3's tokenizer."""
SHAPES: Mapping[str, Mapping[str, Any]] = {
    "qwen-shaped": {
        **QWEN_SHAPE,
        "vocab_size": QWEN_VOCABULARY,
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_hidden_layers": 4,
    },
    # The published sizes of Llama 3.2 1B and Llama 3.1 8B, with a shorter window.
    "llama-1b": {
        **_LLAMA,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "tie_word_embeddings": True,
    },
    "llama-8b": {
        **_LLAMA,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "tie_word_embeddings": False,
    },
}
"""Random models: the transformers configuration's name, and its fields."""
MODELS = ("tiny", "demo", *SHAPES)
_WINDOW = 8192


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory, with what an engine needs beside it."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    window: int

    @property
    def label(self) -> str:
        """Name and precision."""
        return f"{self.name}, {str(self.model.dtype).removeprefix('torch.')}"

    @property
    def vocabulary(self) -> int:
        return int(self.model.get_input_embeddings().weight.shape[0])

    def encoder(self) -> Encoder:
        return Encoder(self.tokenizer, ModelSettings(), chat_template="off", max_length=self.window)

    def engine(
        self, *, likelihood: LikelihoodPath = "auto", batch_tokens: int | None = None
    ) -> TransformersEngine:
        """An engine around this very model; options as those of `TransformersEngine`."""
        from ko_eval.engines.transformers_engine import TransformersEngine

        return TransformersEngine(
            self.model,
            self.tokenizer,
            ModelSettings(),
            likelihood=likelihood,
            batch_tokens=batch_tokens,
        )


@dataclass(frozen=True, slots=True)
class Workload:
    """The likelihood requests of a task in one setting."""

    name: str
    shots: int
    requests: tuple[LoglikelihoodRequest, ...]

    @property
    def label(self) -> str:
        return f"{self.name}, {self.shots}-shot"


def load(name: str, dtype: str, device: str, work: Path) -> Loaded:
    """A model by its name in `MODELS`.

    Args:
        dtype: `float32` or `bfloat16`.
        work: an existing folder for the tiny model's files.
    """
    if name == "demo":
        return _from_folder(name, "demo", dtype, device)
    folder = tiny_folder(work)
    if name == "tiny":
        return _from_folder(name, str(folder), dtype, device)
    return random_model(
        name, SHAPES[name], dtype, device, load_tokenizer(resolve_model(str(folder)))
    )


def tiny_folder(work: Path) -> Path:
    """The tiny model's folder below `work`, made at first use."""
    folder = work / "tiny"
    if not folder.exists():
        sys.path.insert(0, str(REPOSITORY / "tests"))
        from tiny_model import make_tiny_llama

        make_tiny_llama(folder)
    return folder


def random_model(
    name: str,
    shape: Mapping[str, Any],
    dtype: str,
    device: str,
    tokenizer: PreTrainedTokenizerBase,
) -> Loaded:
    """A model with random weights, made on the device.

    Args:
        shape: `architecture`, such as `Llama`, and the fields of its configuration.
    """
    import torch
    import transformers

    from ko_eval.engines.transformers_loading import pick_device

    fields = {"max_position_embeddings": _WINDOW, **shape}
    architecture = fields.pop("architecture")
    config = getattr(transformers, f"{architecture}Config")(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **fields,
    )
    place = pick_device(device)
    forked = [place] if place.type == "cuda" else []
    with torch.random.fork_rng(devices=forked), torch.device(place):
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    return Loaded(name, model.eval(), tokenizer, int(fields["max_position_embeddings"]))


def _from_folder(name: str, model: str, dtype: str, device: str) -> Loaded:
    folder = resolve_model(model)
    loaded = load_model(folder, LoadOptions(dtype=dtype, device=device))
    return Loaded(name, loaded, load_tokenizer(folder), folder.max_length or _WINDOW)


PUBLIC_TASKS: Mapping[str, tuple[str, Mapping[str, JsonValue]]] = {
    "kobest_hellaswag": (
        "kobest_hellaswag",
        {"columns": {"choices": "[choice1, choice2, choice3, choice4]"}},
    ),
    "kobbq": ("kobbq", {}),
    # The options' words are scored instead of their letters.
    "kobbq_words": (
        "kobbq",
        {"choices": "choices", "prompt": "{{ context }}\n질문: {{ question }}\n답:"},
    ),
}
"""By our name here: the registered task, and what the public files or the variation change."""
_KOBBQ = "kobbq/KoBBQ_test_samples.tsv"
_HELLASWAG = {
    "kobest_hellaswag.tsv": "kobest/HellaSwag_test.tsv",
    "kobest_hellaswag.fewshot.tsv": "kobest/HellaSwag_dev.tsv",
}
_EXAMPLES = 5


def public_rows(work: Path) -> Path:
    """A folder below `work` with the public rows under the names that ko-eval looks for."""
    data = data_folder(_KOBBQ, *_HELLASWAG.values())
    folder = work / "rows"
    folder.mkdir()
    for name, source in _HELLASWAG.items():
        (folder / name).symlink_to((data / source).resolve())
    # No field of this file holds a line break.
    columns, *rows = (data / _KOBBQ).read_text(encoding="utf-8").splitlines(keepends=True)
    evaluated, examples = rows[:-_EXAMPLES], rows[-_EXAMPLES:]
    (folder / "kobbq.tsv").write_text(columns + "".join(evaluated), encoding="utf-8")
    (folder / "kobbq.fewshot.tsv").write_text(columns + "".join(examples), encoding="utf-8")
    return folder


def public_workload(task: str, rows: Path, shots: int, limit: int) -> Workload:
    """The first `limit` rows of a task in `PUBLIC_TASKS`; `rows` as `public_rows` made it."""
    registered, changes = PUBLIC_TASKS[task]
    prepared = prepare_task(
        load_task(registered, overrides=changes),
        str(rows),
        shots=shots,
        limit=limit,
        # Some KoBBQ rows stand in the file twice; nothing is scored here.
        allow_fewshot_overlap=True,
    )
    return Workload(task, shots, _likelihoods(prepared.requests))


def bundled_workload(task: str, shots: int, limit: int | None) -> Workload:
    """The first rows of a task's bundled items."""
    prepared = prepare_task(load_task(task), "bundled", shots=shots, limit=limit)
    return Workload(task, shots, _likelihoods(prepared.requests))


def _likelihoods(requests: Sequence[object]) -> tuple[LoglikelihoodRequest, ...]:
    return tuple(request for request in requests if isinstance(request, LoglikelihoodRequest))


Sums = dict[str, tuple[float, ...]]
"""Log-likelihoods of each pair of a request, by the request's key."""


def encode(loaded: Loaded, workload: Workload) -> list[EncodedLoglikelihood]:
    """The requests as token ids, those with the same ids once, as a run asks them."""
    encoded = loaded.encoder().encode(workload.requests)
    return list({r.key: r for r in encoded if isinstance(r, EncodedLoglikelihood)}.values())


def ask(engine: TransformersEngine, encoded: Sequence[EncodedLoglikelihood]) -> Sums:
    """What the engine says; a failed response ends the benchmark."""
    found: Sums = {}
    for answer in engine.loglikelihood(encoded):
        if not isinstance(answer.response, LoglikelihoodResponse):
            raise RuntimeError(f"the engine failed: {answer.response}")
        found[answer.key] = answer.response.loglikelihoods
    return found


def all_pairs(encoded: Sequence[EncodedLoglikelihood]) -> list[EncodedPair]:
    return [pair for request in encoded for pair in request.pairs]


def synthetic(
    requests: int, choices: int, context: int, continuation: int, vocabulary: int
) -> list[EncodedLoglikelihood]:
    """Requests of random token ids: one context each, and `choices` continuations after it."""
    import numpy as np

    draw = np.random.default_rng(0)

    def ids(count: int) -> TokenIds:
        return tuple(draw.integers(3, vocabulary, count).tolist())

    found = []
    for number in range(requests):
        shared = ids(context)
        pairs = tuple(EncodedPair(shared, ids(continuation)) for _ in range(choices))
        asked = LoglikelihoodRequest("synthetic", str(number), ())
        found.append(EncodedLoglikelihood(str(number), asked, pairs, 0))
    return found
