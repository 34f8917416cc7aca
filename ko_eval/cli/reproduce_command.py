"""`ko-eval reproduce CARD [RUN]`: does a run reproduce published scores?"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ko_eval.cli.boundary import boundary
from ko_eval.cli.options import Debug, Limit, ModelName, Revision, TrustRemoteCode

if TYPE_CHECKING:
    from ko_eval.reports.reproduction import Verdict
    from ko_eval.runs.cards import Card
    from ko_eval.runs.plan import RunOptions
    from ko_eval.runs.result import RunResult

# As `compare --gate`: the scores are the same, are not, or nobody can tell.
_EXIT_CODES: dict[Verdict, int] = {
    "equivalent": 0,
    "different": 1,
    "undecided": 3,
    "not comparable": 3,
}


def reproduce(
    card: Annotated[
        str, typer.Argument(help="A score card: a name of `ko-eval list cards`, or a YAML file.")
    ],
    run: Annotated[
        Path | None,
        typer.Argument(help="A finished run. Default: the card's model is evaluated now."),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(help="Points apart that still count as the same. Default: the card's."),
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    model: Annotated[
        str | None, typer.Option(help="Where the card's model is: a folder, an id or a URL.")
    ] = None,
    model_name: ModelName = None,
    data: Annotated[
        str | None, typer.Option(help="Rows to evaluate: hub, or the path of private ones.")
    ] = None,
    limit: Limit = None,
    shots: Annotated[
        int | None, typer.Option(min=0, help="Few-shot examples. Default: the card's.")
    ] = None,
    chat_template: Annotated[
        str | None, typer.Option(help="auto, on or off. Default: the card's.")
    ] = None,
    engine: Annotated[str, typer.Option(help="auto, transformers, vllm or server.")] = "auto",
    dtype: Annotated[
        str | None, typer.Option(help="auto, float32, bfloat16 or float16. Default: the card's.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps. Default: the card's.")
    ] = None,
    revision: Revision = None,
    out: Annotated[Path, typer.Option(help="Where run directories go.")] = Path("results"),
    trust_remote_code: TrustRemoteCode = False,
    debug: Debug = False,
) -> None:
    """Compare a run with published scores: equivalent, different or undecided.

    Exit code: 0 equivalent, 1 different, 3 undecided or not comparable.
    For options of `ko-eval run` that are not here, run first and give the RUN.
    """
    with boundary(debug=debug, resumable=run is None):
        from ko_eval.errors import UsageError
        from ko_eval.runs.cards import card_title, load_card

        if margin is not None and not 0 < margin <= 1e6:
            raise UsageError(f"--margin cannot be {margin:g}", hint="give points, such as 2")
        chosen = load_card(card)
        asked = _Asked(
            model=model,
            model_name=model_name,
            data=data,
            limit=limit,
            shots=shots,
            chat_template=chat_template,
            engine=None if engine == "auto" else engine,
            dtype=dtype,
            device=device,
            revision=revision,
        )
        if run is None:
            result, directory = _evaluated(_options(chosen, asked, out, trust_remote_code))
        else:
            if names := asked.names():
                raise UsageError(
                    f"--{names[0]} was given together with a finished run",
                    hint="leave RUN out to evaluate the model now",
                )
            from ko_eval.runs.result import read_result

            result = read_result(run)
            directory = run if run.is_dir() else run.parent
        verdict = _show(card_title(card), chosen, result, directory, margin, json_output)
        if code := _EXIT_CODES[verdict]:
            raise SystemExit(code)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the user said of a new run; None where the card decides."""

    model: str | None
    model_name: str | None
    data: str | None
    limit: int | None
    shots: int | None
    chat_template: str | None
    engine: str | None
    dtype: str | None
    device: str | None
    revision: str | None

    def names(self) -> list[str]:
        """The options that were given."""
        given = (field.name for field in fields(self) if getattr(self, field.name) is not None)
        return [name.replace("_", "-") for name in given]


