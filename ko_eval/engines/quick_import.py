"""Imports transformers without scikit-learn, which takes almost as long to import as torch.

transformers draws it in, where it is installed, for one option of assisted generation, which no
evaluation uses. A module that stands in `sys.modules` as None counts as not installed.
"""

from __future__ import annotations

import importlib
import sys

_NOT_NEEDED = "sklearn"
_ASKS_FOR_IT = "transformers.generation.candidate_generator"


def import_transformers() -> None:
    """Makes the imports of transformers that follow quick; without effect after the first."""
    if _NOT_NEEDED in sys.modules or _ASKS_FOR_IT in sys.modules:
        return
    sys.modules[_NOT_NEEDED] = None  # type: ignore[assignment]
    try:
        importlib.import_module(_ASKS_FOR_IT)
    finally:
        del sys.modules[_NOT_NEEDED]
