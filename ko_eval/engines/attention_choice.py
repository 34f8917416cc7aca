"""Which attention packed rows take: SDPA with a dense mask, or FlexAttention with a block mask.

A dense mask lets every token look at every key, though most are hidden; FlexAttention skips what no
token of a block sees, but has to be compiled, and pays only for long rows on a GPU. So both feed
the same rows, and FlexAttention is kept when it agrees and is faster.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ko_eval.engines.prefix_tree import BoolArray, FloatArray

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Rows that both feed. The first two pay for compiling, once for fixed and once for varying lengths.
_TRIALS = 3
_GAIN = 1.05
# Largest mean difference of a token's log-probability, in nats.
_AGREES = {torch.float32: 1e-4}
_AGREES_IN_LOWER_PRECISION = 3e-2


@dataclass(frozen=True, slots=True, eq=False)
class ReadScores:
    """What the model says at consecutive reads of a forest.

    Attributes:
        end: the read behind the last of them.
        logprobs: natural logarithms.
        greedy: whether the token that was read is the most likely one.
        seconds: that the row took.
    """

    end: int
    logprobs: FloatArray
    greedy: BoolArray
    seconds: float


class AttentionChoice:
    """Settles on one of the two by trying.

    Args:
        tried: whether FlexAttention is to be tried at all.

    Attributes:
        flex: whether rows take FlexAttention.
        undecided: whether rows should be fed with both.
    """

    def __init__(self, *, tried: bool) -> None:
        self.flex = False
        self.undecided = tried
        self._trials = 0

    def measured(self, dense: ReadScores, flex: ReadScores, dtype: torch.dtype) -> None:
        """Is told what both said about one row, and may settle."""
        apart = np.abs(dense.logprobs - flex.logprobs)
        if not len(apart):
            return  # A row without reads says nothing.
        self._trials += 1
        limit = _AGREES.get(dtype, _AGREES_IN_LOWER_PRECISION)
        if not float(apart.mean()) <= limit:
            self.failed()
        elif self._trials == _TRIALS:
            self.undecided = False
            self.flex = flex.seconds * _GAIN < dense.seconds

    def failed(self) -> None:
        """FlexAttention does not work here."""
        self.flex = self.undecided = False


@contextmanager
def flex_attention(model: PreTrainedModel) -> Iterator[None]:
    """Within the block, the model takes FlexAttention and block masks."""
    own = model.config._attn_implementation
    model.set_attn_implementation("flex_attention")
    try:
        yield
    finally:
        model.set_attn_implementation(own)