def _options(card: Card, asked: _Asked, out: Path, trust_remote_code: bool) -> RunOptions:
    """What a run of the card is asked to do.

    Raises:
        UsageError: the card's rows are not ours to find, or its scores need two runs.
    """
    from ko_eval.cli.choices import one_of
    from ko_eval.engines.encoding import ChatTemplate
    from ko_eval.engines.server_options import server_options
    from ko_eval.engines.transformers_loading import LoadOptions
    from ko_eval.engines.vllm_options import EngineChoice
    from ko_eval.runs.plan import RunOptions

    engines: tuple[EngineChoice, ...] = ("auto", "transformers", "vllm", "server")
    templates: tuple[ChatTemplate, ...] = ("auto", "on", "off")
    template = asked.chat_template or card.run.chat_template
    shots, variant = _shots_and_variant(card)
    whole = card.suite is not None
    return RunOptions(
        model=asked.model or card.run.model or card.model,
        suite=card.suite,
        tasks=() if whole else card.tasks,
        variant=variant,
        shots=shots if asked.shots is None else _allowed_shots(card, asked.shots),
        data=_data(card, asked.data),
        limit=asked.limit or card.run.limit,
        chat_template=one_of("--chat-template", template, templates),
        engine=one_of("--engine", asked.engine or "auto", engines),
        server=server_options(asked.model_name, None, None, None),
        revision=asked.revision or card.revision,
        load=LoadOptions(
            dtype=asked.dtype or card.run.dtype or "auto",
            device=asked.device or card.run.device or "auto",
            trust_remote_code=trust_remote_code,
        ),
        out=out,
    )


def _data(card: Card, asked: str | None) -> str:
    """The rows to evaluate; those that the verdict would not be about are refused now."""
    from ko_eval.errors import UsageError

    data = asked or card.run.data
    label = data.partition(":")[0] if data else card.data
    if card.data == "private" and (data is None or label in ("bundled", "hub")):
        raise UsageError(
            "the scores of this card are of private test sets, which ko-eval does not have",
            hint="give the board's rows with --data PATH, or a finished RUN on them",
        )
    if card.data != label and "bundled" in (card.data, label):
        raise UsageError(
            f"the scores of this card are of {card.data} data, which --data {data} is not",
            hint="leave --data out",
        )
    return data or card.data


def _allowed_shots(card: Card, asked: int) -> int:
    """The number of examples that was asked for, if the card leaves it open."""
    from ko_eval.errors import UsageError

    published = {score.shots for score in card.shown.values()} - {None}
    if published - {asked}:
        counts = " and ".join(map(str, sorted(count for count in published if count is not None)))
        raise UsageError(
            f"the scores of this card are with {counts} shots, which --shots {asked} is not",
            hint="leave --shots out",
        )
    return asked


def _shots_and_variant(card: Card) -> tuple[int | None, str | None]:
    """What all tasks of the card have in common; a suite's tasks have their own."""
    from ko_eval.errors import UsageError

    if card.suite is not None:
        return None, None
    shots = {score.shots for score in card.shown.values()}
    variants = {score.variant for score in card.shown.values()}
    if len(shots) > 1 or len(variants) > 1:
        raise UsageError(
            "the scores of this card differ in their shots or variants, which takes two runs",
            hint="run them with `ko-eval run`, and give each to `ko-eval reproduce CARD RUN`",
        )
    return next(iter(shots)), next(iter(variants))


def _evaluated(options: RunOptions) -> tuple[RunResult, Path]:
    from ko_eval.cli.console import stderr_console
    from ko_eval.cli.progress import ConsoleReporter
    from ko_eval.cluster.replicas import engine_loader
    from ko_eval.runs.evaluate import evaluate

    with ConsoleReporter(stderr_console()) as reporter, engine_loader(options) as load:
        outcome = evaluate(options, reporter, load)
    stderr_console().print(f"Results: {outcome.directory / 'results.json'}", soft_wrap=True)
    return outcome.result, outcome.directory


def _show(
    name: str,
    card: Card,
    result: RunResult,
    directory: Path,
    margin: float | None,
    json_output: bool,
) -> Verdict:
    from ko_eval.reports.reproduction import reproduction
    from ko_eval.reports.reproduction_table import (
        reproduction_json,
        reproduction_notes,
        reproduction_table,
    )
    from ko_eval.runs.card_items import hashes_for

    found = reproduction(name, card, result, margin=margin, outcomes=hashes_for(card, directory))
    if json_output:
        import json

        from ko_eval.cli.output import write

        write(json.dumps(reproduction_json(found), ensure_ascii=False, indent=1))
        return found.verdict
    from ko_eval.cli.console import stdout_console

    console = stdout_console()
    console.print(reproduction_table(found))
    for note in reproduction_notes(found):
        console.print(note, soft_wrap=True)
    return found.verdict
