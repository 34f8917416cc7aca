"""`ko-eval doctor [MODEL] [--task T]`: examines a model and tasks before any evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ko_eval.cli.boundary import boundary
from ko_eval.cli.output import write

if TYPE_CHECKING:
    from ko_eval.doctor.findings import Finding
    from ko_eval.engines.encoding import ChatTemplate
    from ko_eval.tasks.definition import TaskDefinition


def doctor(
    model: Annotated[
        str | None, typer.Argument(help="A model folder, a Hugging Face id, or 'demo'.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Tasks: names or YAML paths, comma-separated.")
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="A suite's tasks. Default with MODEL: leaderboard2.")
    ] = None,
    variant: Annotated[
        str | None, typer.Option(help="Variant, for every task that has it.")
    ] = None,
    data: Annotated[str, typer.Option(help="bundled, hub, hub:OWNER/NAME, or a path.")] = "bundled",
    chat_template: Annotated[str, typer.Option(help="auto (generation only), on or off.")] = "auto",
    max_length: Annotated[int | None, typer.Option(min=16, help="Window in tokens.")] = None,
    all_items: Annotated[
        bool, typer.Option("--all", help="List everything found, not the first few.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that the model brings.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Examine a model, or tasks and their data; exit 1 when a check fails."""
    with boundary(debug=debug):
        from ko_eval.cli.choices import one_of
        from ko_eval.errors import UsageError

        template: ChatTemplate = one_of("--chat-template", chat_template, ("auto", "on", "off"))
        if model is None and task is None and suite is None:
            raise UsageError(
                "nothing to examine was named", hint="give a MODEL, --task NAME or --suite NAME"
            )
        if task is not None and suite is not None:
            raise UsageError("--task and --suite were both given", hint="give one of them")
        tasks = _tasks(task, suite or ("leaderboard2" if task is None else None), variant)
        findings: list[Finding] = []
        if task is not None or suite is not None:
            findings += _examined_tasks(tasks, data)
        if model is not None:
            findings += _examined_model(
                model, tasks, data, template, max_length, trust_remote_code=trust_remote_code
            )
        _show(findings, all_items=all_items, json_output=json_output)
        if any(finding.verdict == "fail" for finding in findings):
            raise SystemExit(1)


def _tasks(task: str | None, suite: str | None, variant: str | None) -> list[TaskDefinition]:
    from ko_eval.runs.plan import RunOptions, load_tasks

    names = tuple(part.strip() for part in (task or "").split(",") if part.strip())
    _, tasks = load_tasks(RunOptions(model="", suite=suite, tasks=names, variant=variant))
    return [definition for definition, _ in tasks]


def _examined_tasks(tasks: list[TaskDefinition], data: str) -> list[Finding]:
    from ko_eval.doctor.task_checks import examine_task

    return [finding for task in tasks for finding in examine_task(task, data)]


def _examined_model(
    model: str,
    tasks: list[TaskDefinition],
    data: str,
    template: ChatTemplate,
    max_length: int | None,
    *,
    trust_remote_code: bool,
) -> list[Finding]:
    from ko_eval.cli.encoders import load_encoder
    from ko_eval.doctor.model_checks import examine_model
    from ko_eval.tasks.prepare import prepare_task

    folder, encoder = load_encoder(model, template, max_length, trust_remote_code=trust_remote_code)
    prepared = [prepare_task(task, data, allow_fewshot_overlap=True) for task in tasks]
    return examine_model(folder, encoder.tokenizer, encoder, prepared)


def _show(findings: list[Finding], *, all_items: bool, json_output: bool) -> None:
    import dataclasses
    import json

    from rich.table import Table
    from rich.text import Text

    from ko_eval.cli.console import stdout_console
    from ko_eval.doctor.findings import SHOWN_EXAMPLES

    counts = {v: sum(f.verdict == v for f in findings) for v in ("pass", "warn", "fail")}
    if json_output:
        content = {"counts": counts, "findings": [dataclasses.asdict(f) for f in findings]}
        write(json.dumps(content, ensure_ascii=False))
        return
    styles = {"pass": "green", "warn": "yellow", "fail": "bold red"}
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("Subject", "Check", "Verdict", "Finding"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        shown = finding.items if all_items else finding.items[:SHOWN_EXAMPLES]
        lines = [finding.text, *(f"  {item}" for item in shown)]
        if rest := len(finding.items) - len(shown):
            lines.append(f"  … and {rest} more (--all lists them)")
        verdict = Text(finding.verdict, style=styles[finding.verdict])
        table.add_row(finding.subject, finding.check, verdict, Text("\n".join(lines)))
    console = stdout_console()
    console.print(table)
    console.print(f"{counts['pass']} passed, {counts['warn']} warnings, {counts['fail']} failed")
