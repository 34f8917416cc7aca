"""Imports transformers without scikit-learn, which takes almost as long to import as torch.

transformers draws it in, where it is installed, for one option of assisted generation, which no
evaluation uses. A module that stands in `sys.modules` as None counts as not installed.
"""

from __future__ import annotations

import importlib
import logging
import sys

from ko_eval.safe_text import redacted, visible

_NOT_NEEDED = "sklearn"
_ASKS_FOR_IT = "transformers.generation.candidate_generator"


def import_transformers() -> None:
    """Makes the imports of transformers that follow quick; without effect after the first."""
    _make_logs_safe()
    if _NOT_NEEDED in sys.modules or _ASKS_FOR_IT in sys.modules:
        return
    sys.modules[_NOT_NEEDED] = None  # type: ignore[assignment]
    try:
        importlib.import_module(_ASKS_FOR_IT)
    finally:
        del sys.modules[_NOT_NEEDED]


class _SafeMessages(logging.Filter):
    """Writes out what a terminal would obey: the library logs what a model's files say."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = visible(redacted(record.getMessage())), ()
        return True


def _make_logs_safe() -> None:
    from transformers.utils import logging as of_transformers

    of_transformers.get_verbosity()  # makes the handler, if nothing did so far
    for handler in logging.getLogger("transformers").handlers:
        if not any(isinstance(each, _SafeMessages) for each in handler.filters):
            handler.addFilter(_SafeMessages())
