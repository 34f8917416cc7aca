"""The `transformers` engine: log-likelihoods and generation on the CPU and on CUDA."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ko_eval.engines.base import (
    Answer,
    Capabilities,
    EncodedGenerate,
    EncodedLoglikelihood,
    EncodedRequest,
    LikelihoodPath,
)
from ko_eval.engines.model_folder import ModelFolder
from ko_eval.engines.model_settings import ModelSettings
from ko_eval.engines.transformers_loading import LoadOptions, load_model
from ko_eval.engines.transformers_scoring import LikelihoodScorer
from ko_eval.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Rows of a generation batch, when memory allows.
_GENERATION_ROWS = {"cpu": 32, "cuda": 256}
# Memory for the KV cache of a generation batch.
_CPU_CACHE_BYTES = 4 << 30
_CUDA_CACHE_SHARE = 0.6


class TransformersEngine:
    """Answers requests with a model loaded by transformers.

    Args:
        model: in evaluation mode.
        batch_tokens: most tokens of a likelihood row or batch; None measures or picks by device.
        batch_rows: most rows of a generation batch; None picks by device and memory.
        likelihood: how log-likelihoods are computed.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: ModelSettings,
        *,
        batch_tokens: int | None = None,
        batch_rows: int | None = None,
        likelihood: LikelihoodPath = "auto",
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.settings = settings
        kind = "cuda" if model.device.type == "cuda" else "cpu"
        self._batch_rows = batch_rows or _GENERATION_ROWS[kind]
        self._vocabulary = int(model.get_input_embeddings().weight.shape[0])
        pad = tokenizer.pad_token_id
        # Some tokenizers were given a padding token that the model has no embedding for.
        self._pad_id = pad if isinstance(pad, int) and pad < self._vocabulary else 0
        self._scorer = LikelihoodScorer(
            model, self._pad_id, path=likelihood, batch_tokens=batch_tokens
        )

    @classmethod
    def load(
        cls,
        folder: ModelFolder,
        tokenizer: PreTrainedTokenizerBase,
        settings: ModelSettings,
        options: LoadOptions,
        *,
        batch_tokens: int | None = None,
        batch_rows: int | None = None,
        likelihood: LikelihoodPath = "auto",
    ) -> TransformersEngine:
        """The engine of a model that lies on disk.

        Raises:
            ModelError: the model cannot be loaded.
            UsageError: the device does not exist.
        """
        return cls(
            load_model(folder, options),
            tokenizer,
            settings,
            batch_tokens=batch_tokens,
            batch_rows=batch_rows,
            likelihood=likelihood,
        )

    @property
    def capabilities(self) -> Capabilities:
        config = self.model.config
        return Capabilities(
            loglikelihood=True,
            generate=True,
            conditions={
                "engine": "transformers",
                "device": self._device_name(),
                "dtype": str(self.model.dtype).removeprefix("torch."),
                "attention": str(getattr(config, "_attn_implementation", "unknown")),
                "likelihood": self._scorer.path,
                "likelihood_reason": self._scorer.reason,
                "likelihood_attention": self._scorer.attention,
                "device_map": str(getattr(self.model, "hf_device_map", None) or "none"),
                "parameters": sum(p.numel() for p in self.model.parameters()),
            },
        )

    @property
    def warnings(self) -> Sequence[str]:
        return tuple(self._scorer.warnings)

    def answers(self, requests: Sequence[EncodedRequest]) -> Iterator[Answer]:
        """Log-likelihoods first: they are quick, and show early whether a model is sound."""
        yield from self.loglikelihood([r for r in requests if isinstance(r, EncodedLoglikelihood)])
        yield from self.generate([r for r in requests if isinstance(r, EncodedGenerate)])

    def loglikelihood(self, requests: Sequence[EncodedLoglikelihood]) -> Iterator[Answer]:
        """Answers as the forest of requests is walked; a request when all its pairs are done."""
        self._check_ids(_highest_id(request) for request in requests)
        yield from self._scorer.answers(requests)

    def generate(self, requests: Sequence[EncodedGenerate]) -> Iterator[Answer]:
        """Each request as soon as it is finished, longest prompts first."""
        # Imported here: this module is also imported where only likelihoods are wanted.
        from ko_eval.engines.transformers_generation import generate_all

        self._check_ids(max(r.prompt) for r in requests)
        answered = generate_all(
            self.model,
            self.tokenizer,
            requests,
            self.settings.reasoning,
            self._pad_id,
            rows=self._batch_rows,
            room=self._cache_tokens(),
            warn=self._scorer.warnings.append,
        )
        for request, response, seconds in answered:
            yield Answer(request.key, response, seconds)

    def _check_ids(self, highest: Iterable[int]) -> None:
        """Token ids past the embedding would crash the device, far from their cause."""
        worst = max(highest, default=0)
        if worst >= self._vocabulary:
            raise ModelError(
                f"the tokenizer gives token {worst}, but the model knows {self._vocabulary} tokens",
                hint="the tokenizer belongs to another model; use the one it was trained with",
            )

    def _cache_tokens(self) -> int:
        """Tokens whose keys and values fit into the memory set aside for them."""
        import torch

        config = self.model.config.get_text_config()
        heads = int(getattr(config, "num_attention_heads", 1) or 1)
        kv_heads = int(getattr(config, "num_key_value_heads", None) or heads)
        size = int(getattr(config, "head_dim", None) or int(config.hidden_size) // heads)
        layers = int(getattr(config, "num_hidden_layers", 1) or 1)
        elements = 2 * layers * kv_heads * size
        latent = getattr(config, "kv_lora_rank", None)
        if latent:
            # Kept as one latent for all heads; a layer at a time opens it for each of them.
            rotated, plain, value = (
                int(getattr(config, name, None) or size)
                for name in ("qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim")
            )
            opened = rotated + plain + value
            elements = layers * (int(latent) + rotated) + heads * opened
        per_token = elements * self.model.dtype.itemsize
        memory = _CPU_CACHE_BYTES
        if self.model.device.type == "cuda":
            memory = int(torch.cuda.mem_get_info(self.model.device)[0] * _CUDA_CACHE_SHARE)
        return max(1, memory // int(per_token))

    def _device_name(self) -> str:
        import torch

        device = self.model.device
        return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _highest_id(request: EncodedLoglikelihood) -> int:
    # Pairs mostly share one context, which is looked at once.
    parts = {id(ids): ids for pair in request.pairs for ids in (pair.context, pair.continuation)}
    return max(max(ids) for ids in parts.values())
