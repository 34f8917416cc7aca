"""`ko-eval batch PLAN`: evaluates many models, here or on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ko_eval.cli.boundary import boundary
from ko_eval.cli.options import Debug

if TYPE_CHECKING:
    from ko_eval.cluster.batch_driver import BatchOutcome


def batch(
    plan: Annotated[Path, typer.Argument(help="A batch plan (YAML); see docs/cluster.md.")],
    on: Annotated[str, typer.Option(help="local, ray or slurm.")] = "local",
    ray_address: Annotated[
        str | None, typer.Option(help="ray: a running cluster, such as ray://head:10001.")
    ] = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="slurm: return when the jobs are queued.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only check the plan, and show what it would run.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Evaluate all models of PLAN; run the same command again to do only what is missing."""
    with boundary(debug=debug, resumable=True):
        from ko_eval.cli.choices import one_of
        from ko_eval.cli.console import stderr_console
        from ko_eval.cli.run_words import RunWords
        from ko_eval.cluster.batch_check import Where
        from ko_eval.cluster.batch_driver import BatchOptions, check_batch, run_batch

        where: Where = one_of("--on", on, ("local", "ray", "slurm"))
        console = stderr_console()

        def say(text: str) -> None:
            console.print(text, soft_wrap=True)

        options = BatchOptions(plan, where, ray_address, wait=not no_wait)
        if check:
            import shlex

            from ko_eval.cli.output import write

            for job in check_batch(options, RunWords(), say):
                for command in job.commands:
                    write(shlex.join(["ko-eval", *command]))
            return
        _show(run_batch(options, RunWords(), say), waited=not no_wait)


def _show(outcome: BatchOutcome, *, waited: bool) -> None:
    from ko_eval.cli.console import stderr_console, stdout_console
    from ko_eval.cluster.batch_record import LOG_FILE
    from ko_eval.cluster.status import read_status
    from ko_eval.reports.status_table import shown, status_table

    stdout_console().print(status_table(read_status(outcome.directory)), soft_wrap=True)
    console = stderr_console()
    for record in outcome.failed:
        code = "" if record.exit_code is None else f" (exit code {record.exit_code})"
        console.print(f"{record.name} failed{code}; its last lines:", soft_wrap=True)
        for line in record.error:
            console.print(f"  {shown(line)}", soft_wrap=True)
        log = outcome.directory / record.name / LOG_FILE
        console.print(f"  log: {log}", soft_wrap=True)
    if waited and outcome.unfinished:
        console.print(
            f"{len(outcome.unfinished)} of {len(outcome.jobs)} models are not done; run the same "
            "command again to do only these",
            soft_wrap=True,
        )
        raise SystemExit(1)
