"""Loads one of our engines for lm-evaluation-harness, with the tokenizer that it asks for."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast, get_args

from lm_eval.models.utils import resolve_max_length

from ko_eval.engines.base import Engine, LikelihoodPath
from ko_eval.engines.encoding import load_tokenizer
from ko_eval.engines.model_folder import ModelFolder, resolve_model
from ko_eval.engines.model_settings import ModelSettings, Reasoning
from ko_eval.engines.transformers_loading import LoadOptions, check_options
from ko_eval.engines.vllm_options import LocalEngine, VllmOptions, check_vllm
from ko_eval.errors import UsageError, near_miss

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# The harness is given whole responses, thoughts included: these marks are Unicode noncharacters,
# which no text holds.
_NO_THOUGHTS = ModelSettings(reasoning=Reasoning(start="\ufdd0", end="\ufdd1", enabled=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How an engine runs; see `KoEvalLM` for the fields."""

    engine: str
    likelihood: str
    load: LoadOptions
    vllm: VllmOptions
    batch_tokens: int | None
    max_length: int | None


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready to answer.

    Attributes:
        max_length: the window in tokens.
        revision: the hub commit, or None for a folder of the user's own.
    """

    engine: Engine
    tokenizer: PreTrainedTokenizerBase
    max_length: int
    revision: str | None


def load(
    model: str, revision: str | None, options: EngineOptions, *, add_bos_token: bool | None
) -> LoadedModel:
    """Loads model and tokenizer.

    Raises:
        ModelError: the model cannot be found or loaded.
        UsageError: there is no such engine, path, device or precision.
    """
    _check_known("engine", options.engine, get_args(LocalEngine))
    _check_known("likelihood", options.likelihood, get_args(LikelihoodPath))
    check_options(options.load)
    if options.engine == "vllm":
        check_vllm(options.vllm, options.load)
    trust = options.load.trust_remote_code
    folder = resolve_model(
        model,
        revision=revision,
        trust_remote_code=trust,
        allow_pickle=options.load.allow_pickle,
    )
    tokenizer = load_tokenizer(folder, trust_remote_code=trust, add_bos_token=add_bos_token)
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(str(folder.path), trust_remote_code=trust)
    max_length = options.max_length or resolve_max_length(config, tokenizer)
    engine = _engine(folder, tokenizer, options, max_length)
    return LoadedModel(engine, tokenizer, max_length, folder.revision)


def _engine(folder: ModelFolder, tokenizer: Any, options: EngineOptions, max_length: int) -> Engine:
    likelihood = cast(LikelihoodPath, options.likelihood)
    if options.engine == "vllm":
        from ko_eval.engines.vllm_engine import VllmEngine

        most = options.batch_tokens
        sizes = {} if most is None else {"max_num_batched_tokens": most}
        return VllmEngine(
            folder,
            tokenizer,
            _NO_THOUGHTS,
            options.load,
            dataclasses.replace(options.vllm, engine_args=sizes),
            max_length=max_length,
            likelihood=likelihood,
        )
    from ko_eval.engines.transformers_engine import TransformersEngine

    return TransformersEngine.load(
        folder,
        tokenizer,
        _NO_THOUGHTS,
        options.load,
        batch_tokens=options.batch_tokens,
        likelihood=likelihood,
    )


def _check_known(what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise UsageError(f"unknown {what} '{given}'", hint=near_miss(given, known))
