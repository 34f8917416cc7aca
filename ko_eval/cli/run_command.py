"""`ko-eval run MODEL`: evaluates a model and prints its scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ko_eval.cli.boundary import boundary
from ko_eval.cli.options import (
    AllowFewshotOverlap,
    ChatTemplateOption,
    Concurrency,
    Data,
    Debug,
    Limit,
    MaxLength,
    ModelName,
    OptionalModel,
    RequestTimeout,
    Revision,
    Shots,
    Suite,
    Tasks,
    ThinkingTokens,
    TrustRemoteCode,
    Variant,
)
from ko_eval.cli.pack_option import ask_no_hub, is_default, with_pack

if TYPE_CHECKING:
    from ko_eval.interop.tracking import Tracker
    from ko_eval.runs.evaluate import RunOutcome
    from ko_eval.runs.plan import RunOptions


def run(
    context: typer.Context,
    model: OptionalModel = None,
    suite: Suite = None,
    tasks: Tasks = None,
    variant: Variant = None,
    data: Data = "bundled",
    pack: Annotated[
        Path | None,
        typer.Option(help="A file of `ko-eval pack`: its tasks, data and model; no network."),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="auto (vLLM where it and a GPU are there), transformers, vllm; server for a URL."
        ),
    ] = "auto",
    model_name: ModelName = None,
    concurrency: Concurrency = None,
    thinking_tokens: ThinkingTokens = None,
    request_timeout: RequestTimeout = None,
    limit: Limit = None,
    shots: Shots = None,
    allow_fewshot_overlap: AllowFewshotOverlap = False,
    chat_template: ChatTemplateOption = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    device_map: Annotated[
        str | None, typer.Option(help="Spread the model over GPUs: auto, balanced, sequential.")
    ] = None,
    adapter: Annotated[str | None, typer.Option(help="Folder of a LoRA adapter.")] = None,
    revision: Revision = None,
    max_length: MaxLength = None,
    batch_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of a likelihood batch.")
    ] = None,
    batch_rows: Annotated[
        int | None, typer.Option(min=1, help="Most rows of a generation batch.")
    ] = None,
    likelihood: Annotated[
        str, typer.Option(help="auto (each distinct token once) or plain (a row per choice).")
    ] = "auto",
    tensor_parallel: Annotated[
        int, typer.Option(min=1, help="vLLM: GPUs that share each layer.")
    ] = 1,
    pipeline_parallel: Annotated[
        int, typer.Option(min=1, help="vLLM: groups of GPUs that share the layers out.")
    ] = 1,
    memory_share: Annotated[
        float | None, typer.Option(help="vLLM: share of GPU memory to take, such as 0.9.")
    ] = None,
    quantization: Annotated[
        str | None, typer.Option(help="vLLM: method, when not the checkpoint's own.")
    ] = None,
    engine_arg: Annotated[
        list[str] | None, typer.Option(help="vLLM: any field of EngineArgs, as key=value.")
    ] = None,
    replicas: Annotated[
        str, typer.Option(help="Engines that share the work: a number, or auto (one per GPU).")
    ] = "1",
    ray_address: Annotated[
        str | None, typer.Option(help="Ray cluster for the replicas: auto, host:port or ray://….")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed for tasks that sample.")] = 0,
    track: Annotated[
        list[str] | None,
        typer.Option(help="Send the scores: tensorboard:DIR, wandb[:PROJECT] or mlflow[:URI]."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where run directories go.")] = Path("results"),
    trust_remote_code: TrustRemoteCode = False,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Load pickle weights, which can run code.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Evaluate MODEL; run the same command again to continue where it stopped."""
    with boundary(debug=debug, resumable=True):
        if pack is not None:
            ask_no_hub()
        from ko_eval.cli.choices import number_or_auto, one_of, suite_and_tasks
        from ko_eval.engines.base import LikelihoodPath
        from ko_eval.engines.encoding import ChatTemplate
        from ko_eval.engines.server_options import server_options
        from ko_eval.engines.transformers_loading import LoadOptions
        from ko_eval.engines.vllm_options import EngineChoice, VllmOptions, parse_engine_args
        from ko_eval.errors import UsageError
        from ko_eval.runs.plan import RunOptions

        trackers = _trackers(track or [])
        chosen_suite, chosen_tasks = suite_and_tasks(suite, tasks)
        engines: tuple[EngineChoice, ...] = ("auto", "transformers", "vllm", "server")
        engine_choice: EngineChoice = one_of("--engine", engine, engines)
        template: ChatTemplate = one_of("--chat-template", chat_template, ("auto", "on", "off"))
        path: LikelihoodPath = one_of("--likelihood", likelihood, ("auto", "plain"))
        if model is None and pack is None:
            raise UsageError(
                "no MODEL was given", hint="name a model, or with --pack a pack that holds one"
            )
        options = RunOptions(
            model=model or "",
            suite=chosen_suite,
            tasks=chosen_tasks,
            variant=variant,
            data=data,
            limit=limit,
            shots=shots,
            allow_fewshot_overlap=allow_fewshot_overlap,
            chat_template=template,
            engine=engine_choice,
            vllm=VllmOptions(
                tensor_parallel=tensor_parallel,
                pipeline_parallel=pipeline_parallel,
                memory_share=memory_share,
                quantization=quantization,
                engine_args=parse_engine_args(engine_arg or ()),
            ),
            server=server_options(model_name, concurrency, thinking_tokens, request_timeout),
            load=LoadOptions(
                dtype=dtype,
                device=device,
                device_map=device_map,
                adapter=adapter,
                trust_remote_code=trust_remote_code,
                allow_pickle=allow_pickle,
            ),
            revision=revision,
            max_length=max_length,
            seed=seed,
            batch_tokens=batch_tokens,
            batch_rows=batch_rows,
            likelihood=path,
            replicas=number_or_auto("--replicas", replicas),
            ray_address=ray_address,
            out=out,
        )
        if pack is not None:
            options = with_pack(
                options,
                pack,
                suite=suite,
                tasks=None if tasks is None else chosen_tasks,
                data=None if is_default(context, "data") else data,
            )
        _evaluate_and_print(options, trackers)


