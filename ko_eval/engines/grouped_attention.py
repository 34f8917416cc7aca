"""Attention of one new token per row, without copying the keys for every query head.

transformers' `sdpa` repeats the keys and values of each group of query heads before it attends. For
one token per row that copy is most of the work (on the CPU ten times the rest). The heads of a
group look at the same keys, so here they stand as if they were several queries of one head. All
other attention goes to `sdpa` itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_NAME = "ko_eval_grouped"


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    position_bias: torch.Tensor | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """An attention function as transformers' `AttentionInterface` wants it."""
    rows, heads, tokens, size = query.shape
    groups = key.shape[1]
    if tokens > 1 or heads == groups or position_bias is not None:
        found: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module,
            query,
            key,
            value,
            attention_mask,
            scaling=scaling,
            position_bias=position_bias,
            **options,
        )
        return found
    attended = torch.nn.functional.scaled_dot_product_attention(
        query.reshape(rows, groups, heads // groups, size),
        key,
        value,
        attn_mask=attention_mask,
        scale=scaling,
    )
    return attended.reshape(rows, 1, heads, value.shape[-1]), None


AttentionInterface.register(_NAME, grouped_attention)
AttentionMaskInterface.register(_NAME, sdpa_mask)


class GroupedAttention:
    """Lets a model that attends with `sdpa` use the above for a while; others stay as they are."""

    def __init__(self, model: PreTrainedModel) -> None:
        # One model may hold others with configurations of their own.
        parts = {id(m.config): m.config for m in model.modules() if isinstance(m, PreTrainedModel)}
        self._configs: list[PreTrainedConfig] = [
            config for config in parts.values() if config._attn_implementation == "sdpa"
        ]

    @contextmanager
    def used(self) -> Iterator[None]:
        for config in self._configs:
            config._attn_implementation = _NAME
        try:
            yield
        finally:
            for config in self._configs:
                config._attn_implementation = "sdpa"
