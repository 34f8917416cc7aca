"""Seeded sampling that no other row of the batch changes: Gumbel noise, then the maximum.

The highest of (logit / temperature + Gumbel noise) is distributed as a sample of the softmax
(Gumbel 1954). Each row has a generator of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers import TopPLogitsWarper

from ko_eval.engines.base import EncodedGenerate


def generator_of(request: EncodedGenerate, device: torch.device) -> torch.Generator | None:
    """A row's generator; None for a greedy row."""
    if request.request.temperature == 0:
        return None
    return torch.Generator(device).manual_seed(request.seed)


@contextmanager
def drawn_again_after_failure(generators: Sequence[torch.Generator]) -> Iterator[None]:
    """Takes the generators back when the block runs out of memory: what it drew is not used."""
    states = [generator.get_state() for generator in generators]
    try:
        yield
    except RuntimeError:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        raise


def with_noise(
    logits: torch.Tensor, encoded: EncodedGenerate, generator: torch.Generator
) -> torch.Tensor:
    """One row's scores (a vector over the vocabulary), the highest of which is its sample."""
    request = encoded.request
    kept = logits.float() / request.temperature
    if request.top_p < 1:
        # The warper asks for ids, and reads none.
        no_ids = torch.empty((1, 0), dtype=torch.long, device=logits.device)
        kept = TopPLogitsWarper(request.top_p)(no_ids, kept.unsqueeze(0)).squeeze(0)
    uniform = torch.rand(logits.shape, generator=generator, device=logits.device)
    return kept - torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
