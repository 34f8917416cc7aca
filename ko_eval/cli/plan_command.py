"""`ko-eval plan MODEL`: what a run would take, from the tokenizer alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ko_eval.cli.boundary import boundary
from ko_eval.cli.options import (
    AllowFewshotOverlap,
    ChatTemplateOption,
    Data,
    Debug,
    Limit,
    MaxLength,
    Model,
    Revision,
    Shots,
    Suite,
    Tasks,
    TrustRemoteCode,
    Variant,
)
from ko_eval.cli.output import write

if TYPE_CHECKING:
    from ko_eval.runs.estimate import Workload
    from ko_eval.runs.plan import RunOptions


def plan(
    model: Model,
    suite: Suite = None,
    tasks: Tasks = None,
    variant: Variant = None,
    data: Data = "bundled",
    limit: Limit = None,
    shots: Shots = None,
    allow_fewshot_overlap: AllowFewshotOverlap = False,
    chat_template: ChatTemplateOption = "auto",
    revision: Revision = None,
    max_length: MaxLength = None,
    earlier: Annotated[
        Path | None,
        typer.Option("--from", help="An earlier run: its speeds and its answers' lengths count."),
    ] = None,
    read_speed: Annotated[
        float | None, typer.Option(help="Tokens read per second (prompts and scored texts).")
    ] = None,
    write_speed: Annotated[
        float | None,
        typer.Option(help="Tokens written per second, by all answers together; with --read-speed."),
    ] = None,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs that give these speeds together.")] = 1,
    price_per_gpu_hour: Annotated[float | None, typer.Option(help="In any currency.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    trust_remote_code: TrustRemoteCode = False,
    debug: Debug = False,
) -> None:
    """Count the tokens of a run before it; with speeds, its time and price."""
    with boundary(debug=debug):
        from ko_eval.cli.choices import one_of, suite_and_tasks
        from ko_eval.engines.encoding import ChatTemplate
        from ko_eval.errors import UsageError
        from ko_eval.runs.estimate import Speeds, estimate, measured_new, measured_speeds
        from ko_eval.runs.plan import RunOptions
        from ko_eval.runs.result import read_result

        chosen_suite, chosen_tasks = suite_and_tasks(suite, tasks)
        for option, speed in (
            ("--read-speed", read_speed),
            ("--write-speed", write_speed),
            ("--price-per-gpu-hour", price_per_gpu_hour),
        ):
            if speed is not None and not 0 < speed < float("inf"):
                raise UsageError(f"{option} must be a number above 0, not {speed}")
        template: ChatTemplate = one_of("--chat-template", chat_template, ("auto", "on", "off"))
        before = None if earlier is None else read_result(earlier)
        measured = (
            Speeds(read_speed) if before is None else measured_speeds(before, read=read_speed)
        )
        speeds = Speeds(measured.read, write_speed or measured.write)
        if write_speed is not None and speeds.read is None:
            raise UsageError(
                "--write-speed was given, but no speed of reading: prompts are read first",
                hint="add --read-speed",
            )
        options = RunOptions(
            model=model,
            suite=chosen_suite,
            tasks=chosen_tasks,
            variant=variant,
            data=data,
            limit=limit,
            shots=shots,
            allow_fewshot_overlap=allow_fewshot_overlap,
            chat_template=template,
            revision=revision,
            max_length=max_length,
        )
        planned, workloads = _workloads(options, trust_remote_code=trust_remote_code)
        if before is not None and before.model.name != planned:
            other = f"warning: --from is a run of '{before.model.name}', not of '{planned}'"
            write(other, err=True)
        estimated = estimate(
            workloads,
            speeds,
            new_per_request={} if before is None else measured_new(before),
            gpus=gpus,
            price_per_gpu_hour=price_per_gpu_hour,
        )
        if json_output:
            import dataclasses
            import json

            content = {
                "model": model,
                "from_model": None if before is None else before.model.name,
                "speeds": dataclasses.asdict(speeds),
                "gpus": gpus,
                **dataclasses.asdict(estimated),
            }
            write(json.dumps(content, ensure_ascii=False))
            return
        from ko_eval.cli.console import stdout_console
        from ko_eval.reports.plan_table import plan_notes, plan_table

        console = stdout_console()
        console.print(plan_table(estimated))
        for line in plan_notes(estimated, speeds, gpus, before):
            console.print(line, soft_wrap=True)


def _workloads(
    options: RunOptions, *, trust_remote_code: bool
) -> tuple[str, list[tuple[str, str, Workload]]]:
    """The model's name; name, title and workload of each task."""
    from ko_eval.cli.encoders import load_encoder
    from ko_eval.runs.estimate import workload
    from ko_eval.runs.plan import load_tasks
    from ko_eval.tasks.prepare import prepare_task

    _, definitions = load_tasks(options)
    prepared = [
        prepare_task(
            task,
            options.data,
            shots=options.shots,
            limit=options.limit,
            allow_fewshot_overlap=options.allow_fewshot_overlap,
        )
        for task, _ in definitions
    ]
    folder, encoder = load_encoder(
        options.model,
        options.chat_template,
        options.max_length,
        revision=options.revision,
        trust_remote_code=trust_remote_code,
    )
    return folder.name, [
        (task.definition.name, task.definition.title, workload(encoder.encode(task.requests)))
        for task in prepared
    ]
