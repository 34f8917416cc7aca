"""Attention of one new token per row, without copying the keys for every query head.

transformers' `sdpa` repeats the keys and values of each group of query heads before it attends. For
one token per row that copy is most of the work (on the CPU ten times the rest). The heads of a
group look at the same keys, so here they stand as if they were several queries of one head. All
other attention goes to `sdpa` itself.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ko_eval.engines.sdpa_replaced import register

GROUPED_ATTENTION = "ko_eval_grouped"


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


register(GROUPED_ATTENTION, grouped_attention)
