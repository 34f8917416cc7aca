"""Holds rows that come and go against the plain computation, once per run.

The row is the shortest one at its second step: its prompt lies behind a shared prefix where there
is one, its first token is in the cache, and longer rows stand beside it. The plain computation
feeds its tokens alone, without a cache. Log-probabilities of the likeliest tokens must agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TOLERANCE = 1e-2
"""Nats, in float32."""
# Lower precisions round each path in its own way; a wrong mask or position is off by more.
_LOW_PRECISION_TOLERANCE = 0.5
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
    most = TOLERANCE if model.dtype == torch.float32 else _LOW_PRECISION_TOLERANCE
    # Written so that what is not a number differs.
    if not worst <= most and not bool(expected.isnan().any()):
        raise UnsuitableModel(f"its log-probabilities differ by {worst:.2g} from the plain ones")