def _trackers(targets: Sequence[str]) -> list[Tracker]:
    """What takes the scores, found before anything is asked."""
    if not targets:
        return []
    from ko_eval.interop.tracking import tracker

    return [tracker(target) for target in targets]


def _evaluate_and_print(options: RunOptions, trackers: Sequence[Tracker]) -> None:
    from ko_eval.cli.console import stderr_console, stdout_console
    from ko_eval.cli.progress import ConsoleReporter
    from ko_eval.cluster.replicas import engine_loader
    from ko_eval.reports.table import (
        FORMAT_LOSS_NOTE,
        cost_line,
        data_note,
        group_line,
        result_table,
        usage_line,
    )
    from ko_eval.runs.evaluate import evaluate

    with ConsoleReporter(stderr_console()) as reporter, engine_loader(options) as load:
        outcome = evaluate(options, reporter, load)
    console = stdout_console()
    console.print(result_table(outcome.result))
    for task in outcome.result.tasks:
        if line := group_line(task):
            console.print(line, soft_wrap=True)
    if any(task.format_loss for task in outcome.result.tasks):
        console.print(FORMAT_LOSS_NOTE, soft_wrap=True)
    if note := data_note(outcome.result):
        console.print(note, soft_wrap=True)
    for task in outcome.result.tasks:
        for text in task.notes:
            console.print(f"{task.title}: {text}", soft_wrap=True)
    console.print(
        f"Asked the model {outcome.asked} requests; {outcome.answered_before} answered before.",
    )
    for line in (usage_line(outcome.result), cost_line(outcome.result)):
        if line is not None:
            console.print(line, soft_wrap=True)
    if (page := _report_written(outcome.directory)) is not None:
        private = any(task.data.label == "private" for task in outcome.result.tasks)
        note = " (holds the private items; `ko-eval report RUN --no-samples` does not)"
        console.print(f"Report: {page}{note if private else ''}", soft_wrap=True, markup=False)
    console.print(f"Results: {outcome.directory / 'results.json'}", soft_wrap=True)
    for one in trackers:
        _send(one, outcome)
    if outcome.result.failed:
        stderr_console().print(
            f"{outcome.result.failed} samples failed; run the same command again to retry them"
        )
        raise SystemExit(1)


def _send(tracker: Tracker, outcome: RunOutcome) -> None:
    """Sends the scores; a warning where they are not taken: the results stand."""
    from ko_eval.cli.console import stderr_console, stdout_console
    from ko_eval.errors import KoEvalError

    try:
        place = tracker.send(outcome.result, outcome.directory)
        stdout_console().print(f"Sent to {place}", soft_wrap=True)
    except KoEvalError as error:
        stderr_console().print(f"warning: {error}", soft_wrap=True)


def _report_written(directory: Path) -> Path | None:
    """The run's page; None, with a warning, where it cannot be written: the results stand."""
    from ko_eval.cli.console import stderr_console
    from ko_eval.errors import KoEvalError
    from ko_eval.reports.page import write_report
    from ko_eval.reports.page_data import read_runs

    path = directory / "report.html"
    try:
        write_report(read_runs([directory]), path)
    except KoEvalError as error:
        stderr_console().print(f"warning: the report was not written: {error}", soft_wrap=True)
        return None
    return path
