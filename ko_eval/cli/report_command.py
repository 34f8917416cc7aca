"""`ko-eval report RUN…`: one HTML file about a run, or about several side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ko_eval.cli.boundary import boundary
from ko_eval.cli.options import Debug


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, or their results.json.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file. Default: report.html, in RUN if it is one."),
    ] = None,
    samples: Annotated[
        bool,
        typer.Option(
            help="Put prompts, responses and scores of all samples into the file; leave them out "
            "to share a report on private data."
        ),
    ] = True,
    debug: Debug = False,
) -> None:
    """Write a report: one HTML file that needs no network, from result files alone."""
    with boundary(debug=debug):
        from ko_eval.cli.output import write
        from ko_eval.reports.page import HOLDS_PRIVATE, holds_private, write_report
        from ko_eval.reports.page_data import read_runs

        read = read_runs(runs)
        inside = runs[0] if len(runs) == 1 and runs[0].is_dir() else Path()
        path = out or inside / "report.html"
        _check_target(path)
        if samples and not any(run.directory for run in read):
            write("no per-sample files beside the results: the report has none", err=True)
        write_report(read, path, samples=samples)
        if samples and holds_private(read):
            write(f"{HOLDS_PRIVATE}; --no-samples leaves them out", err=True)
        write(str(path))


def _check_target(path: Path) -> None:
    """Raise `UsageError` for a file that a report must not be written over."""
    from ko_eval.errors import UsageError

    if path.is_dir():
        raise UsageError(
            "the report is one file, and this is a folder",
            where=str(path),
            hint=f"give a file's name: -o {path / 'report.html'}",
        )
    if path.exists() and not (path.is_file() and _is_page(path)):
        raise UsageError(
            "what stands there is no report, and is not written over",
            where=str(path),
            hint="give another name with -o, such as report.html",
        )


def _is_page(path: Path) -> bool:
    """Whether the file is an HTML page, or empty."""
    try:
        with path.open("rb") as file:
            return b"<!doctype html>".startswith(file.read(15).lower())
    except OSError:
        return False
