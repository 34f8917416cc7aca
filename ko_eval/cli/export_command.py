"""`ko-eval export RUN --format …`: a finished run in other people's formats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ko_eval.cli.boundary import boundary
from ko_eval.cli.options import Debug

if TYPE_CHECKING:
    from ko_eval.interop.exported_run import ExportedRun

_FORMATS = ("lm-eval", "model-index", "eval-results", "parquet", "csv")


def export(
    run: Annotated[Path, typer.Argument(help="A finished run's directory.")],
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="lm-eval (results_*.json and samples_*.jsonl), model-index (for a model's "
            "README), eval-results (.eval_results/*.yaml of a model), parquet or csv (per-sample "
            "scores).",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", help="File or folder to write; model-index and csv go to stdout without."
        ),
    ] = None,
    source_url: Annotated[
        str | None, typer.Option(help="Where the run's files are, for model-index, eval-results.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Write a finished run in the formats of other tools."""
    with boundary(debug=debug):
        from ko_eval.cli.choices import one_of
        from ko_eval.errors import UsageError
        from ko_eval.interop.exported_run import open_run

        kind = one_of("--format", format_, _FORMATS)
        if source_url is not None and not source_url.startswith(("https://", "http://")):
            raise UsageError(
                f"--source-url cannot be '{source_url}'", hint="give an address: https://…"
            )
        if out is None and kind in ("lm-eval", "eval-results", "parquet"):
            raise UsageError(f"--format {kind} writes files", hint="say where with -o")
        opened = open_run(run)
        if kind in ("model-index", "csv"):
            _text(opened, kind, out, source_url)
        elif out is not None:
            _files(opened, kind, out, source_url)


def _text(run: ExportedRun, kind: str, out: Path | None, source_url: str | None) -> None:
    """What goes to stdout unless a file is given."""
    from ko_eval.cli.output import write
    from ko_eval.interop.model_card import model_index
    from ko_eval.interop.sample_tables import csv_text
    from ko_eval.runs.files import write_atomically

    text = csv_text(run) if kind == "csv" else model_index(run, source_url=source_url)
    if out is None:
        write(text.removesuffix("\n"))
        return
    write_atomically(out, text)
    write(str(out))


def _files(run: ExportedRun, kind: str, out: Path, source_url: str | None) -> None:
    """Writes files, and their paths to stdout."""
    from ko_eval.cli.output import write
    from ko_eval.interop.lm_eval_export import write_lm_eval
    from ko_eval.interop.model_card import eval_result_files
    from ko_eval.interop.sample_tables import write_parquet
    from ko_eval.runs.files import write_atomically

    if kind == "lm-eval":
        paths = write_lm_eval(run, out)
    elif kind == "parquet":
        write_parquet(run, out)
        paths = [out]
    else:
        made = eval_result_files(run, source_url=source_url)
        for name, reason in made.left_out.items():
            write(f"left out: {name}, {reason}", err=True)
        paths = [out / ".eval_results" / name for name in made.files]
        for path, text in zip(paths, made.files.values(), strict=True):
            write_atomically(path, text)
    for path in paths:
        write(str(path))
