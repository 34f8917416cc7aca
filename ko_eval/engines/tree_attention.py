"""Attention over a packed row that skips what nobody sees, for SDPA on the CPU.

Under a dense mask every token of a row attends to all its keys, though it sees only its own branch.
Here the keys that all tokens of the row see, its trunk (a few-shot header, a passage), are attended
to by all of them at once, without a mask. The rest of a row's tokens' keys lie close to them, since
a forest is laid out depth first: the tokens are taken in short runs, each with the stretch of keys
that some token of it sees. Both parts come with the logarithm of their softmax's denominator, by
which they are put together exactly (Juravsky et al. 2024, "Hydragen", section 3.1). What
FlexAttention does on a GPU with blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import pad, scaled_dot_product_attention
from torch.torch_version import TorchVersion
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ko_eval.engines.prefix_tree import IntArray, Row
from ko_eval.engines.sdpa_replaced import register

TREE_ATTENTION = "ko_eval_tree"
# Tokens of a run. It ends where it shares least with what comes next.
_SHORTEST, _LONGEST = 96, 256
# A stretch with more keys than so many times those seen is not taken as it is.
_SPARSE = 1.5
# What SDPA runs on the CPU, but it also gives the denominators. Not public, so it may be gone; and
# SDPA's own checks do not stand before it. Older ones read past their input when heads share keys.
_KERNEL = "_scaled_dot_product_flash_attention_for_cpu"
_GIVES_DENOMINATORS = hasattr(torch.ops.aten, _KERNEL)
_TAKES_GROUPS = TorchVersion(torch.__version__) >= "2.13"  # the oldest that was seen to


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Some tokens of a row.

    Attributes:
        tokens: which ones.
        keys: those behind the trunk that they attend to: a stretch, or indices.
        mask: tokens × keys, as numbers to add to the scores.
    """

    tokens: slice
    keys: slice | torch.Tensor
    mask: torch.Tensor


@dataclass(slots=True, eq=False)
class TreeRuns:
    """A row as `tree_attention` takes it.

    Attributes:
        trunk: so many first keys are seen by all tokens of the row.
        runs: its tokens.
        used: how often they were attended with, once per layer.
    """

    trunk: int
    runs: list[Run]
    used: int = 0


def tree_runs(
    row: Row, dtype: torch.dtype, positions: IntArray | None = None, window: int | None = None
) -> TreeRuns:
    """The runs of a row.

    Args:
        dtype: of the masks.
        positions: of each key, how many tokens stand before it; needed with a window.
        window: tokens see their last `window` ancestors only, themselves included.
    """
    trunk = 0
    if window is None:
        trunk = int(np.count_nonzero(row.reach[: row.cached] >= row.end))
    runs = []
    for first, end in _borders(row):
        seen = np.flatnonzero((row.keys < end) & (row.reach > first))
        seen = seen[seen >= trunk]
        low, high = int(seen[0]), int(seen[-1]) + 1
        sparse = high - low > _SPARSE * len(seen)
        keys: IntArray = seen if sparse else np.arange(low, high)
        index = np.arange(first, end)[:, None]
        visible = (row.keys[keys] <= index) & (index < row.reach[keys])
        if window is not None and positions is not None:
            own = positions[row.cached + first - row.start : row.cached + end - row.start]
            visible &= own[:, None] - positions[keys] < window
        mask = torch.zeros(visible.shape, dtype=dtype)
        mask.masked_fill_(torch.from_numpy(~visible), torch.finfo(dtype).min)
        runs.append(
            Run(
                slice(first - row.start, end - row.start),
                torch.from_numpy(keys) if sparse else slice(low, high),
                mask[None, None],
            )
        )
    return TreeRuns(trunk, runs)


def _borders(row: Row) -> list[tuple[int, int]]:
    """Where the runs of a row begin and end."""
    borders, first = [], row.start
    while row.end - first > _LONGEST:
        # The token that stands least deep begins a branch, which shares little with those before.
        depths = row.positions[first - row.start + _SHORTEST : first - row.start + _LONGEST + 1]
        end = first + _SHORTEST + int(np.argmin(depths))
        borders.append((first, end))
        first = end
    return [*borders, (first, row.end)]


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
    row: TreeRuns | None = getattr(attention_mask, "tree_runs", None)
    if row is None or position_bias is not None:
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
    row.used += 1
    apart = (
        row.trunk > 0
        and _GIVES_DENOMINATORS
        and (_TAKES_GROUPS or query.shape[1] == key.shape[1])
        and query.shape[-1] == value.shape[-1]
        and {query.stride(-1), key.stride(-1), value.stride(-1)} == {1}
    )
    attend = _trunk_and_runs if apart else _runs_alone
    return attend(row, query, key, value, scaling), None


def _trunk_and_runs(
    row: TreeRuns,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
) -> torch.Tensor:
    trunk = slice(row.trunk)
    attended, of_trunk = _with_denominator(query, key[:, :, trunk], value[:, :, trunk], scaling)
    for run in row.runs:
        near, of_run = _with_denominator(
            query[:, :, run.tokens],
            _taken(key, run.keys),
            _taken(value, run.keys),
            scaling,
            run.mask,
        )
        share = torch.sigmoid(of_run - of_trunk[:, run.tokens])
        far = attended[:, run.tokens]
        if far.dtype == share.dtype:
            far.lerp_(near, share)
        else:
            far.copy_(torch.lerp(far.to(share.dtype), near.to(share.dtype), share))
    return attended


def _with_denominator(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    mask: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What is attended to, and the logarithm of the softmax's denominator.

    Returns:
        Batch × tokens × heads × dimension, and the same with one number instead of the dimensions.
    """
    kernel = getattr(torch.ops.aten, _KERNEL)
    attended, denominator = kernel(query, key, value, attn_mask=mask, scale=scaling)
    return attended.transpose(1, 2), denominator.transpose(1, 2).unsqueeze(-1)


def _runs_alone(
    row: TreeRuns,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
) -> torch.Tensor:
    """The same in one part: each run with the trunk and its own keys."""
    parts = []
    for run in row.runs:
        keys, values = _taken(key, run.keys), _taken(value, run.keys)
        if row.trunk:
            keys = torch.cat([key[:, :, : row.trunk], keys], dim=2)
            values = torch.cat([value[:, :, : row.trunk], values], dim=2)
        part = scaled_dot_product_attention(
            query[:, :, run.tokens],
            keys,
            values,
            attn_mask=pad(run.mask, (row.trunk, 0)),
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        parts.append(part.transpose(1, 2))
    return torch.cat(parts, dim=1)


def _taken(held: torch.Tensor, keys: slice | torch.Tensor) -> torch.Tensor:
    return held[:, :, keys] if isinstance(keys, slice) else held.index_select(2, keys)


register(TREE_ATTENTION, tree_attention)
