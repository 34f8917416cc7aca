"""`ko-eval show TASK`: the exact prompt of a sample, and with a model its tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ko_eval.cli.boundary import boundary
from ko_eval.cli.output import write
from ko_eval.safe_text import one_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ko_eval.engines.base import TokenIds
    from ko_eval.tasks.definition import TaskDefinition
    from ko_eval.tasks.prepare import PreparedTask
    from ko_eval.types import Sample


def show(
    task: Annotated[str, typer.Argument(help="A task's name or the path of its YAML file.")],
    sample: Annotated[int, typer.Option(min=1, help="Which row, counted from 1.")] = 1,
    model: Annotated[
        str | None, typer.Option(help="Also show the tokens that this model is given.")
    ] = None,
    data: Annotated[str, typer.Option(help="bundled, hub, hub:OWNER/NAME, or a path.")] = "bundled",
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
        rows = _rows_here(definition, data)
        prepared = prepare_task(
            definition,
            rows,
            shots=shots,
            limit=sample,
            allow_fewshot_overlap=True,
        )
        if sample > len(prepared.samples):
            raise UsageError(
                f"there is no sample {sample}: the data has {len(prepared.samples)} rows",
                hint=f"use --sample 1 to {len(prepared.samples)}",
            )
        label = prepared.rows.label if rows == data else "example"
        _show_text(prepared, sample - 1, label)
        if model is not None:
            _show_tokens(prepared, sample - 1, model, chat_template, max_length, trust_remote_code)


def _rows_here(task: TaskDefinition, data: str) -> str:
    """The asked data; for a task without bundled rows, its examples in the published columns."""
    from ko_eval.resources import shipped

    examples = shipped("tasks", "examples")
    if data != "bundled" or task.data.bundled or not (examples / f"{task.name}.jsonl").is_file():
        return data
    write("rows:    written for ko-eval as examples; --data hub reads the benchmark's own")
    return str(examples)


def _show_text(prepared: PreparedTask, index: int, label: str) -> None:
    from ko_eval.scorers.choice_text import OPTION_LABELS
    from ko_eval.types import LoglikelihoodRequest

    sample, request = prepared.samples[index], prepared.requests[index]
    write(f"task:    {prepared.definition.name} ({prepared.shots} shots)")
    write(f"sample:  {one_line(sample.id)} of {one_line(prepared.rows.source)} ({label})")
    if isinstance(request, LoglikelihoodRequest):
        for number, pair in enumerate(request.pairs[: len(sample.choices)]):
            if number == 0 or pair.context != request.pairs[0].context:
                write(f"--- context {number + 1} ---\n{pair.context}")
        heading, marks = _worth(sample)
        write(f"--- scored after it (quoted; {heading}) ---")
        for number, (mark, pair) in enumerate(zip(marks, request.pairs, strict=False), start=1):
            write(f"{mark} {number}: {pair.continuation!r}")
        if len(request.pairs) > len(marks):
            bare = request.pairs[-1].context
            write(f"--- and each of them again after {bare!r}, without the question ---")
        return
    write(f"--- prompt ---\n{request.prompt}")
    write("--- request ---")
    write(f"stop: {list(request.stop)!r}  max_tokens: {request.max_tokens}")
    if sample.choices:
        heading, marks = _worth(sample)
        write(f"--- options ({heading}) ---")
        for mark, label, option in zip(marks, OPTION_LABELS, sample.choices, strict=False):
            write(f"{mark} ({label}) {option}")
    elif sample.target is not None:
        write(f"--- expected ---\n{sample.target}")


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
    from ko_eval.cli.encoders import load_encoder
    from ko_eval.engines.base import EncodedLoglikelihood
    from ko_eval.engines.encoding import ChatTemplate

    template: ChatTemplate = one_of("--chat-template", chat_template, ("auto", "on", "off"))
    folder, encoder = load_encoder(model, template, max_length, trust_remote_code=trust_remote_code)
    tokenizer = encoder.tokenizer
    request = prepared.requests[index]
    encoded = encoder.encode([request])[0]
    used = "with" if encoder.uses_template(request) else "without"
    write(f"--- tokens for {folder.name}, {used} chat template ---")
    if encoded.truncated_tokens:
        write(f"cut on the left by {encoded.truncated_tokens} tokens")
    if isinstance(encoded, EncodedLoglikelihood):
        for number, pair in enumerate(encoded.pairs, start=1):
            write(
                f"{number}: {len(pair.context)} context | {len(pair.continuation)} scored\n"
                f"   {_pieces(tokenizer, pair.context)} ‖ "
                f"{_pieces(tokenizer, pair.continuation)}"
            )
        return
    write(f"{len(encoded.prompt)} prompt tokens: {_pieces(tokenizer, encoded.prompt)}")


def _pieces(tokenizer: PreTrainedTokenizerBase, ids: TokenIds) -> str:
    """Tokens as quoted texts, each with its id."""
    return " ".join(f"{tokenizer.decode([token])!r}({token})" for token in ids)
