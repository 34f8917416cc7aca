"""Runs a model of lower precision in float32, without a second copy of it in memory.

The weights are those of the model, exactly; each module's are widened only while it computes. What
remains of the difference to the model itself is the rounding of its own computation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NARROW = (torch.bfloat16, torch.float16)
# Weights of a linear layer that are widened at a time (32 MiB as float32).
_CHUNK_ELEMENTS = 1 << 23


@contextmanager
def in_float32(model: PreTrainedModel) -> Iterator[None]:
    """Within the block, the model computes in float32; afterwards it is as before."""
    undo: list[Callable[[], None]] = []
    try:
        for module in model.modules():
            own = {
                name: weights.data
                for name, weights in module.named_parameters(recurse=False)
                if weights.dtype in _NARROW
            }
            if not own:
                continue
            # Subclasses of Linear may hold scaled weights, or compute something else.
            if type(module).forward is nn.Linear.forward:
                undo.append(_replaced_forward(module, _linear))
            elif isinstance(module, nn.Embedding):
                undo.append(module.register_forward_hook(lambda _m, _in, out: out.float()).remove)
            else:
                undo.extend(_widened_while_it_computes(module, own))
        yield
    finally:
        for step in reversed(undo):
            step()


def _replaced_forward(module: nn.Module, forward: Any) -> Callable[[], None]:
    # accelerate puts its hooks around `_old_forward`; they must stay.
    name = "_old_forward" if "_old_forward" in module.__dict__ else "forward"
    own = module.__dict__.get(name)

    def undo() -> None:
        delattr(module, name)
        if own is not None:
            setattr(module, name, own)

    setattr(module, name, forward.__get__(module))
    return undo


def _linear(layer: nn.Linear, given: torch.Tensor) -> torch.Tensor:
    rows = max(1, _CHUNK_ELEMENTS // layer.in_features)
    parts = [given.float() @ weight.float().T for weight in torch.split(layer.weight, rows)]
    out = torch.cat(parts, dim=-1)
    return out if layer.bias is None else out + layer.bias.float()


def _widened_while_it_computes(
    module: nn.Module, own: dict[str, torch.Tensor]
) -> list[Callable[[], None]]:
    def widen(module: nn.Module, *_: Any) -> None:
        for name, data in own.items():
            getattr(module, name).data = data.float()

    def restore(module: nn.Module, *_: Any) -> None:
        for name, data in own.items():
            getattr(module, name).data = data

    return [
        lambda: restore(module),
        module.register_forward_pre_hook(widen).remove,
        module.register_forward_hook(restore).remove,
    ]
