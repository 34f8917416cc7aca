"""`ko-eval show TASK`: the exact prompt of a sample, and with a model its tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ko_eval.cli.boundary import boundary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ko_eval.engines.base import TokenIds
    from ko_eval.tasks.prepare import PreparedTask
    from ko_eval.types import Sample


def show(
    task: Annotated[str, typer.Argument(help="A task's name or the path of its YAML file.")],
    sample: Annotated[int, typer.Option(min=1, help="Which row, counted from 1.")] = 1,
    model: Annotated[
        str | None, typer.Option(help="Also show the tokens that this model is given.")
    ] = None,
    data: Annotated[str, typer.Option(help="bundled, hub, or a path.")] = "bundled",
    shots: Annotated[int | None, typer.Option(min=0, help="Few-shot examples.")] = None,
    variant: Annotated[str | None, typer.Option(help="A variant of the task.")] = None,
    chat_template: Annotated[
        str, typer.Option(help="auto (generation only), on or off; needs --model.")
    ] = "auto",
    max_length: Annotated[int | None, typer.Option(min=16, help="Window in tokens.")] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that the model brings.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Show exactly what a model is asked."""
    with boundary(debug=debug):
        from ko_eval.errors import UsageError
        from ko_eval.tasks.prepare import prepare_task
        from ko_eval.tasks.registry import load_task

        definition = load_task(task, variant=variant)
        prepared = prepare_task(definition, data, shots=shots, limit=sample)
        if sample > len(prepared.samples):
            raise UsageError(
                f"there is no sample {sample}: the data has {len(prepared.samples)} rows",
                hint=f"use --sample 1 to {len(prepared.samples)}",
            )
        _show_text(prepared, sample - 1)
        if model is not None:
            _show_tokens(prepared, sample - 1, model, chat_template, max_length, trust_remote_code)


def _show_text(prepared: PreparedTask, index: int) -> None:
    from ko_eval.types import LoglikelihoodRequest

    sample, request = prepared.samples[index], prepared.requests[index]
    typer.echo(f"task:    {prepared.definition.name} ({prepared.shots} shots)")
    typer.echo(f"sample:  {sample.id} of {prepared.rows.source} ({prepared.rows.label})")
    if isinstance(request, LoglikelihoodRequest):
        for number, pair in enumerate(request.pairs):
            if number == 0 or pair.context != request.pairs[0].context:
                typer.echo(f"--- context {number + 1} ---\n{pair.context}")
        heading, marks = _worth(sample)
        typer.echo(f"--- scored after it (quoted; {heading}) ---")
        for number, (mark, pair) in enumerate(zip(marks, request.pairs, strict=True), start=1):
            typer.echo(f"{mark} {number}: {pair.continuation!r}")
        return
    typer.echo(f"--- prompt ---\n{request.prompt}")
    typer.echo("--- request ---")
    typer.echo(f"stop: {list(request.stop)!r}  max_tokens: {request.max_tokens}")
    if sample.target is not None:
        typer.echo(f"--- expected ---\n{sample.target}")


def _worth(sample: Sample) -> tuple[str, list[str]]:
    """What the choices are worth: a heading, and a mark for each."""
    for field, heading in (("credits", "credit first"), ("distribution", "share first")):
        values = sample.fields.get(field)
        if sample.target is None and isinstance(values, list):
            return heading, [f"{float(str(value)):.2f}" for value in values]
    right = [number == sample.target for number in range(len(sample.choices))]
    return "* is right", ["*" if is_right else " " for is_right in right]


def _show_tokens(
    prepared: PreparedTask,
    index: int,
    model: str,
    chat_template: str,
    max_length: int | None,
    trust_remote_code: bool,
) -> None:
    from ko_eval.cli.choices import one_of
    from ko_eval.engines.base import EncodedLoglikelihood
    from ko_eval.engines.encoding import ChatTemplate, Encoder, load_tokenizer
    from ko_eval.engines.model_folder import resolve_model
    from ko_eval.engines.model_settings import settings_for
    from ko_eval.runs.plan import window

    template: ChatTemplate = one_of("--chat-template", chat_template, ("auto", "on", "off"))
    folder = resolve_model(model, trust_remote_code=trust_remote_code, weights=False)
    tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
    encoder = Encoder(
        tokenizer,
        settings_for(folder),
        chat_template=template,
        max_length=window(folder, max_length),
    )
    request = prepared.requests[index]
    encoded = encoder.encode([request])[0]
    used = "with" if encoder.uses_template(request) else "without"
    typer.echo(f"--- tokens for {folder.name}, {used} chat template ---")
    if encoded.truncated_tokens:
        typer.echo(f"cut on the left by {encoded.truncated_tokens} tokens")
    if isinstance(encoded, EncodedLoglikelihood):
        for number, pair in enumerate(encoded.pairs, start=1):
            typer.echo(
                f"{number}: {len(pair.context)} context | {len(pair.continuation)} scored\n"
                f"   {_pieces(tokenizer, pair.context)} ‖ "
                f"{_pieces(tokenizer, pair.continuation)}"
            )
        return
    typer.echo(f"{len(encoded.prompt)} prompt tokens: {_pieces(tokenizer, encoded.prompt)}")


def _pieces(tokenizer: PreTrainedTokenizerBase, ids: TokenIds) -> str:
    """Tokens as quoted texts, each with its id."""
    return " ".join(f"{tokenizer.decode([token])!r}({token})" for token in ids)
