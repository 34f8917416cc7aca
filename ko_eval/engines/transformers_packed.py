"""Packed log-likelihoods: each distinct token of a forest is fed once, in rows without padding.

A row holds many branches side by side behind the path they share. Position ids say where each token
stands in its sequence, and a tree mask lets it see its own ancestors only, so that it computes what
it would compute in a row of its own. The path's keys and values stay cached from row to row. The
vocabulary head runs only where a score is read, so memory depends on the row, not on the task.

In a window of w tokens a token sees its last w ancestors; layers with one get a mask of their own.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import Cache, DynamicLayer

from ko_eval.engines.attention_choice import AttentionChoice, ReadScores, flex_attention
from ko_eval.engines.batching import is_out_of_memory, model_failed
from ko_eval.engines.prefix_tree import (
    Forest,
    IntArray,
    Row,
    pack,
)
from ko_eval.engines.row_budget import Kind, RowBudget
from ko_eval.engines.sdpa_replaced import SdpaReplaced
from ko_eval.engines.token_scores import TokenScores
from ko_eval.engines.tree_attention import TREE_ATTENTION
from ko_eval.engines.tree_masks import FULL, SLIDING, TreeMasks, layer_types
from ko_eval.engines.vocabulary_head import VocabularyHead

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_SMALLEST_ROW = 16
# Scaling of positions that depends on the longest sequence in the batch.
_LENGTH_DEPENDENT = ("dynamic", "longrope")
_TAKE_MASKS = ("sdpa", "eager")


class RowsTooLarge(Exception):
    """Memory ran out even for the smallest row."""


def packing_obstacle(model: PreTrainedModel, longest: int) -> str | None:
    """Why a model cannot take packed rows, in words; None if nothing known speaks against it.

    Args:
        longest: tokens of the longest sequence.
    """
    parameters = inspect.signature(model.forward).parameters
    config = model.config.get_text_config()
    for name in ("past_key_values", "attention_mask"):
        if name not in parameters:
            return f"{model.config.model_type} models have no {name.replace('_', ' ')}"
    if "position_ids" not in parameters or getattr(config, "alibi", False):
        return f"{model.config.model_type} models take no position ids"
    if "logits_to_keep" not in parameters:
        return f"{model.config.model_type} models compute all logits"
    other = {kind for kind in layer_types(config) if kind not in (FULL, SLIDING)}
    if other:
        return f"the model has layers of type {min(other)}"
    attention = model.config._attn_implementation
    if attention not in _TAKE_MASKS:
        return f"the attention '{attention}' takes no tree mask"
    border = length_border(model)
    if border is not None and longest > border:
        return f"positions beyond {border} tokens depend on the longest sequence of a batch"
    return None


def length_border(model: PreTrainedModel) -> int | None:
    """Tokens beyond which a sequence changes how all positions of its batch are rotated."""
    config = model.config.get_text_config()
    own = getattr(config, "max_position_embeddings", None)
    borders = [
        rope.get("original_max_position_embeddings") or own
        for rope in _rope_settings(config)
        if rope.get("rope_type") in _LENGTH_DEPENDENT
    ]
    return min((int(border) for border in borders if border), default=None)


class PackedScorer:
    """Reads forests with one model; keeps what it learns about good row sizes.

    Args:
        budget: most tokens of a row; None measures which is best.
    """

    def __init__(self, model: PreTrainedModel, budget: int | None = None) -> None:
        self.model = model
        on_cpu, on_cuda = (model.device.type == kind for kind in ("cpu", "cuda"))
        in_runs = on_cpu and model.config._attn_implementation == "sdpa"
        kind: Kind = "cuda" if on_cuda else "cpu" if in_runs else "cpu_dense"
        self.budget = RowBudget(kind) if budget is None else RowBudget(kind, (budget,))
        self._masks = TreeMasks(model, in_runs=in_runs)
        self._dense_attention = SdpaReplaced(model, TREE_ATTENTION).used if in_runs else nullcontext
        # FlexAttention needs a compiler on the CPU, where `tree_attention` is as good.
        self.attention = AttentionChoice(tried=on_cuda)
        self._head = VocabularyHead(model)

    def read(self, forest: Forest) -> Iterator[ReadScores]:
        """The scores of all reads, in order, row by row.

        Raises:
            RowsTooLarge: memory ran out; what was yielded before holds.
        """
        cache, start = PathCache(), 0
        while start < forest.tokens_distinct:
            tokens = self.budget.tokens
            for row in pack(forest, tokens, start):
                try:
                    scores = self._read_row(forest, row, cache)
                except RuntimeError as error:
                    if not is_out_of_memory(error):
                        raise model_failed(error) from error
                    scores = None
                if scores is None:
                    # Outside the handler, so that the failed forward's tensors are free again.
                    self._make_room()
                    break
                start = row.end
                if row.start:  # The first row, with no keys before it, is faster than any other.
                    self.budget.measured(row.end - row.start, scores.seconds)
                if self.budget.settled and self.attention.undecided:
                    self._try_flex_attention(forest, row, cache, scores)
                yield scores
                if self.budget.tokens != tokens:
                    break

    def _make_room(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if self.budget.tokens <= _SMALLEST_ROW:
            raise RowsTooLarge("memory ran out even for the smallest row")
        self.budget.limit(self.budget.tokens // 2)

    def _try_flex_attention(
        self, forest: Forest, row: Row, cache: PathCache, dense: ReadScores
    ) -> None:
        """Feeds a row again with FlexAttention, which must agree and be faster to be kept."""
        try:
            flex = self._read_row(forest, row, cache, flex=True)
            self.attention.measured(dense, flex, self.model.dtype)
        # What a compiler may raise is not to be foreseen; the run goes on without it.
        except Exception:
            self.attention.failed()
        if not self.attention.flex:
            # Later rows look at this one's keys, which must be those of the dense mask.
            self._read_row(forest, row, cache, flex=False)

    def _read_row(
        self, forest: Forest, row: Row, cache: PathCache, *, flex: bool | None = None
    ) -> ReadScores:
        started = time.perf_counter()
        flex = self.attention.flex if flex is None else flex
        device = self.model.device
        places, place = np.unique(forest.read_token[row.reads], return_inverse=True)
        target = forest.read_target[row.reads]
        given = {
            "input_ids": torch.tensor(forest.tokens[row.start : row.end], device=device)[None],
            "position_ids": torch.tensor(row.positions, device=device)[None],
            "attention_mask": self._masks.blocks(row) if flex else self._masks.dense(row),
            "past_key_values": cache,
            "use_cache": True,
        }
        attention = flex_attention(self.model) if flex else self._dense_attention()
        with torch.inference_mode(), attention:
            cache.hold(row)
            scores = TokenScores(
                len(places),
                torch.tensor(place, device=device),
                torch.tensor(target, device=device),
            )
            read_at = torch.tensor(places - row.start, device=device)
            with closing(self._head.logits(given, read_at)) as parts:
                for part in parts:
                    scores.add(*part)
            logprobs, greedy = scores.result()
        if not flex:
            self._masks.attended(len(cache.layers))
        if device.type == "cuda":
            # A row without reads copies nothing back, which would wait for it.
            torch.cuda.synchronize(device)
        return ReadScores(row.reads.stop, logprobs, greedy, time.perf_counter() - started)


def _rope_settings(config: PretrainedConfig) -> list[dict[str, Any]]:
    """How positions are rotated: one setting, or one for each type of layer."""
    given = getattr(config, "rope_parameters", None) or {}
    nested = [value for value in given.values() if isinstance(value, dict)]
    return nested or [given]


class PathCache(Cache):  # type: ignore[misc]
    """Keys and values of the path to a row and of the row itself."""

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=_PathLayer)
        self._held = np.empty(0, dtype=np.int64)

    def hold(self, row: Row) -> None:
        """Makes ready for a row: keeps its path of what is held, and forgets the rest."""
        path = row.keys[: row.cached]
        source = np.searchsorted(self._held, path)
        apart = int(np.count_nonzero(source == np.arange(row.cached)))
        for layer in self.layers:
            layer.keep(apart, source[apart:])
        self._held = row.keys


class _PathLayer(DynamicLayer):  # type: ignore[misc]
    """One layer of it: written on in place, in a buffer that is seldom made anew."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.length = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states[..., :0, :], value_states[..., :0, :]
        end = self.length + key_states.shape[-2]
        if end > self.keys.shape[-2]:
            self.keys = self._grown(self.keys, end)
            self.values = self._grown(self.values, end)
        self.keys[..., self.length : end, :] = key_states
        self.values[..., self.length : end, :] = value_states
        self.length = end
        return self.keys[..., :end, :], self.values[..., :end, :]

    def get_seq_length(self) -> int:
        return self.length

    def keep(self, first: int, others: IntArray) -> None:
        """Keeps the first tokens and those at some later places, and forgets the rest."""
        self.length = first + len(others)
        if len(others):
            source = torch.tensor(others, device=self.keys.device)
            for held in (self.keys, self.values):
                held[..., first : self.length, :] = held.index_select(-2, source)

    def _grown(self, tensor: torch.Tensor, tokens: int) -> torch.Tensor:
        # A little more than is asked for, so that rows of almost one length do not copy each time.
        room = tokens + tokens // 8
        grown = tensor.new_empty((*tensor.shape[:-2], room, tensor.shape[-1]))
        grown[..., : self.length, :] = tensor[..., : self.length, :]
        return grown
