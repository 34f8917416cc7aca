"""Batches of what fits, longest first, and halving on out-of-memory.

Longest first: the largest batch comes first, so memory runs out early or never, and time
estimates err on the long side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from ko_eval.errors import ModelError, first_line

Item = TypeVar("Item")
Result = TypeVar("Result")


def batches(items: Sequence[Item], fits: Callable[[Sequence[Item]], bool]) -> Iterator[list[Item]]:
    """Consecutive batches that fit, as large as possible.

    Args:
        items: longest first.
        fits: whether these items may form one batch; a single item always may.
    """
    batch: list[Item] = []
    for item in items:
        if batch and not fits([*batch, item]):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def halving(
    batch: Sequence[Item],
    compute: Callable[[Sequence[Item]], list[Result]],
    shrink: Callable[[], None],
) -> list[Result | None]:
    """Computes a batch; where memory runs out, its halves, down to single items.

    Args:
        shrink: is told each time that memory ran out, to make the batches to come smaller.

    Returns:
        One result per item, in order; None for an item that does not fit even alone.
    """
    import torch

    try:
        return list(compute(batch))
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise model_failed(error) from error
    # Outside the handler, so that the failed forward's tensors are free again.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    shrink()
    if len(batch) == 1:
        return [None]
    middle = len(batch) // 2
    return halving(batch[:middle], compute, shrink) + halving(batch[middle:], compute, shrink)


def model_failed(error: RuntimeError) -> ModelError:
    """What a user is told when a model's own computation fails."""
    return ModelError(
        f"the model failed: {first_line(error)}",
        hint="add --debug to see where; nothing that was answered is lost",
    )


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch ran out of memory, on a GPU or on the CPU."""
    import torch

    text = str(error).lower()
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "can't allocate memory" in text
        or "not enough memory" in text
        or "out of memory" in text
        or "alloc_failed" in text
    )
