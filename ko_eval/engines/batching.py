"""Batches by token budget, longest first, and halving on out-of-memory.

Longest first: the largest batch comes first, so memory runs out at once or never, and time
estimates err on the long side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from ko_eval.errors import ModelError

Item = TypeVar("Item")
Result = TypeVar("Result")


def batches(
    items: Sequence[Item],
    length: Callable[[Item], int],
    *,
    budget: int,
    most_rows: int,
) -> Iterator[list[Item]]:
    """Consecutive batches whose padded size stays within a budget.

    Args:
        items: longest first.
        length: tokens of an item.
        budget: most tokens of a batch, padding included; one item always fits.
        most_rows: most items of a batch.
    """
    batch: list[Item] = []
    longest = 0
    for item in items:
        longest_then = max(longest, length(item))
        if batch and (longest_then * (len(batch) + 1) > budget or len(batch) >= most_rows):
            yield batch
            batch, longest_then = [], length(item)
        batch.append(item)
        longest = longest_then
    if batch:
        yield batch


def halving(
    batch: Sequence[Item], compute: Callable[[Sequence[Item]], list[Result]]
) -> list[Result | None]:
    """Computes a batch; where memory runs out, its halves, down to single items.

    Returns:
        One result per item, in order; None for an item that does not fit even alone.
    """
    import torch

    try:
        return list(compute(batch))
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise ModelError(
                f"the model failed: {(str(error).splitlines() or [''])[0][:200]}",
                hint="add --debug to see where; nothing that was answered is lost",
            ) from error
    # Outside the handler, so that the failed forward's tensors are free again.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(batch) == 1:
        return [None]
    middle = len(batch) // 2
    return halving(batch[:middle], compute) + halving(batch[middle:], compute)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch ran out of memory, on a GPU or on the CPU."""
    import torch

    text = str(error).lower()
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "can't allocate memory" in text
        or "not enough memory" in text
    )
