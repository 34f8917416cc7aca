"""ko-eval: how good is a language model in Korean?

    outcome = ko_eval.evaluate("demo", tasks=["ko_gsm8k"])

`ko_eval.api` says more; it is imported at first use, since it takes a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["Evaluation", "__version__", "evaluate", "read_run"]

if TYPE_CHECKING:
    from ko_eval.api import Evaluation, evaluate, read_run


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'ko_eval' has no attribute '{name}'")
    from ko_eval import api

    return getattr(api, name)
