"""Where the files that ship with ko-eval are: `tasks/`, `configs/` and `seeds/`.

In a checkout they stand at the top level; the wheel carries them inside the package.
"""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def shipped(*parts: str) -> Path:
    """Path of a shipped file or folder, e.g. ``shipped("tasks", "ko_gsm8k.yaml")``."""
    packed = _PACKAGE / "_shipped"
    root = packed if packed.is_dir() else _PACKAGE.parent
    return root.joinpath(*parts)


def cache_folder() -> Path:
    """Where converted models are kept: `KO_EVAL_CACHE`, else the user's cache folder."""
    if own := os.environ.get("KO_EVAL_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "ko-eval"
