"""The final table of a run: shown value, interval, n and outcomes per task, and the average."""

from __future__ import annotations

from math import isclose

from rich.table import Table
from rich.text import Text

from ko_eval.runs.result import Index, RunResult, TaskReport, Value

BUNDLED_NOTE = (
    "Bundled data: original items written for ko-eval. These scores are not comparable with the "
    "leaderboard, whose test sets are private."
)
HUB_NOTE = (
    "Hub data: public equivalents. These scores are not comparable with the leaderboard, whose "
    "test sets are private."
)


def result_table(result: RunResult) -> Table:
    """Scores on the board's scale, with 95 % intervals."""
    table = Table(title=_title(result), title_justify="left", header_style="bold")
    table.add_column("Task")
    table.add_column("Metric")
    table.add_column("Score", justify="right")
    table.add_column("95% interval", justify="right")
    with_loss = any(task.format_loss for task in result.tasks)
    if with_loss:
        table.add_column("Format loss", justify="right")
    table.add_column("n", justify="right")
    table.add_column("Outcomes")
    for task in result.tasks:
        table.add_row(
            Text(task.title if task.variant is None else f"{task.title} ({task.variant})"),
            Text(task.metric),
            f"{task.shown.value:.2f}",
            interval(task.shown),
            *([format_loss(task)] if with_loss else []),
            str(task.n),
            outcomes(task),
        )
    if result.average is not None:
        table.add_section()
        label = "Average" if result.suite else f"Average of {len(result.tasks)}"
        table.add_row(
            Text(label, style="bold"),
            "",
            Text(f"{result.average.value:.2f}", style="bold"),
            interval(result.average),
        )
    if result.index is not None:
        _add_index(table, result.index, result.average)
    return table


def _add_index(table: Table, index: Index, average: Value | None) -> None:
    """The index with its categories; before it the plain average by the published metrics, where
    the shown values are of others and so is their average."""
    plain = index.plain_average
    if average is None or not isclose(average.value, plain.value, abs_tol=0.005):
        table.add_row("Average, published metrics", "", f"{plain.value:.2f}", interval(plain))
    table.add_section()
    table.add_row(
        Text(f"Index ({index.name})", style="bold"),
        "corrected for chance",
        Text(f"{index.shown.value:.2f}", style="bold"),
        interval(index.shown),
    )
    for category in index.categories:
        table.add_row(
            Text(f"  {category.name}"),
            f"weight {100 * category.weight:.3g} %",
            f"{category.shown.value:.2f}",
            interval(category.shown),
        )


def interval(value: Value) -> str:
    """`[12.34, 23.45]`, or a dash where one value has no interval."""
    if value.low is None or value.high is None:
        return "–"
    return f"[{value.low:.2f}, {value.high:.2f}]"


def outcomes(task: TaskReport) -> str:
    """The outcomes that occurred: `ok 38, no_answer 2`."""
    return ", ".join(f"{name} {count}" for name, count in task.outcomes.items() if count)


def format_loss(task: TaskReport) -> str:
    """How much more the Korean-aware metric gives than the published one; a dash without one."""
    return "–" if task.format_loss is None else f"{task.format_loss.shown.value:+.2f}"


def group_line(task: TaskReport) -> str | None:
    """The shown value per subject or other group in one line; None for a task without groups."""
    if not task.groups:
        return None
    values = (f"{name or '(none)'} {value.value:.1f}" for name, value in task.groups.items())
    return f"{task.title}: " + ", ".join(values)


def usage_line(result: RunResult) -> str | None:
    """What the run took against what it asked for; None for results that do not say."""
    used = [task.usage for task in result.tasks if task.usage is not None]
    if not used:
        return None
    asked, distinct = sum(u.tokens_asked for u in used), sum(u.tokens_distinct for u in used)
    fewer = asked / distinct
    line = f"{asked:,} tokens to read, {distinct:,} of them distinct ({fewer:.1f} times fewer)"
    if most := sum(u.tokens_most for u in used):
        line += f"; {sum(u.tokens_written for u in used):,} written of at most {most:,}"
    return f"{line}; {sum(task.seconds for task in result.tasks):,.1f} s of the engine."


def cost_line(result: RunResult) -> str | None:
    """What a server's answers cost; None without a price."""
    if result.cost is None:
        return None
    return f"Cost by the prices in configs/models: {result.cost.amount:,.4f} {result.cost.currency}"


FORMAT_LOSS_NOTE = (
    "Format loss: what the Korean-aware reading of the same responses finds beyond the published "
    "one."
)


def data_note(result: RunResult) -> str | None:
    """One line on what the scores may not be compared with."""
    labels = {task.data.label for task in result.tasks}
    if "bundled" in labels:
        return BUNDLED_NOTE
    return HUB_NOTE if "hub" in labels else None


def _title(result: RunResult) -> Text:
    what = result.suite or "tasks"
    limit = f", first {result.limit} rows per task" if result.limit is not None else ""
    return Text(f"{result.model.name}: {what}, {result.data} data{limit}", style="bold")
