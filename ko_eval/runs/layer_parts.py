"""The finer parts of the layers: of a model's folder, and of a task as it was asked and judged.

A part holds one thing that a user can change alone. Small values stand as they are, so that a
difference can be shown; large ones as SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from pathlib import Path

from ko_eval.bounds import parsed_json
from ko_eval.engines.model_folder import ModelFolder, remembered, remembered_hash, weight_files
from ko_eval.tasks.definition import TaskDefinition
from ko_eval.tasks.prepare import PreparedTask
from ko_eval.tasks.sources import Rows
from ko_eval.types import JsonValue

# Of a tokenizer's files, what is a layer of its own: special tokens around a text, the template.
_APART = ("post_processor", "truncation", "padding")
_APART_SETTINGS = ("chat_template", "add_bos_token", "add_eos_token")
# Of a configuration: precision is a layer of its own, and who saved the file moves no answer.
_APART_CONFIG = ("dtype", "torch_dtype", "quantization_config", "transformers_version")
_SAVED_BY = ("transformers_version", "_name_or_path")
_VOCABULARIES = ("vocab.json", "vocab.txt", "merges.txt", "tekken.json")


def digest(value: JsonValue) -> str:
    """SHA-256 of a value as canonical JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def model_parts(folder: ModelFolder) -> dict[str, JsonValue]:
    """Weights, configuration, tokenizer and quantisation, each with a hash of its own.

    The tokenizer's is over what makes tokens of a text; special tokens in front (BOS) and the chat
    template stand in the same files, and are layers of their own.
    """
    path = folder.path
    weights = [(file.name, remembered_hash(file)) for file in weight_files(path)]
    config = [
        *_without(path / "config.json", (*_APART_CONFIG, *_SAVED_BY)),
        *_without(path / "generation_config.json", _SAVED_BY),
        *(file.read_bytes() for file in sorted(path.glob("*.py"))),
    ]
    tokenizer = [
        *_without_post_processor(path / "tokenizer.json"),
        *_without(path / "tokenizer_config.json", _APART_SETTINGS),
        *(file.read_bytes() for file in _vocabularies(path)),
    ]
    quantization = folder.config.get("quantization_config")
    return {
        "weights": digest(weights),
        "configuration": _hashed(config),
        "tokenizer": _hashed(tokenizer),
        "quantization": None if quantization is None else _named_quantization(quantization),
    }


def task_parts(prepared: PreparedTask, *, limit: int | None) -> dict[str, JsonValue]:
    """What was asked, and how answers are judged, part by part.

    Args:
        limit: first rows that were evaluated; None for all.
    """
    definition, fewshot = prepared.definition, prepared.fewshot
    orders = [sample.fields.get("choice_order") for sample in prepared.samples]
    return {
        "rows": rows_hash(prepared.rows),
        "items": digest([sample.id for sample in prepared.samples]),
        # One that leaves no row out is none.
        "limit": limit if limit is not None and limit < len(prepared.rows.rows) else None,
        "columns": digest({**definition.columns, **prepared.rows.columns}),
        "choice_order": digest(orders) if any(order is not None for order in orders) else None,
        "request": definition.request.value,
        "prompt": digest(_wording(definition)),
        "shots": prepared.shots,
        "fewshot_rows": None if fewshot is None else rows_hash(fewshot),
        "fewshot_form": digest(
            [definition.fewshot.separator, definition.fewshot.match, definition.target]
        ),
        "stop": list(definition.stop),
        "max_tokens": definition.max_tokens,
        "sampling": [definition.temperature, definition.top_p],
        "scorer": {"name": definition.scorer.name, **definition.scorer.parameters},
        "metric": definition.metric or prepared.scorer.metrics[0],
        "scale": definition.scale,
    }


def rows_hash(rows: Rows) -> str:
    """SHA-256 over the rows' content whatever their order."""
    each = sorted(
        hashlib.sha256(
            json.dumps(row.values, ensure_ascii=False, sort_keys=True).encode(
                "utf-8", "surrogatepass"
            )
        ).digest()
        for row in rows.rows
    )
    return hashlib.sha256(b"".join(each)).hexdigest()


def _wording(definition: TaskDefinition) -> list[JsonValue]:
    """The templates of what a model is shown."""
    return [
        definition.prompt,
        definition.choices,
        definition.contexts,
        definition.continuation,
        definition.delimiter,
        definition.unconditional,
        definition.stem,
        definition.options,
        definition.labels,
    ]


def _named_quantization(settings: JsonValue) -> str:
    """`gptq (1f5bd688)`: the method, and the beginning of a hash of its settings."""
    method = settings.get("quant_method") if isinstance(settings, dict) else None
    return f"{str(method or 'unnamed')[:40]} ({digest(settings)[:8]})"


def _vocabularies(path: Path) -> list[Path]:
    named = [path / name for name in _VOCABULARIES]
    return sorted([*(file for file in named if file.is_file()), *path.glob("*.model")])


def _without_post_processor(file: Path) -> Iterable[bytes]:
    """A hash of a tokenizer's own file, which is large: it is remembered as a weight file's is."""
    if file.is_file():
        yield remembered(file, "tokenizer\0", lambda: _hashed(_without(file, _APART))).encode()


def _without(file: Path, keys: Collection[str]) -> Iterable[bytes]:
    """A JSON file's content without some of its keys; nothing where there is no such file."""
    if not file.is_file():
        return
    raw = file.read_bytes()
    try:
        content = parsed_json(raw)
    except ValueError:
        yield raw  # Nothing that could be loaded; the hash need not be finer.
        return
    if isinstance(content, dict):
        content = {key: value for key, value in content.items() if key not in keys}
    # Not sorted: a vocabulary is large, and its order is that of its file.
    yield json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _hashed(pieces: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for piece in pieces:
        found.update(len(piece).to_bytes(8, "big") + piece)
    return found.hexdigest()
