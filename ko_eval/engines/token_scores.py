"""Log-probabilities of named tokens from logits, a stretch of the vocabulary at a time, in float32.

The log-sum-exp is kept as it grows, as its largest term and the sum relative to it (Milakov and
Gimelshein 2018, "Online normalizer calculation for softmax"), so that no more logits need to exist
at a time than fit into a cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ko_eval.engines.prefix_tree import BoolArray, FloatArray

# Elements of a float32 chunk of logits (16 MiB).
_CHUNK_ELEMENTS = 1 << 22


class TokenScores:
    """What logits say about tokens, once every stretch of the vocabulary was added.

    Args:
        places: so many rows of logits.
        place: of each token, the row at which it is read.
        token: its id.
    """

    def __init__(self, places: int, place: torch.Tensor, token: torch.Tensor) -> None:
        self._place, self._token = place, token
        kind: Any = {"dtype": torch.float32, "device": place.device}
        # Not a number until its logit was there: a model may give fewer than it has embeddings.
        self._picked = torch.full((len(place),), torch.nan, **kind)
        # Not minus infinity, from which nothing can be taken away, should all of a stretch be it.
        self._highest = torch.full((places,), torch.finfo(torch.float32).min, **kind)
        self._total = torch.zeros(places, **kind)

    def add(self, logits: torch.Tensor, place: int = 0, token: int = 0) -> None:
        """Adds the logits of some tokens at some places.

        Args:
            logits: places × tokens, in any precision.
            place: the first of these places.
            token: the id of the first of these tokens.
        """
        places, tokens = logits.shape
        row, column = self._place - place, self._token - token
        here = (row >= 0) & (row < places) & (column >= 0) & (column < tokens)
        self._picked[here] = logits[row[here], column[here]].float()
        step = max(1, _CHUNK_ELEMENTS // tokens)
        for start in range(0, places, step):
            part = logits[start : start + step].float()
            held = slice(place + start, place + start + len(part))
            highest, total = self._highest[held], self._total[held]
            top = torch.maximum(highest, part.amax(dim=1))
            summed = (part - top.unsqueeze(1)).exp_().sum(dim=1)
            total.mul_(highest.sub_(top).exp_()).add_(summed)
            highest.copy_(top)

    def result(self) -> tuple[FloatArray, BoolArray]:
        """The natural log-probability of each token, and whether none is more likely there."""
        highest, total = self._highest[self._place], self._total[self._place]
        logprobs = (self._picked - (total.log() + highest)).cpu().double().numpy()
        greedy = (self._picked >= highest).cpu().numpy()
        return logprobs, np.asarray(greedy, dtype=np.bool_)


def token_scores(
    logits: torch.Tensor, place: torch.Tensor, token: torch.Tensor
) -> tuple[FloatArray, BoolArray]:
    """The same for logits of the whole vocabulary."""
    scores = TokenScores(len(logits), place, token)
    scores.add(logits)
    return scores.result()
