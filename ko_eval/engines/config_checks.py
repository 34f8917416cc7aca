"""What of a model's configuration is refused before a library builds the model that it describes.

A configuration of a few bytes may ask for a billion layers, which are made one by one, or name a
repository whose code computes the attention.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ko_eval.bounds import parsed_json
from ko_eval.errors import ModelError
from ko_eval.types import JsonValue

# Modules are made one by one: "num_hidden_layers", "n_layer", "num_experts", "num_blocks"; not the
# place of one: "vision_feature_layer" (-2 in LLaVA), nor Gemma's "vocab_size_per_layer_input".
_COUNTS = re.compile(r"(?:^|_)(?:n(?:um)?_layer|layers|experts|blocks)(?:$|_)")
_MOST_MODULES = 20_000
# Tensors are made for "hidden_size", "head_dim", "n_embd", "num_attention_heads", …
_SIZES = re.compile(r"(?:^|_)(?:size|dim|embd|heads|inner|rank)$")
_LARGEST_SIZE = 10**8
# Code of the hub: "kernels-community/flash-attn", "owner/repository@revision:function".
_ATTENTION = ("attn_implementation", "_attn_implementation", "experts_implementation")


def check_config(folder: Path, config: Mapping[str, JsonValue], *, trust_remote_code: bool) -> None:
    """Raise `ModelError` where the configuration asks for what no model has.

    Args:
        trust_remote_code: attention of the hub's own is allowed.
    """
    for name, value in _fields(config):
        if isinstance(value, int) and value > _highest(name):
            raise _wrong(folder, name, f"{_highest(name):,} at most")
        if isinstance(value, int) and value < 0 and _COUNTS.search(name):
            raise _wrong(folder, name, "it is below 0")
        hub_code = name in _ATTENTION and isinstance(value, str) and "/" in value
        if hub_code and not trust_remote_code:
            raise ModelError(
                f"the model asks for code from the hub ({name} in config.json)",
                where=str(folder),
                hint="remove the field, or add --trust-remote-code if you trust that code",
            )


def check_index(folder: Path) -> None:
    """Raise `ModelError` where an index of weights names anything but safetensors beside it.

    transformers would read any path that it names, and files of other kinds as pickles.
    """
    for index in sorted(folder.glob("*.safetensors.index.json")):
        try:
            content = parsed_json(index.read_bytes())
        except (ValueError, OSError) as error:
            raise ModelError(
                f"the index of weights cannot be read: {error}", where=str(index)
            ) from error
        names = content.get("weight_map") if isinstance(content, dict) else None
        if not isinstance(names, dict):
            raise ModelError("the index of weights has no 'weight_map'", where=str(index))
        beside = {file.name for file in folder.glob("*.safetensors") if file.is_file()}
        for name in names.values():
            if name not in beside:
                raise ModelError(
                    f"the index of weights names '{name}', which is no safetensors file beside it",
                    where=str(index),
                    hint="is the download complete?",
                )


def _fields(config: Mapping[str, JsonValue]) -> Iterator[tuple[str, JsonValue]]:
    """All fields, those of parts such as `text_config` included."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _fields(value)
        elif not isinstance(value, bool):
            yield name, value


def _highest(name: str) -> float:
    if _COUNTS.search(name):
        return _MOST_MODULES
    return _LARGEST_SIZE if _SIZES.search(name) else float("inf")


def _wrong(folder: Path, name: str, why: str) -> ModelError:
    return ModelError(
        f"the configuration describes no model that can be built: '{name}' ({why})",
        where=str(folder / "config.json"),
        hint="correct it, if the model is yours; otherwise do not load it",
    )
