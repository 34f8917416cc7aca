"""What determines a run's responses, layer by layer: hashes, and the fingerprint over them.

`details` names the same things in finer parts, and what judges the responses beside, so that two
runs can be told apart by what differs (`layer_differences`). The fingerprint does not cover it:
each part that moves a response is in a layer that it covers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ko_eval.engines.encoding import Encoder
from ko_eval.engines.model_folder import ModelFolder, content_fingerprint
from ko_eval.engines.server_encoding import TextEncoder
from ko_eval.engines.server_model import ServerModel
from ko_eval.engines.transformers_loading import pick_device, pick_dtype
from ko_eval.engines.vllm_options import EngineName, VllmOptions
from ko_eval.runs.layer_parts import digest, model_parts, task_parts
from ko_eval.types import JsonValue

if TYPE_CHECKING:
    from ko_eval.runs.plan import PlannedTask, RunOptions


def fingerprint(layers: Mapping[str, JsonValue]) -> str:
    """What names a run directory: twelve hexadecimal digits over all layers but the details."""
    covered = {name: value for name, value in layers.items() if name != "details"}
    return digest(covered)[:12]


def _vllm_layer(options: VllmOptions) -> dict[str, JsonValue]:
    """What of vLLM's options can move a score; on how many GPUs it runs should not."""
    return {"quantization": options.quantization, "arguments": dict(options.engine_args)}


def local_layers(
    options: RunOptions,
    engine: EngineName,
    folder: ModelFolder,
    encoder: Encoder,
    tasks: Sequence[PlannedTask],
) -> dict[str, JsonValue]:
    """The layers of a run with a model that is loaded here."""
    device = pick_device(options.load.device)
    dtype = pick_dtype(options.load.dtype, folder.config, device)
    adapter = options.load.adapter
    return {
        "model": content_fingerprint(folder.path),
        "adapter": content_fingerprint(Path(adapter)) if adapter else None,
        "engine": {
            "name": engine,
            "dtype": str(dtype).removeprefix("torch."),
            **(_vllm_layer(options.vllm) if engine == "vllm" else {}),
        },
        "encoding": {
            "chat_template": options.chat_template,
            "template": encoder.template_hash,
            "settings": encoder.settings.answers_layer(),
            "max_length": encoder.max_length,
            "seed": options.seed,
        },
        "tasks": _task_layers(tasks),
        "details": {
            "model": model_parts(folder),
            "bos": list(encoder.prefix),
            "tasks": _task_details(options, tasks),
        },
    }


def server_layers(
    options: RunOptions,
    model: ServerModel,
    encoder: TextEncoder,
    tasks: Sequence[PlannedTask],
) -> dict[str, JsonValue]:
    """The same for a server; where it is, and what it runs on, is not among them."""
    return {
        "model": {"name": model.name, "revision": model.revision, "identity": model.identity},
        "adapter": None,
        "engine": {"name": "server", "likelihood": "echo" if model.likelihoods else None},
        "encoding": {
            "chat_template": options.chat_template,
            "template": None,
            "settings": encoder.settings.answers_layer(),
            "thinking_tokens": encoder.thinking_tokens,
            "seed": options.seed,
        },
        "tasks": _task_layers(tasks),
        "details": {"tasks": _task_details(options, tasks)},
    }


def _task_layers(tasks: Sequence[PlannedTask]) -> dict[str, JsonValue]:
    return {
        task.name: {
            "data": task.prepared.rows.sha256,
            "fewshot": task.prepared.fewshot.sha256 if task.prepared.fewshot else None,
            "prompts": task.prepared.prompts_hash(),
            "tokens": digest([request.key for request in task.encoded]),
        }
        for task in tasks
    }


def _task_details(
    options: RunOptions, tasks: Sequence[PlannedTask]
) -> dict[str, dict[str, JsonValue]]:
    return {task.name: task_parts(task.prepared, limit=options.limit) for task in tasks}
