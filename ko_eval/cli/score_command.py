"""`ko-eval score TASK --responses FILE`: judges responses made elsewhere; needs no model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ko_eval.cli.boundary import boundary
from ko_eval.cli.output import write

if TYPE_CHECKING:
    from ko_eval.types import TaskResult


def score(
    task: Annotated[str, typer.Argument(help="A task's name or the path of its YAML file.")],
    responses: Annotated[
        Path,
        typer.Option(
            help='JSON Lines: {"id": …, "response": "…"} or {"id": …, "loglikelihoods": [..]}; '
            "or a sample log of lm-evaluation-harness."
        ),
    ],
    data: Annotated[
        str, typer.Option(help="The rows that were asked: bundled, hub, hub:OWNER/NAME, or a path.")
    ] = "bundled",
    variant: Annotated[str | None, typer.Option(help="A variant of the task.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first rows.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    samples_out: Annotated[
        Path | None, typer.Option(help="Write one JSON line per sample here.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Score responses made elsewhere."""
    with boundary(debug=debug):
        from ko_eval.errors import DataError
        from ko_eval.interop.lm_eval_logs import is_sample_log, read_sample_log
        from ko_eval.reports.table import BUNDLED_NOTE
        from ko_eval.runs.files import write_atomically
        from ko_eval.runs.scoring import by_sample, read_responses, sample_line, score_task
        from ko_eval.tasks.prepare import prepare_samples
        from ko_eval.tasks.registry import load_task

        definition = load_task(task, variant=variant)
        if not responses.is_file():
            raise DataError(f"there is no response file '{responses}'", hint="check the path")
        scorer, rows, rendered = prepare_samples(definition, data, limit=limit)
        samples = [item.sample for item in rendered]
        given = (
            read_sample_log(responses, definition, rows, samples)
            if is_sample_log(responses)
            else read_responses(responses)
        )
        result, scores = score_task(
            definition, scorer, samples, by_sample(given, samples, str(responses))
        )
        if samples_out is not None:
            lines = [sample_line(one) for one in scores]
            write_atomically(samples_out, "".join(line + "\n" for line in lines))
        if json_output:
            write(_as_json(result, definition.scale))
        else:
            _print_table(result, definition.scale)
            if data == "bundled":
                write(BUNDLED_NOTE)


def _as_json(result: TaskResult, scale: float) -> str:
    import json

    from ko_eval.runs.scoring import metric_fields
    from ko_eval.stats.estimates import scaled

    content = {
        "task": result.task,
        "n": result.n,
        "metrics": {name: metric_fields(metric) for name, metric in result.metrics.items()},
        "outcomes": {outcome.value: count for outcome, count in result.outcomes.items()},
    }
    # As the metrics: in their own unit, not in the points of the shown score.
    own = 1 / scale
    if result.groups:
        content["groups"] = {
            name: metric_fields(scaled(metric, own)) for name, metric in result.groups.items()
        }
    if loss := result.format_loss:
        content["format_loss"] = {
            "published": loss.published,
            "korean": loss.korean,
            **metric_fields(scaled(loss.shown, own)),
        }
    return json.dumps(content, ensure_ascii=False)


def _print_table(result: TaskResult, scale: float) -> None:
    from rich.table import Table

    from ko_eval.cli.console import stdout_console

    table = Table(title=f"{result.title} (n = {result.n})", title_justify="left")
    for heading in ("Metric", "Value", "Standard error", "95% interval"):
        table.add_column(heading, justify="left" if heading == "Metric" else "right")
    for name, metric in result.metrics.items():
        interval = "–" if metric.low is None else f"[{metric.low:.4f}, {metric.high:.4f}]"
        error = "–" if metric.stderr is None else f"{metric.stderr:.4f}"
        table.add_row(name, f"{metric.value:.4f}", error, interval)
    console = stdout_console()
    console.print(table)
    counts = ", ".join(f"{o.value} {count}" for o, count in result.outcomes.items() if count)
    console.print(f"Outcomes: {counts}")
    if result.groups:
        values = (
            f"{name or '(none)'} {metric.value / scale:.4f}"
            for name, metric in result.groups.items()
        )
        console.print(f"{result.metric} by group: " + ", ".join(values), soft_wrap=True)
    if loss := result.format_loss:
        console.print(
            f"Format loss: {loss.shown.value / scale:+.4f} ({loss.korean} less {loss.published})"
        )
