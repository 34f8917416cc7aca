"""What a run took: tokens written, and money, by a server's bill or by a price that was given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ko_eval.reports.leaderboard.model_facts import Price
from ko_eval.runs.result import RunResult, TaskReport

CostSource = Literal["run", "models"]


@dataclass(frozen=True, slots=True)
class Spent:
    """What one run took.

    Attributes:
        read: tokens.
        written: tokens generated, thinking included; of servers, scored ones as well.
        thinking: of these, where it is known.
        seconds: of the engine.
        cost: None without a price.
        cost_from: the run itself, or the price in the file of models.
    """

    read: int
    written: int
    thinking: int
    seconds: float
    cost: float | None
    currency: str | None
    cost_from: CostSource | None


def spent(result: RunResult, price: Price | None) -> Spent:
    """What a run took.

    Args:
        price: of the model, for runs that know none.
    """
    written = sum(_written(task) for task in result.tasks)
    read = sum(task.tokens.prompt + task.tokens.completion for task in result.tasks) - written
    cost, currency, source = _cost(result, price, read, written)
    return Spent(
        read=read,
        written=written,
        thinking=sum(task.tokens.thinking for task in result.tasks),
        seconds=sum(task.seconds for task in result.tasks),
        cost=cost,
        currency=currency,
        cost_from=source,
    )


def _cost(
    result: RunResult, price: Price | None, read: int, written: int
) -> tuple[float | None, str | None, CostSource | None]:
    if result.cost is not None:
        return result.cost.amount, result.cost.currency, "run"
    if price is None:
        return None, None, None
    amount = (read * price.input_per_million + written * price.output_per_million) / 1e6
    return amount, price.currency, "models"


def _written(task: TaskReport) -> int:
    """Results before 1.2 and those of servers do not tell what was scored from what was written."""
    if task.usage is None:
        return task.tokens.completion
    return min(task.usage.tokens_written, task.tokens.completion)
