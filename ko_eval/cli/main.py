"""The command `ko-eval`. Each command is a module of this package and imports what it needs
when it is called, so that `--help` is quick."""

from __future__ import annotations

import os

import typer

import ko_eval
from ko_eval.cli import (
    batch_command,
    compare_command,
    doctor_command,
    export_command,
    import_board_command,
    leaderboard_command,
    list_command,
    pack_command,
    plan_command,
    report_command,
    reproduce_command,
    run_command,
    score_command,
    show_command,
    status_command,
    verify_command,
)

app = typer.Typer(
    name="ko-eval",
    help="How good is a language model in Korean? Evaluates it on the nine tasks of the Open "
    "Ko-LLM Leaderboard Season 2, and on your own.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("run")(run_command.run)
app.command("plan")(plan_command.plan)
app.command("pack")(pack_command.pack)
app.command("batch")(batch_command.batch)
app.command("status")(status_command.status)
app.command("list")(list_command.list_)
app.command("show")(show_command.show)
app.command("report")(report_command.report)
app.command("leaderboard")(leaderboard_command.leaderboard)
app.command("score")(score_command.score)
app.command("compare")(compare_command.compare)
app.command("verify")(verify_command.verify)
app.command("reproduce")(reproduce_command.reproduce)
app.command("export")(export_command.export)
app.command("import-board")(import_board_command.import_board)
app.command("doctor")(doctor_command.doctor)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(ko_eval.__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    pass


def main() -> None:
    """Entry point of the console script."""
    # Looking for plugins of pydantic reads the metadata of every installed package.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
    app()


if __name__ == "__main__":
    main()
