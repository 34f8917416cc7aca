"""The plain path for log-likelihoods: one row per context and continuation.

Rows are padded on the right and need no attention mask, since a causal model never looks right. The
vocabulary head runs only over the last positions that some row of the batch needs, and the
log-softmax only over the scored ones, in chunks, in float32.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ko_eval.engines.base import EncodedPair
from ko_eval.engines.prefix_tree import BoolArray, FloatArray
from ko_eval.engines.token_scores import token_scores

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PairScores = tuple[FloatArray, BoolArray]
"""Of each continuation token: its natural log-probability, and whether it is the most likely."""


def input_length(pair: EncodedPair) -> int:
    """Tokens that are fed for a pair: all but the last one, which is only scored."""
    return len(pair.context) + len(pair.continuation) - 1


def keeps_logits(model: PreTrainedModel) -> bool:
    """Whether the model can leave out logits that nobody reads."""
    return "logits_to_keep" in inspect.signature(model.forward).parameters


def plain_scores(
    model: PreTrainedModel, pairs: Sequence[EncodedPair], pad_id: int
) -> list[PairScores]:
    """The scores of a batch of pairs, which is padded to its longest row.

    Args:
        pad_id: any valid token id.
    """
    width = max(input_length(pair) for pair in pairs)
    first = min(len(pair.context) - 1 for pair in pairs)
    rows = torch.full((len(pairs), width), pad_id, dtype=torch.long)
    for row, pair in zip(rows, pairs, strict=True):
        ids = pair.context + pair.continuation[:-1]
        row[: len(ids)] = torch.tensor(ids)
    keep = {"logits_to_keep": width - first} if keeps_logits(model) else {}
    with torch.inference_mode():
        logits = model(input_ids=rows.to(model.device), use_cache=False, **keep).logits
        return _scored(logits, pairs, width - logits.shape[1])


def _scored(logits: torch.Tensor, pairs: Sequence[EncodedPair], offset: int) -> list[PairScores]:
    """Picks the scored rows out of `logits` (batch × kept positions × vocabulary)."""
    kept = logits.shape[1]
    place = torch.tensor(
        [
            row * kept + len(pair.context) - 1 - offset + step
            for row, pair in enumerate(pairs)
            for step in range(len(pair.continuation))
        ],
        device=logits.device,
    )
    tokens = torch.tensor([t for p in pairs for t in p.continuation], device=logits.device)
    read, which = torch.unique(place, return_inverse=True)
    logprobs, greedy = token_scores(logits.flatten(0, 1)[read], which, tokens)
    borders = np.cumsum([len(pair.continuation) for pair in pairs])[:-1]
    return list(zip(np.split(logprobs, borders), np.split(greedy, borders), strict=True))
