"""Another attention function in the place of transformers' `sdpa`, for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import sdpa_mask

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def register(name: str, function: Callable[..., Any]) -> None:
    """Makes an attention function known to transformers; it takes the masks that `sdpa` takes."""
    AttentionInterface.register(name, function)
    AttentionMaskInterface.register(name, sdpa_mask)


class SdpaReplaced:
    """Lets a model that attends with `sdpa` use another function; others stay as they are.

    Args:
        name: as given to `register`.
    """

    def __init__(self, model: PreTrainedModel, name: str) -> None:
        self._name = name
        # One model may hold others with configurations of their own.
        parts = {id(m.config): m.config for m in model.modules() if isinstance(m, PreTrainedModel)}
        self._configs: list[PreTrainedConfig] = [
            config for config in parts.values() if config._attn_implementation == "sdpa"
        ]

    @contextmanager
    def used(self) -> Iterator[None]:
        # By key, since a bare name would be handed on to the configurations within.
        for config in self._configs:
            config._attn_implementation = {"": self._name}
        try:
            yield
        finally:
            for config in self._configs:
                config._attn_implementation = {"": "sdpa"}
