"""Options that several commands take, each declared once."""

from __future__ import annotations

from typing import Annotated

import typer

# What only a server takes.
ModelName = Annotated[str | None, typer.Option(help="Server: the model, as the server calls it.")]
Concurrency = Annotated[
    int | None, typer.Option(min=1, max=1024, help="Server: most requests at once. Default: 16.")
]
ThinkingTokens = Annotated[
    int | None, typer.Option(min=0, help="Server: room for a thought, on top of each answer.")
]
RequestTimeout = Annotated[
    float | None, typer.Option(min=1, help="Server: seconds for an answer. Default: 600.")
]

Model = Annotated[str, typer.Argument(help="A model folder, a Hugging Face id, or 'demo'.")]
OptionalModel = Annotated[
    str | None,
    typer.Argument(
        help="A model folder, a Hugging Face id, 'demo', or the URL of an OpenAI-compatible "
        "server. Default: the pack's model."
    ),
]
Suite = Annotated[
    str | None, typer.Option(help="Suite to run (name or YAML). Default: leaderboard2.")
]
Tasks = Annotated[
    str | None,
    typer.Option(help="Tasks instead of a suite: names or YAML paths, comma-separated."),
]
Variant = Annotated[str | None, typer.Option(help="Variant, for every task that has it.")]
Data = Annotated[
    str,
    typer.Option(help="bundled, hub, hub:OWNER/NAME (one of several public sets), or a path."),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first rows of each task.")]
Shots = Annotated[
    int | None, typer.Option(min=0, help="Few-shot examples. Default: each task's own.")
]
AllowFewshotOverlap = Annotated[
    bool,
    typer.Option(
        "--allow-fewshot-overlap", help="Take few-shot examples from evaluated rows; recorded."
    ),
]
ChatTemplateOption = Annotated[str, typer.Option(help="auto (generation only), on or off.")]
Revision = Annotated[str | None, typer.Option(help="Commit, tag or branch on the hub.")]
MaxLength = Annotated[
    int | None, typer.Option(min=16, help="Window in tokens. Default: the model's own.")
]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that the model brings.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
