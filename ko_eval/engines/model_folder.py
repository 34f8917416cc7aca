"""From MODEL on the command line to a folder with a model that may be loaded.

Everything that can be wrong with a model folder is said here, before torch is imported.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ko_eval.bounds import parsed_json
from ko_eval.engines.config_checks import check_config, check_index
from ko_eval.engines.server_options import is_server
from ko_eval.errors import ModelError, first_line
from ko_eval.resources import cache_folder
from ko_eval.types import JsonValue

_LONGEST_NAME = 4096
_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[\w.-]+$")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "tekken.json",
)
_READ = (".json", ".safetensors", ".bin", ".pt", ".pth", ".jinja")
_HUB_FILES = ["*.json", "*.jinja", "*.txt", "*.model", "*.py", "tokenizer*"]


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
    weights: bool = True,
) -> ModelFolder:
    """A checked model folder.

    Args:
        model: a folder, a Hugging Face id, or `demo`.
        revision: commit, tag or branch on the hub.
        trust_remote_code: accept a configuration that names code of its own.
        allow_pickle: accept weights in pickle files, which can run code when loaded.
        weights: False when only the tokenizer is wanted: none are downloaded or checked.

    Raises:
        ModelError: there is no such model, or its folder is incomplete or unsafe.
    """
    if len(model) > _LONGEST_NAME:
        raise ModelError("the name of the model is longer than that of any folder", where=model)
    if is_server(model):
        raise ModelError(
            "this needs the model's own files, and a server shows none; `ko-eval run` takes one",
            hint="give a model folder or a Hugging Face id",
        )
    if model == "demo":
        from ko_eval.engines.demo_model import demo_folder

        path, name, commit = demo_folder(), "demo", None
    elif Path(model).is_dir():
        path, name, commit = Path(model).resolve(), Path(model).resolve().name, None
    elif _HUB_ID.match(model) and not Path(model.split("/")[0]).is_dir():
        path = _downloaded(model, revision, allow_pickle, weights)
        name, commit = model, path.name
    else:
        raise ModelError(
            f"there is no model folder '{model}'",
            hint="give a folder with config.json, a Hugging Face id (owner/name), 'demo', or for "
            "`ko-eval run` a server's URL (http://host:port/v1)",
        )
    config = _read_config(path)
    _check_folder(path, config, trust_remote_code)
    check_config(path, config, trust_remote_code=trust_remote_code)
    if weights:
        check_index(path)
        _check_weights(path, allow_pickle)
    return ModelFolder(name, path, config, commit)


def weight_files(path: Path) -> list[Path]:
    """The folder's weight files: safetensors if there are any, else pickles; sorted."""
    safe = sorted(path.glob("*.safetensors"))
    return safe or sorted([*path.glob("*.bin"), *path.glob("*.pt"), *path.glob("*.pth")])


def content_fingerprint(path: Path) -> str:
    """SHA-256 over a model's configuration, tokenizer and weights.

    A weight file's own hash is remembered in the cache folder for as long as its place, size and
    time of change stay the same.
    """
    digest = hashlib.sha256()
    for file in sorted(path.glob("*")):
        if file.is_file() and file.suffix in (".json", ".txt", ".model", ".jinja", ".py"):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    for file in weight_files(path):
        digest.update(f"{file.name}\0{remembered_hash(file)}\0".encode())
    return digest.hexdigest()


def remembered_hash(file: Path) -> str:
    """A weight file's SHA-256; see `content_fingerprint`."""

    def computed() -> str:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()

    return remembered(file, "", computed)


def remembered(file: Path, what: str, compute: Callable[[], str]) -> str:
    """A hash of a file's content, computed once for as long as place, size and time are the same.

    Args:
        what: tells hashes of one file apart.
    """
    status = file.stat()
    place = f"{what}{file.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
    memory = cache_folder() / "hashes" / hashlib.sha256(place.encode()).hexdigest()
    try:
        return memory.read_text(encoding="ascii")
    except OSError:
        pass
    found = compute()
    # Without a cache that can be written, the file is read again next time.
    with contextlib.suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.write_text(found, encoding="ascii")
    return found


