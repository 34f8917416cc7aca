"""Loads a causal language model with transformers, or says in two lines why it cannot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ko_eval.engines.adapter_folder import check_adapter, check_patterns
from ko_eval.engines.model_folder import ModelFolder, weight_files
from ko_eval.errors import ModelError, UsageError, first_line, near_miss
from ko_eval.types import JsonValue

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

DTYPES = ("auto", "float32", "bfloat16", "float16")
DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
# Weights above this share of one GPU's free memory are spread over all GPUs.
_FITS_ONE_GPU = 0.85


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How a model is loaded.

    Attributes:
        dtype: `auto` is the checkpoint's own, except that float16 becomes float32 on the CPU.
        device: `auto`, `cpu`, `cuda`, `cuda:N`, `mps`.
        device_map: for accelerate (`auto`, `balanced`, …); None spreads a model over several GPUs
            only when it is too large for one.
        adapter: folder of a LoRA adapter.
        trust_remote_code, allow_pickle: see `resolve_model`.
    """

    dtype: str = "auto"
    device: str = "auto"
    device_map: str | None = None
    adapter: str | None = None
    trust_remote_code: bool = False
    allow_pickle: bool = False


def check_options(options: LoadOptions) -> None:
    """Raise `UsageError` for a device, dtype or adapter that cannot be had; loads no model."""
    if options.dtype not in DTYPES:
        raise UsageError(f"unknown dtype '{options.dtype}'", hint=near_miss(options.dtype, DTYPES))
    if options.device_map is not None and options.device_map not in DEVICE_MAPS:
        raise UsageError(
            f"unknown device map '{options.device_map}'",
            hint=near_miss(options.device_map, DEVICE_MAPS),
        )
    if options.adapter is not None:
        check_adapter(Path(options.adapter), allow_pickle=options.allow_pickle)
    if options.device not in ("auto", "cpu"):
        pick_device(options.device)


def pick_device(device: str) -> torch.device:
    """The device to load on.

    Raises:
        UsageError: there is no such device on this machine.
    """
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
    except RuntimeError as error:
        raise UsageError(
            f"unknown device '{device}'", hint="use auto, cpu, cuda, cuda:0, … or mps"
        ) from error
    if picked.type not in ("cpu", "cuda", "mps"):
        raise UsageError(
            f"device '{device}' is not supported", hint="use auto, cpu, cuda, cuda:0, … or mps"
        )
    if picked.type == "cuda" and (
        not torch.cuda.is_available() or (picked.index or 0) >= torch.cuda.device_count()
    ):
        raise UsageError(
            f"device '{device}' was asked for, but torch sees {torch.cuda.device_count()} CUDA "
            "devices here",
            hint="use --device cpu, or install a CUDA build of torch on a machine with a GPU",
        )
    if picked.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device 'mps' is not available on this machine", hint="use --device cpu")
    return picked


def pick_dtype(name: str, config: dict[str, JsonValue], device: torch.device) -> torch.dtype:
    """The precision to load in; see `LoadOptions.dtype`."""
    import torch

    text_config = config.get("text_config")
    inner = text_config if isinstance(text_config, dict) else {}
    declared = config.get("dtype") or config.get("torch_dtype") or inner.get("dtype") or "float32"
    wanted = str(declared) if name == "auto" else name
    if name == "auto" and device.type == "cpu" and wanted == "float16":
        wanted = "float32"
    dtype = getattr(torch, wanted, None)
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def load_model(folder: ModelFolder, options: LoadOptions) -> PreTrainedModel:
    """The model in evaluation mode on its device.

    Raises:
        ModelError: its weights are missing, damaged or of another shape.
        UsageError: the device does not exist.
    """
    import pickle

    import torch
    import transformers
    from safetensors import SafetensorError

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    device = pick_device(options.device)
    dtype = pick_dtype(options.dtype, folder.config, device)
    device_map = options.device_map or _spread(folder, device)
    try:
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            str(folder.path),
            dtype=dtype,
            device_map=device_map,
            trust_remote_code=options.trust_remote_code,
            use_safetensors=None if options.allow_pickle else True,
            output_loading_info=True,
        )
        if device_map is None:
            model.to(device)
    except (
        *(OSError, ValueError, KeyError, RuntimeError, ImportError, EOFError),
        *(SafetensorError, pickle.UnpicklingError),
    ) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise ModelError(
                "the model does not fit into the GPU's memory",
                hint="use --dtype bfloat16, --device-map auto, or --device cpu",
            ) from error
        raise ModelError(
            f"the model cannot be loaded: {first_line(error)}",
            where=str(folder.path),
            hint="is the download complete? transformers must know its architecture, too",
        ) from error
    _check_complete(info, folder)
    if options.adapter is not None:
        model = _with_adapter(model, options.adapter)
    model.eval()
    _plain_generation(model)
    loaded: PreTrainedModel = model
    return loaded


def _spread(folder: ModelFolder, device: torch.device) -> str | None:
    import torch

    if str(device) != "cuda" or torch.cuda.device_count() < 2:
        return None
    size = sum(file.stat().st_size for file in weight_files(folder.path))
    free, _ = torch.cuda.mem_get_info()
    return "auto" if size > free * _FITS_ONE_GPU else None


def _check_complete(info: dict[str, JsonValue], folder: ModelFolder) -> None:
    """Missing weights would be drawn at random; a score of such a model means nothing."""
    for what in ("missing_keys", "mismatched_keys"):
        keys = info.get(what)
        if isinstance(keys, list | set | tuple) and keys:
            raise ModelError(
                f"the weights do not fit the configuration: {len(keys)} {what.replace('_', ' ')}, "
                f"first {sorted(str(key) for key in keys)[0]}",
                where=str(folder.path),
                hint="the download may be incomplete, or the model is of another architecture",
            )


def _with_adapter(model: PreTrainedModel, adapter: str) -> PreTrainedModel:
    try:
        from peft import PeftModel, get_peft_model_state_dict
        from peft.utils import load_peft_weights
    except ImportError as error:
        raise ModelError(
            "a LoRA adapter needs the package peft", hint="pip install 'ko-eval[lora]'"
        ) from error
    check_patterns(Path(adapter), (name for name, _ in model.named_modules()))
    try:
        adapted = PeftModel.from_pretrained(model, adapter)
        wanted, given = set(get_peft_model_state_dict(adapted)), set(load_peft_weights(adapter))
        if wanted != given:
            # peft only warns, and would go on with the plain model or with random weights.
            raise ValueError(
                f"{len(wanted - given)} weights are missing and {len(given - wanted)} do not "
                f"belong, first {min(wanted ^ given)}"
            )
        merged: PreTrainedModel = adapted.merge_and_unload()
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError) as error:
        raise ModelError(
            f"the LoRA adapter does not fit the model: {first_line(error)}", where=adapter
        ) from error
    return merged


def _plain_generation(model: PreTrainedModel) -> None:
    """Drops the checkpoint's sampling defaults (temperature, penalties): a task decides those."""
    from transformers import GenerationConfig

    own = model.generation_config
    end = getattr(own, "eos_token_id", None)
    if end is None:
        end = getattr(model.config, "eos_token_id", None)
    model.generation_config = GenerationConfig(
        eos_token_id=end,
        bos_token_id=getattr(own, "bos_token_id", None),
        pad_token_id=getattr(own, "pad_token_id", None),
    )
