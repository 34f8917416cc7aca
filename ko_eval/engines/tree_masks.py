"""Attention masks for packed rows: each token sees its own ancestors, in a window the last ones.

Dense masks hold a number for each token and key, and suit every attention; they may also carry the
runs that `tree_attention` takes instead. Block masks are for FlexAttention, which skips
the blocks that no token sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ko_eval.engines.prefix_tree import Row
from ko_eval.engines.tree_attention import TreeRuns, tree_runs

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask
    from transformers import PretrainedConfig, PreTrainedModel

FULL, SLIDING = "full_attention", "sliding_attention"


def layer_types(config: PretrainedConfig) -> Sequence[str]:
    """The attention of each layer, where a model has more than one kind."""
    return tuple(getattr(config, "layer_types", None) or ())


class TreeMasks:
    """Makes the masks of one model: one for all layers, or one for each type of layer.

    Args:
        in_runs: whether `tree_attention` stands in the place of the model's own.
    """

    def __init__(self, model: PreTrainedModel, *, in_runs: bool) -> None:
        self._model = model
        self._in_runs = in_runs
        config = model.config.get_text_config()
        self._layer_types = frozenset(layer_types(config))
        window = getattr(config, "sliding_window", None)
        slides = SLIDING in self._layer_types or not self._layer_types
        self._window = int(window) if window and slides else None
        self._runs: list[TreeRuns] = []
        self._runs_suffice = False

    def dense(self, row: Row) -> torch.Tensor | dict[str, torch.Tensor]:
        """Masks of shape 1 × 1 × tokens × keys, as numbers to add to the scores.

        SDPA takes booleans, too, but would turn them into numbers again in each layer.
        """
        dtype = self._model.dtype
        self._runs = []

        def mask(window: int | None) -> torch.Tensor:
            if not self._in_runs:
                return self._numbers(row, window)
            runs = tree_runs(row, dtype, _positions(row), window)
            self._runs.append(runs)
            if self._runs_suffice:
                # Nobody looks at the numbers. If somebody did after all, scores would be no numbers
                # or wrong ones already in the self-check, whose later rows have such masks.
                shape = (1, 1, row.end - row.start, len(row.keys))
                numbers = torch.full((), torch.nan, dtype=dtype).expand(shape)
            else:
                numbers = self._numbers(row, window)
            numbers.tree_runs = runs  # type: ignore[attr-defined]
            return numbers

        masks: torch.Tensor | dict[str, torch.Tensor] = self._by_layer_type(row, mask)
        return masks

    def attended(self, layers: int) -> None:
        """Is told that a model of so many layers was fed with the last dense masks.

        Where every layer took the runs, the numbers are left out from now on: they are most of the
        work and memory of a mask.
        """
        self._runs_suffice = 0 < layers == sum(runs.used for runs in self._runs)

    def _numbers(self, row: Row, window: int | None) -> torch.Tensor:
        device, dtype = self._model.device, self._model.dtype
        keys = torch.tensor(row.keys, device=device)
        index = torch.arange(row.start, row.end, device=device)[:, None]
        visible = (keys <= index) & (index < torch.tensor(row.reach, device=device))
        if window is not None:
            positions = torch.tensor(_positions(row), device=device)
            visible &= positions[row.cached :, None] - positions < window
        numbers = torch.zeros(visible.shape, dtype=dtype, device=device)
        return numbers.masked_fill_(~visible, torch.finfo(dtype).min)[None, None]

    def blocks(self, row: Row) -> BlockMask | dict[str, BlockMask]:
        """The same as block masks."""
        from torch.nn.attention.flex_attention import create_block_mask

        device = self._model.device
        keys = torch.tensor(row.keys, device=device)
        reach = torch.tensor(row.reach, device=device)
        positions = torch.tensor(_positions(row), device=device)
        # As tensors, since a number in the closure would be compiled into the kernel.
        start, cached = torch.tensor((row.start, row.cached), device=device).unbind()

        def mask(window: int | None) -> BlockMask:
            def sees(batch: Any, head: Any, token: Any, key: Any) -> Any:
                index = token + start
                seen = (keys[key] <= index) & (index < reach[key])
                if window is None:
                    return seen
                return seen & (positions[token + cached] - positions[key] < window)

            return create_block_mask(
                sees, None, None, row.end - row.start, len(row.keys), device=str(device)
            )

        masks: BlockMask | dict[str, BlockMask] = self._by_layer_type(row, mask)
        return masks

    def _by_layer_type(self, row: Row, mask: Callable[[int | None], Any]) -> Any:
        if self._window is None or len(row.keys) <= self._window:
            return mask(None)
        if not self._layer_types:
            return mask(self._window)
        return {kind: mask(self._window if kind == SLIDING else None) for kind in self._layer_types}


def _positions(row: Row) -> Any:
    """Of each key, how many tokens stand before it in its sequence."""
    return np.concatenate([np.arange(row.cached), row.positions])
