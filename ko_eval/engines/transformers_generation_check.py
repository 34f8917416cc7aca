"""Holds rows that come and go against the plain computation, once per run and kind of row.

A row is at its first step or behind it, and it stands behind a prefix computed for another or has
fed its whole prompt; of each of these kinds the shortest row is checked when the kind first occurs,
so that mostly longer rows stand beside it. The plain computation feeds its tokens alone, without a
cache. Log-probabilities of the likeliest tokens must agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TOLERANCE = 1e-2
"""Nats, in float32."""
# Lower precisions round each path in its own way, large logits by more; a wrong mask or position is
# off by more than that.
_LOW_PRECISION_TOLERANCE = 0.5
_LOW_PRECISION_STEPS = 8
_LIKELIEST = 10


class UnsuitableModel(Exception):
    """Rows cannot come and go with this model; says why."""


def check_logits(
    model: PreTrainedModel, ids: Sequence[int], found: torch.Tensor, options: dict[str, Any]
) -> None:
    """Compares the logits behind a row's tokens with the plain ones.

    Args:
        found: one row's logits, a vector over the vocabulary.
        options: for the forward.

    Raises:
        UnsuitableModel: they differ by more than they may.
    """
    fed = torch.tensor([ids], device=model.device)
    plain = model(input_ids=fed, use_cache=False, **options).logits[0, -1]
    expected = plain.float().log_softmax(-1)
    likeliest = expected.topk(min(_LIKELIEST, len(expected))).indices
    gap = found.float().log_softmax(-1).to(expected.device)[likeliest] - expected[likeliest]
    worst = float(gap.abs().max())
    most = TOLERANCE
    if model.dtype != torch.float32:
        step = torch.finfo(model.dtype).eps * float(plain.abs().max())
        most = max(_LOW_PRECISION_TOLERANCE, _LOW_PRECISION_STEPS * step)
    # Written so that what is not a number differs.
    if not worst <= most and not bool(expected.isnan().any()):
        raise UnsuitableModel(f"its log-probabilities differ by {worst:.2g} from the plain ones")
