"""A LoRA adapter's folder, checked before torch is imported.

Its configuration decides what the library peft does, and some of that reaches far: other kinds of
adapters load tokenizers of their own, others import modules by name, patterns can search without
end, and a rank is a size of memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ko_eval.bounds import TooMuch, bounded, parsed_json
from ko_eval.errors import ModelError, UsageError
from ko_eval.types import JsonValue

_FILE = "adapter_config.json"
_HIGHEST_RANK = 4096
_SECONDS_OF_MATCHING = 10.0
_MEMORY_OF_MATCHING = 2**30  # bytes


def check_adapter(folder: Path, *, allow_pickle: bool) -> None:
    """Raise `ModelError` for a folder that holds no LoRA adapter or one that may not be loaded.

    Raises:
        UsageError: there is none.
    """
    if not (folder / _FILE).is_file():
        raise UsageError(
            f"there is no LoRA adapter at '{folder}'",
            hint=f"give the folder that holds {_FILE}",
        )
    if not allow_pickle and not (folder / "adapter_model.safetensors").is_file():
        raise ModelError(
            "the adapter has no adapter_model.safetensors; pickle files can run code when loaded",
            where=str(folder),
            hint="save it as safetensors, or add --allow-pickle if you trust its maker",
        )
    config = adapter_config(folder)
    if config.get("peft_type") != "LORA":
        raise _wrong(folder, "peft_type", "only LoRA adapters can be evaluated")
    if config.get("megatron_config"):
        raise _wrong(folder, "megatron_config", "it has a module imported by name")
    highest_rank(folder)


def highest_rank(folder: Path) -> int:
    """The highest rank of any module of the adapter.

    Raises:
        ModelError: a rank is none.
    """
    config = adapter_config(folder)
    ranks: list[int] = []
    for rank in (config.get("r", 8), *_mapping(config, "rank_pattern").values()):
        if not isinstance(rank, int) or not 1 <= rank <= _HIGHEST_RANK:
            raise _wrong(folder, "r", f"a rank must be a whole number from 1 to {_HIGHEST_RANK}")
        ranks.append(rank)
    return max(ranks)


def adapter_config(folder: Path) -> dict[str, JsonValue]:
    """The adapter's configuration.

    Raises:
        ModelError: it cannot be read, or is no object.
    """
    file = folder / _FILE
    try:
        config = parsed_json(file.read_bytes())
    except (ValueError, OSError) as error:
        raise ModelError(f"{_FILE} cannot be read: {error}", where=str(file)) from error
    if not isinstance(config, dict):
        raise ModelError(f"{_FILE} must hold an object", where=str(file))
    return config


def check_patterns(folder: Path, modules: Iterable[str]) -> None:
    """Raise `ModelError` where a pattern of the adapter does not get through the modules' names.

    What matches here in bounded time does so in peft, which matches the same.
    """
    config = adapter_config(folder)
    texts = [config.get("target_modules"), config.get("exclude_modules")]
    patterns = [text for text in texts if isinstance(text, str)]
    for field in ("rank_pattern", "alpha_pattern"):
        patterns += [rf"(?:.*\.)?({key})" for key in _mapping(config, field)]
    names = list(modules)
    try:
        with bounded(_SECONDS_OF_MATCHING, _MEMORY_OF_MATCHING):
            for pattern in patterns:
                matcher = re.compile(pattern)
                for name in names:
                    matcher.fullmatch(name)
    except (TooMuch, re.error, OverflowError, RecursionError) as error:
        raise _wrong(folder, "target_modules", f"a pattern cannot be used: {error}") from error


def _mapping(config: Mapping[str, JsonValue], field: str) -> Mapping[str, JsonValue]:
    value = config.get(field) or {}
    return value if isinstance(value, Mapping) else {field: value}


def _wrong(folder: Path, field: str, why: str) -> ModelError:
    return ModelError(
        f"the adapter cannot be loaded: {why}", where=f"{folder / _FILE}, field '{field}'"
    )
