"""`ko-eval status OUT`: how far runs are, from their files alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ko_eval.cli.boundary import boundary
from ko_eval.cli.options import Debug


def status(
    out: Annotated[Path, typer.Argument(help="Output root of `run` or `batch`, or one run.")],
    all_tasks: Annotated[
        bool, typer.Option("--all-tasks", help="Also the tasks of finished runs.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False,
    debug: Debug = False,
) -> None:
    """Show how far runs are: done of all requests, rate, failures, time left, state."""
    with boundary(debug=debug):
        from ko_eval.cluster.status import read_status
        from ko_eval.reports.status_table import status_json, status_notes, status_table

        runs = read_status(out)
        if json_output:
            import json

            from ko_eval.cli.output import write

            write(json.dumps(status_json(runs), ensure_ascii=False, indent=1))
            return
        from ko_eval.cli.console import stdout_console

        console = stdout_console()
        if runs:
            console.print(status_table(runs, all_tasks=all_tasks), soft_wrap=True)
            for note in status_notes(runs):
                console.print(note, soft_wrap=True)
        else:
            console.print(f"no runs under {out}", soft_wrap=True)
