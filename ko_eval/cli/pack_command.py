"""`ko-eval pack [MODEL] -o FILE`: everything a run needs, in one file, for machines without a
network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ko_eval.cli.boundary import boundary
from ko_eval.cli.options import Data, Debug, Revision, Suite, Tasks, Variant
from ko_eval.cli.output import write

if TYPE_CHECKING:
    from ko_eval.runs.pack import PackMade


def pack(
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")],
    model: Annotated[
        str | None,
        typer.Argument(help="A model folder, a Hugging Face id, or 'demo'; none packs no model."),
    ] = None,
    suite: Suite = None,
    tasks: Tasks = None,
    variant: Variant = None,
    data: Data = "bundled",
    revision: Revision = None,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Pack pickle weights, which can run code.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Pack tasks, data and MODEL into one file for `ko-eval run --pack`, which needs no network."""
    with boundary(debug=debug):
        from ko_eval.cli.choices import suite_and_tasks
        from ko_eval.runs.pack import PackOptions, make_pack

        chosen_suite, chosen_tasks = suite_and_tasks(suite, tasks)
        options = PackOptions(
            model=model,
            suite=chosen_suite,
            tasks=chosen_tasks,
            variant=variant,
            data=data,
            revision=revision,
            allow_pickle=allow_pickle,
            out=out,
        )
        _show(make_pack(options, lambda text: write(text, err=True)))


def _show(made: PackMade) -> None:
    from ko_eval.cli.console import stdout_console
    from ko_eval.reports.pack_table import pack_summary, pack_table

    console = stdout_console()
    console.print(pack_table(made))
    for line in pack_summary(made):
        console.print(line, soft_wrap=True)
