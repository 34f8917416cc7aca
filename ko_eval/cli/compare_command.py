"""`ko-eval compare A B [C …]`: is B better than A? From result files alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ko_eval.cli.boundary import boundary
from ko_eval.cli.options import Debug

if TYPE_CHECKING:
    from ko_eval.reports.comparison import Pair


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Two or more runs, the first of which is the baseline: run directories, or "
            "results of lm-evaluation-harness with their sample logs."
        ),
    ],
    tasks: Annotated[
        str | None, typer.Option("--tasks", help="Only these tasks, separated by commas.")
    ] = None,
    items: Annotated[
        int,
        typer.Option("--items", min=0, max=1000, help="Items to list per task, largest first."),
    ] = 3,
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", help="A layer that may differ, by name; may be repeated."),
    ] = None,
    gate: Annotated[
        Path | None,
        typer.Option("--gate", help="A policy (YAML): exit 0 passed, 1 failed, 3 inconclusive."),
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    debug: Debug = False,
) -> None:
    """Compare runs item by item: difference, interval, verdict: better, worse or undecided."""
    with boundary(debug=debug):
        from ko_eval.errors import UsageError
        from ko_eval.interop.compared import read_any_runs
        from ko_eval.reports.compared_runs import labelled
        from ko_eval.reports.comparison import compare_runs
        from ko_eval.reports.gate import judge, read_policy
        from ko_eval.runs.layer_names import allowed_layers

        if len(runs) < 2:
            raise UsageError(
                "one run was given; a comparison needs two", hint="ko-eval compare RUN_A RUN_B"
            )
        allowed = allowed_layers(allow or ())
        policy = None if gate is None else read_policy(gate)
        found = labelled(read_any_runs(runs))
        names = [name.strip() for name in (tasks or "").split(",") if name.strip()]
        pairs = compare_runs(found, tasks=names, allowed=allowed, items=items)
        judged = None if policy is None else judge(policy, pairs)
        if json_output:
            import json

            from ko_eval.cli.output import write
            from ko_eval.reports.comparison_table import comparison_json
            from ko_eval.reports.gate import gate_json

            content = comparison_json(pairs)
            if judged is not None:
                content["gate"] = gate_json(judged)
            write(json.dumps(content, ensure_ascii=False))
        else:
            _show(pairs)
            if judged is not None:
                from ko_eval.cli.output import write
                from ko_eval.reports.gate import gate_lines

                write("\n".join(gate_lines(judged)))
        if judged is not None and judged.exit_code:
            raise typer.Exit(judged.exit_code)


def _show(pairs: list[Pair]) -> None:
    from ko_eval.cli.console import stdout_console
    from ko_eval.reports.comparison_table import COMPARISON_NOTE, pair_lines, pair_table

    console = stdout_console()
    for pair in pairs:
        console.print(pair_table(pair))
        for line in pair_lines(pair):
            console.print(line, soft_wrap=True)
    console.print(COMPARISON_NOTE, soft_wrap=True)
