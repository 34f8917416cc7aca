"""Attention over a packed row that skips what nobody sees, for SDPA on the CPU.

Under a dense mask every token of a row attends to all its keys, though it sees only its own branch.
So a row's tokens are taken in short runs, each with the keys that some token of it sees: those
whose subtree reaches into the run. What FlexAttention does on a GPU with blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ko_eval.engines.prefix_tree import Row
from ko_eval.engines.sdpa_replaced import register

TREE_ATTENTION = "ko_eval_tree"
_RUN = 128


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Some tokens of a row.

    Attributes:
        tokens: which ones.
        keys: indices of the keys that they attend to.
        mask: tokens × keys, as numbers to add to the scores.
    """

    tokens: slice
    keys: torch.Tensor
    mask: torch.Tensor


def in_runs(row: Row, mask: torch.Tensor) -> torch.Tensor:
    """The dense mask of a row, with the runs that `tree_attention` takes instead of it."""
    runs = []
    for first in range(row.start, row.end, _RUN):
        end = min(first + _RUN, row.end)
        seen = torch.tensor(np.flatnonzero((row.keys < end) & (row.reach > first)))
        tokens = slice(first - row.start, end - row.start)
        runs.append(Run(tokens, seen, mask[:, :, tokens].index_select(3, seen)))
    mask.tree_runs = runs  # type: ignore[attr-defined]
    return mask


def tree_attention(
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
    runs: list[Run] | None = getattr(attention_mask, "tree_runs", None)
    if runs is None or position_bias is not None:
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
    parts = [
        torch.nn.functional.scaled_dot_product_attention(
            query[:, :, run.tokens],
            key.index_select(2, run.keys),
            value.index_select(2, run.keys),
            attn_mask=run.mask,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        for run in runs
    ]
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


register(TREE_ATTENTION, tree_attention)
