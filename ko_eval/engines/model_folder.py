"""From MODEL on the command line to a folder with a model that may be loaded.

Everything that can be wrong with a model folder is said here, before torch is imported.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ko_eval.errors import ModelError
from ko_eval.types import JsonValue

_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[\w.-]+$")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "tekken.json",
)
_HUB_FILES = ["*.json", "*.jinja", "*.txt", "*.model", "*.safetensors", "*.py", "tokenizer*"]
_PROBES = 64
_PROBE_BYTES = 65536


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A checked local model.

    Attributes:
        name: as the user wrote it, without folders: the name results show.
        path: the folder with configuration, tokenizer and weights.
        config: the parsed `config.json`.
        revision: the hub commit, or None for a folder of the user's own.
    """

    name: str
    path: Path
    config: dict[str, JsonValue]
    revision: str | None = None

    @property
    def model_type(self) -> str:
        return str(self.config.get("model_type", ""))

    @property
    def max_length(self) -> int | None:
        """Longest sequence in tokens that the configuration allows, or None if it does not say."""
        for place in (self.config, self.config.get("text_config")):
            if not isinstance(place, dict):
                continue
            for key in (
                "max_position_embeddings",
                "n_positions",
                "max_sequence_length",
                "seq_length",
            ):
                value = place.get(key)
                if isinstance(value, int) and value > 0:
                    return value
        return None


def resolve_model(
    model: str,
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
) -> ModelFolder:
    """A checked model folder.

    Args:
        model: a folder, a Hugging Face id, or `demo`.
        revision: commit, tag or branch on the hub.
        trust_remote_code: accept a configuration that names code of its own.
        allow_pickle: accept weights in pickle files, which can run code when loaded.

    Raises:
        ModelError: there is no such model, or its folder is incomplete or unsafe.
    """
    if model.startswith(("http://", "https://")):
        raise ModelError(
            "servers cannot be evaluated by this version",
            where=model,
            hint="give a model folder or a Hugging Face id",
        )
    if model == "demo":
        from ko_eval.engines.demo_model import demo_folder

        path, name, commit = demo_folder(), "demo", None
    elif Path(model).is_dir():
        path, name, commit = Path(model).resolve(), Path(model).resolve().name, None
    elif _HUB_ID.match(model) and not Path(model.split("/")[0]).is_dir():
        path = _downloaded(model, revision, allow_pickle)
        name, commit = model, path.name
    else:
        raise ModelError(
            f"there is no model folder '{model}'",
            hint="give a folder with config.json, a Hugging Face id (owner/name), or 'demo'",
        )
    config = _read_config(path)
    _check_folder(path, config, trust_remote_code, allow_pickle)
    return ModelFolder(name, path, config, commit)


def weight_files(path: Path) -> list[Path]:
    """The folder's weight files: safetensors if there are any, else pickles; sorted."""
    safe = sorted(path.glob("*.safetensors"))
    return safe or sorted([*path.glob("*.bin"), *path.glob("*.pt"), *path.glob("*.pth")])


def content_fingerprint(path: Path) -> str:
    """SHA-256 that names a model's content.

    Configuration and tokenizer files count in full. Of a weight file its size and 64 blocks of
    64 KiB, spread evenly from its first to its last byte, count: another training step changes
    them, and a model of any size is read in a moment.
    """
    digest = hashlib.sha256()
    for file in sorted(path.glob("*")):
        if file.is_file() and file.suffix in (".json", ".txt", ".model", ".jinja", ".py"):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    for file in weight_files(path):
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        for block in _probes(file):
            digest.update(block)
    return digest.hexdigest()


def _probes(file: Path) -> Iterator[bytes]:
    size = file.stat().st_size
    with file.open("rb") as opened:
        if size <= _PROBES * _PROBE_BYTES:
            yield opened.read()
            return
        for i in range(_PROBES):
            opened.seek((size - _PROBE_BYTES) * i // (_PROBES - 1))
            yield opened.read(_PROBE_BYTES)


def _downloaded(model: str, revision: str | None, allow_pickle: bool) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    patterns = [*_HUB_FILES, *(["*.bin", "*.pt"] if allow_pickle else [])]
    try:
        return Path(
            huggingface_hub.snapshot_download(model, revision=revision, allow_patterns=patterns)
        )
    except GatedRepoError as error:
        raise ModelError(
            f"'{model}' is gated on the Hugging Face hub",
            hint="ask for access on its page, then set HF_TOKEN",
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"'{model}' is neither a folder here nor a model on the Hugging Face hub",
            hint="check the name; a private model needs HF_TOKEN",
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ModelError(
            f"'{model}' is no folder here and the Hugging Face hub cannot be reached",
            where=str(error).strip().splitlines()[0][:200] if str(error).strip() else None,
            hint="check the path, or download the model first and give its folder",
        ) from error


def _read_config(path: Path) -> dict[str, JsonValue]:
    file = path / "config.json"
    if not file.is_file():
        raise ModelError(
            "the model folder has no config.json",
            where=str(path),
            hint="give the folder that save_pretrained() wrote",
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(f"config.json cannot be read: {error}", where=str(file)) from error
    if not isinstance(config, dict):
        raise ModelError("config.json must hold an object", where=str(file))
    return config


def _check_folder(
    path: Path, config: dict[str, JsonValue], trust_remote_code: bool, allow_pickle: bool
) -> None:
    if not any((path / name).is_file() for name in _TOKENIZER_FILES):
        raise ModelError(
            "the model folder has no tokenizer",
            where=str(path),
            hint=f"copy the tokenizer's files into it ({', '.join(_TOKENIZER_FILES[:3])}, …)",
        )
    files = weight_files(path)
    if not files:
        raise ModelError(
            "the model folder has no weights", where=str(path), hint="it needs *.safetensors"
        )
    if files[0].suffix != ".safetensors" and not allow_pickle:
        raise ModelError(
            f"the weights are pickle files ({files[0].name}), which can run code when loaded",
            where=str(path),
            hint="convert them to safetensors, or add --allow-pickle if you trust their maker",
        )
    if config.get("auto_map") and not trust_remote_code:
        raise ModelError(
            "the model brings code of its own (auto_map in config.json)",
            where=str(path),
            hint="read that code, then add --trust-remote-code if you trust it",
        )
