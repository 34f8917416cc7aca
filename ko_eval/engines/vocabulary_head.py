"""The logits at some places of a row, a stretch of the vocabulary at a time.

With a vocabulary of 150,000 entries the logits of a row's places are the largest thing that exists
while scoring. Cut by places they would fit, too, but then each cut reads the whole head again, for
few places; cut by vocabulary each of its weights is read once.

A model's own forward goes from the body's output to the logits, so that whatever it does to them (a
scale, a soft cap) is done; its head is narrowed meanwhile. That is right as long as each logit is
treated alone, which is tried first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ko_eval.engines.batching import is_out_of_memory

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Elements of the logits that exist at a time: 8 MiB in float32 on the CPU, which its caches hold.
_ELEMENTS = {"cpu": 1 << 21, "cuda": 1 << 28}
# How far logits may be apart that were computed in other stretches, relative to their size.
_ROUNDING = {torch.float32: 1e-5}
_ROUNDING_IN_LOWER_PRECISION = 1e-2
_TRIED_PLACES = 4


class VocabularyHead:
    """Asks one model for logits."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._elements = _ELEMENTS["cuda" if model.device.type == "cuda" else "cpu"]
        head = model.get_output_embeddings()
        # A head of another kind, or with a forward of its own (adapters, hooks, quantisation).
        plain = type(head) is nn.Linear and "forward" not in head.__dict__
        self._head: nn.Linear | None = head if plain else None
        self._tried = False

    def logits(
        self, given: dict[str, Any], places: torch.Tensor
    ) -> Generator[tuple[torch.Tensor, int, int], None, None]:
        """Feeds a row. To be closed before the model is used otherwise.

        Args:
            given: what the model's forward is given.
            places: of the row's tokens.

        Yields:
            Logits, places × tokens; the index of the first of these places; and the id of the
            first of these tokens.
        """
        vocabulary = int(self._model.get_input_embeddings().weight.shape[0])
        pieces = -(-len(places) * vocabulary // self._elements)
        if pieces <= 1:
            yield self._model(**given, logits_to_keep=places).logits[0], 0, 0
            return
        body = self._model.base_model
        with _answering(body, body(**given)):

            def ask(places: torch.Tensor) -> torch.Tensor:
                logits: torch.Tensor = self._model(**given, logits_to_keep=places).logits[0]
                return logits

            if self._head is not None and not self._tried:
                self._try_stretches(ask, places)
            if self._head is not None:
                stretch = -(-self._head.out_features // pieces)
                for first in range(0, self._head.out_features, stretch):
                    with _narrowed(self._head, first, stretch):
                        yield ask(places), 0, first
            else:
                count = -(-len(places) // pieces)
                for start in range(0, len(places), count):
                    yield ask(places[start : start + count]), start, 0

    def _try_stretches(
        self, ask: Callable[[torch.Tensor], torch.Tensor], places: torch.Tensor
    ) -> None:
        """Gives stretches up unless their logits are those of the whole vocabulary."""
        head, places = self._head, places[:_TRIED_PLACES]
        assert head is not None
        whole = ask(places).float()
        half = head.out_features // 2
        try:
            parts = []
            for first, count in ((0, half), (half, head.out_features - half)):
                with _narrowed(head, first, count):
                    parts.append(ask(places).float())
            apart = float((torch.cat(parts, dim=-1) - whole).abs().max())
        except (RuntimeError, IndexError) as error:
            if isinstance(error, RuntimeError) and is_out_of_memory(error):
                raise
            apart = math.inf  # What the model does to its logits needs all of them.
        limit = _ROUNDING.get(self._model.dtype, _ROUNDING_IN_LOWER_PRECISION)
        if not apart <= limit * max(1.0, float(whole.abs().max())):
            self._head = None
        self._tried = True


@contextmanager
def _narrowed(head: nn.Linear, first: int, count: int) -> Iterator[None]:
    """Within the block, a head gives the logits of `count` tokens only, from `first` on."""
    weight = head.weight[first : first + count]
    bias = None if head.bias is None else head.bias[first : first + count]
    with _replaced_forward(head, lambda hidden: nn.functional.linear(hidden, weight, bias)):
        yield


@contextmanager
def _answering(module: nn.Module, output: Any) -> Iterator[None]:
    """Within the block, the module gives this output, whatever it is asked."""
    with _replaced_forward(module, lambda *_, **__: output):
        yield


@contextmanager
def _replaced_forward(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    own = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if own is not None:
            module.forward = own
