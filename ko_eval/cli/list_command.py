"""`ko-eval list`: what there is to run."""

from __future__ import annotations

import atexit
import gc
from typing import TYPE_CHECKING, Annotated

import typer

from ko_eval.cli.boundary import boundary

if TYPE_CHECKING:
    from ko_eval.runs.cards import Card


def list_(
    what: Annotated[str, typer.Argument(help="tasks, suites, models, cards or metrics.")] = "tasks",
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """List the registered tasks, suites, model settings, score cards or `evaluate` metrics."""
    # Start-up: at its end an interpreter searches all that it imported for cycles, for nothing.
    atexit.register(gc.freeze)
    with boundary(debug=debug):
        from rich.table import Table

        from ko_eval.cli.choices import one_of
        from ko_eval.cli.console import stdout_console

        kind = one_of("list", what, ("tasks", "suites", "models", "cards", "metrics"))
        rows = {
            "tasks": _tasks,
            "suites": _suites,
            "models": _models,
            "cards": _cards,
            "metrics": _metrics,
        }[kind]()
        table = Table(box=None, header_style="bold", pad_edge=False)
        for heading in rows[0]:
            table.add_column(heading, overflow="fold")
        for row in rows[1:]:
            table.add_row(*row)
        stdout_console().print(table)
        if kind == "metrics":
            from ko_eval.cli.output import write
            from ko_eval.interop.metric_list import METRICS_FOLDER

            write(f"evaluate.load('{METRICS_FOLDER}/NAME')")


def _tasks() -> list[tuple[str, ...]]:
    from ko_eval.tasks.registry import load_task, task_names, variants_of

    rows: list[tuple[str, ...]] = [
        ("Task", "Title", "Category", "Asks", "Shots", "Metric", "Data", "Variants")
    ]
    for name in task_names():
        task = load_task(name, check_scorer=False)
        sources = [
            label
            for label, there in (("bundled", task.data.bundled), ("hub", task.data.hub))
            if there
        ]
        rows.append(
            (
                name,
                task.title,
                task.category,
                task.request.value,
                str(task.fewshot.count),
                task.metric or "",
                ", ".join(sources) or "path",
                ", ".join(variants_of(task)),
            )
        )
    return rows


def _suites() -> list[tuple[str, ...]]:
    from ko_eval.tasks.registry import load_suite, suite_names

    suites = [load_suite(name) for name in suite_names()]
    return [
        ("Suite", "Title", "Tasks"),
        *((suite.name, suite.title, ", ".join(suite.tasks)) for suite in suites),
    ]


def _models() -> list[tuple[str, ...]]:
    from ko_eval.engines.model_settings import all_settings

    return [
        ("Settings", "For models", "Thought", "Tokens for it"),
        *(
            (
                name,
                ", ".join([*s.match.model_type, *s.match.name]) or "all others",
                f"{s.reasoning.start} … {s.reasoning.end}",
                str(s.reasoning.max_tokens),
            )
            for name, s in all_settings().items()
        ),
    ]


def _cards() -> list[tuple[str, ...]]:
    from ko_eval.runs.cards import all_cards

    rows: list[tuple[str, ...]] = [("Card", "Model", "Tasks", "Average", "Data", "Date", "Source")]
    for name, card in all_cards().items():
        average = "–" if card.average is None else f"{card.average:.2f}"
        tasks = ", ".join(card.tasks) if card.suite is None else _suite_tasks(card)
        rows.append((name, card.model, tasks, average, card.data, card.date, card.source))
    return rows


def _suite_tasks(card: Card) -> str:
    whole = "" if card.average is not None else f", {len(card.tasks)} tasks"
    return f"{card.suite}{whole}"


def _metrics() -> list[tuple[str, ...]]:
    from ko_eval.interop.metric_list import METRIC_MODULES

    return [
        ("Metric", "Predictions", "References", "Gives"),
        *(
            (name, m.predictions, m.references, ", ".join(m.metrics))
            for name, m in METRIC_MODULES.items()
        ),
    ]