def _downloaded(model: str, revision: str | None, allow_pickle: bool, weights: bool) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # The HTTP library's own base error: it is raised bare when nothing answers.
    connection_error: type[Exception] = HfHubHTTPError.__bases__[0]

    wanted = ["*.safetensors", *(["*.bin", "*.pt"] if allow_pickle else [])] if weights else []
    patterns = [*_HUB_FILES, *wanted]
    try:
        return Path(
            huggingface_hub.snapshot_download(model, revision=revision, allow_patterns=patterns)
        )
    except GatedRepoError as error:
        raise ModelError(
            f"'{model}' is gated on the Hugging Face hub",
            hint="ask for access on its page, then set HF_TOKEN",
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(
            f"'{model}' has no revision '{revision}'", hint="give a commit, tag or branch"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"'{model}' is neither a folder here nor a model on the Hugging Face hub",
            hint="check the name; a private model needs HF_TOKEN",
        ) from error
    except UnicodeEncodeError as error:
        raise ModelError(
            f"'{model}' cannot be asked for: the token that is set holds characters that no token "
            "has",
            hint="set HF_TOKEN anew",
        ) from error
    except (connection_error, OSError, ValueError) as error:
        if huggingface_hub.constants.HF_HUB_OFFLINE:
            raise ModelError(
                f"'{model}' is no folder here, and the hub's cache lacks it or files of it; the "
                "hub is not asked, since HF_HUB_OFFLINE is set or --pack was given",
                hint="download it once with a network, or give its folder",
            ) from error
        raise ModelError(
            f"'{model}' is no folder here and the Hugging Face hub cannot be reached",
            where=first_line(error),
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
        config = parsed_json(file.read_bytes())
    except (ValueError, OSError) as error:
        raise ModelError(f"config.json cannot be read: {error}", where=str(file)) from error
    if not isinstance(config, dict):
        raise ModelError("config.json must hold an object", where=str(file))
    return config


def _is_known(config: dict[str, JsonValue]) -> bool:
    """Whether transformers has this architecture itself, and so needs none of the model's code."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return str(config.get("model_type", "")) in CONFIG_MAPPING_NAMES


def _check_weights(path: Path, allow_pickle: bool) -> None:
    files = weight_files(path)
    if not files:
        raise ModelError(
            "the model folder has no weights",
            where=str(path),
            hint="it needs *.safetensors; on the hub, pickle weights need --allow-pickle",
        )
    if files[0].suffix != ".safetensors" and not allow_pickle:
        raise ModelError(
            f"the weights are pickle files ({files[0].name}), which can run code when loaded",
            where=str(path),
            hint="convert them to safetensors, or add --allow-pickle if you trust their maker",
        )


def _check_folder(path: Path, config: dict[str, JsonValue], trust_remote_code: bool) -> None:
    for file in sorted(path.iterdir()):
        # A pipe would be waited for, a device read without end.
        endless = file.is_fifo() or file.is_char_device() or file.is_block_device()
        if endless or (file.suffix in _READ and not file.is_file()):
            raise ModelError(
                f"the model folder holds '{file.name}', which is no ordinary file",
                where=str(path),
                hint="remove it, or complete the download",
            )
    if not any((path / name).is_file() for name in _TOKENIZER_FILES):
        raise ModelError(
            "the model folder has no tokenizer",
            where=str(path),
            hint=f"copy the tokenizer's files into it ({', '.join(_TOKENIZER_FILES[:3])}, …)",
        )
    if config.get("auto_map") and not trust_remote_code and not _is_known(config):
        raise ModelError(
            "the model brings code of its own (auto_map in config.json)",
            where=str(path),
            hint="read that code, then add --trust-remote-code if you trust it",
        )
