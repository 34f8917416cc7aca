"""Log-probabilities of named tokens from logits, in chunks, in float32."""

from __future__ import annotations

import numpy as np
import torch

from ko_eval.engines.prefix_tree import BoolArray, FloatArray

# Elements of a float32 chunk of logits (16 MiB).
_CHUNK_ELEMENTS = 1 << 22


def token_scores(
    logits: torch.Tensor, place: torch.Tensor, token: torch.Tensor
) -> tuple[FloatArray, BoolArray]:
    """What logits say about tokens.

    Args:
        logits: places × vocabulary, in any precision.
        place: of each token, the row of `logits` at which it is read.
        token: its id.

    Returns:
        The natural log-probability of each token, and whether none is more likely there.
    """
    picked = logits[place, token].float()
    highest = torch.empty(len(logits), dtype=torch.float32, device=logits.device)
    total = torch.empty_like(highest)
    chunk = max(1, _CHUNK_ELEMENTS // logits.shape[-1])
    for start in range(0, len(logits), chunk):
        # A copy, on which all steps are done in place.
        part = logits[start : start + chunk].to(torch.float32, copy=True)
        top = part.amax(dim=1)
        summed = part.sub_(top.unsqueeze(1)).exp_().sum(dim=1)
        highest[start : start + chunk] = top
        total[start : start + chunk] = summed.log_().add_(top)
    logprobs = (picked - total[place]).cpu().double().numpy()
    greedy = (picked >= highest[place]).cpu().numpy()
    return logprobs, np.asarray(greedy, dtype=np.bool_)
