"""The plain path for log-likelihoods: one row per context and continuation.

Rows are padded on the right and need no attention mask, since a causal model never looks right. The
vocabulary head runs only over the last positions that some row of the batch needs, and the
log-softmax only over the scored ones, in chunks, in float32.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ko_eval.engines.base import EncodedPair

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

# Elements of a float32 chunk of scored logits (64 MiB).
_CHUNK_ELEMENTS = 1 << 24


def input_length(pair: EncodedPair) -> int:
    """Tokens that are fed for a pair: all but the last one, which is only scored."""
    return len(pair.context) + len(pair.continuation) - 1


def keeps_logits(model: PreTrainedModel) -> bool:
    """Whether the model can leave out logits that nobody reads."""
    return "logits_to_keep" in inspect.signature(model.forward).parameters


def pair_loglikelihoods(
    model: PreTrainedModel, pairs: Sequence[EncodedPair], pad_id: int
) -> list[float]:
    """Sums of the continuation's token log-probabilities, natural logarithm, one per pair.

    Args:
        pairs: a batch; padded to its longest row.
        pad_id: any valid token id.
    """
    import torch

    width = max(input_length(pair) for pair in pairs)
    first = min(len(pair.context) - 1 for pair in pairs)
    rows = torch.full((len(pairs), width), pad_id, dtype=torch.long)
    for row, pair in zip(rows, pairs, strict=True):
        ids = pair.context + pair.continuation[:-1]
        row[: len(ids)] = torch.tensor(ids)
    keep = {"logits_to_keep": width - first} if keeps_logits(model) else {}
    with torch.inference_mode():
        logits = model(input_ids=rows.to(model.device), use_cache=False, **keep).logits
        offset = width - logits.shape[1]
        return _sums(logits, pairs, offset)


def _sums(logits: torch.Tensor, pairs: Sequence[EncodedPair], offset: int) -> list[float]:
    """Picks the scored rows out of `logits` (batch × kept positions × vocabulary)."""
    import torch

    where: list[tuple[int, int, int]] = [
        (row, len(pair.context) - 1 - offset + step, token)
        for row, pair in enumerate(pairs)
        for step, token in enumerate(pair.continuation)
    ]
    index = torch.tensor(where, device=logits.device)
    chunk = max(1, _CHUNK_ELEMENTS // logits.shape[-1])
    parts = []
    for start in range(0, len(where), chunk):
        batch_row, position, token = index[start : start + chunk].unbind(1)
        scored = logits[batch_row, position].float()
        picked = scored.gather(1, token.unsqueeze(1)).squeeze(1)
        parts.append((picked - scored.logsumexp(dim=1)).cpu().double())
    values = torch.cat(parts).tolist()
    sums, start = [], 0
    for pair in pairs:
        end = start + len(pair.continuation)
        sums.append(float(sum(values[start:end])))
        start = end
    return sums
