"""`ko-eval verify RUN_A [RUN_B]`: is a run intact, and in what do two runs differ?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ko_eval.cli.boundary import boundary
from ko_eval.cli.options import Debug

FOUND = 1
"""The exit code where a run is not intact, or two runs differ."""


def verify(
    run_a: Annotated[Path, typer.Argument(help="A run directory, with its results.json.")],
    run_b: Annotated[
        Path | None, typer.Argument(help="A second one: name the layers that differ.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    debug: Debug = False,
) -> None:
    """Check that a run's scores follow from its responses, or tell two runs apart.

    Exit code 0: intact, or no difference; 1: not so; 2: there is nothing to check.
    """
    with boundary(debug=debug):
        if run_b is None:
            _one(run_a, json_output)
        else:
            _two(run_a, run_b, json_output)


def _one(run: Path, json_output: bool) -> None:
    import json

    from ko_eval.cli.output import write
    from ko_eval.reports.verify_words import checked_json, checked_lines
    from ko_eval.runs.verify import verify_run

    checked = verify_run(run)
    if json_output:
        write(json.dumps(checked_json(checked), ensure_ascii=False))
    else:
        write("\n".join(checked_lines(checked)))
    if not checked.intact:
        raise typer.Exit(FOUND)


def _two(a: Path, b: Path, json_output: bool) -> None:
    import json

    from ko_eval.cli.output import write
    from ko_eval.reports.verify_words import differences_json, differences_lines
    from ko_eval.runs.layer_differences import differences, layers_of
    from ko_eval.runs.result import read_result

    one, other = read_result(a), read_result(b)
    found = differences(layers_of(one), layers_of(other))
    if json_output:
        write(json.dumps(differences_json(found), ensure_ascii=False))
    else:
        write("\n".join(differences_lines(found, one, other)))
    if found.causes or found.only_a or found.only_b:
        raise typer.Exit(FOUND)
