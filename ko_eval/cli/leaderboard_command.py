"""`ko-eval leaderboard RUNS… -o SITE`: a static site about many runs, from their results alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ko_eval.cli.boundary import boundary
from ko_eval.cli.options import Debug

if TYPE_CHECKING:
    from ko_eval.runs.cards import Card


def leaderboard(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, or folders of them.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the site.")],
    title: Annotated[str, typer.Option(help="What the site is called.")] = "Korean LLM leaderboard",
    models: Annotated[
        Path | None,
        typer.Option(help="YAML: model name to type, parameters, licence, released, link, price."),
    ] = None,
    cards: Annotated[
        list[Path] | None,
        typer.Option(
            help="Score cards (YAML), or folders of them, to show as published; "
            "may be given again. `import-board` makes them."
        ),
    ] = None,
    published: Annotated[
        bool, typer.Option(help="Also show the published scores that ship with ko-eval.")
    ] = True,
    debug: Debug = False,
) -> None:
    """Make a leaderboard: a static site with its data as JSON and CSV.

    Runs that were not asked the same are never ranked together; what is not ranked is explained.
    """
    with boundary(debug=debug):
        from ko_eval.cli.output import write
        from ko_eval.reports.leaderboard.build import build
        from ko_eval.reports.leaderboard.model_facts import read_model_facts
        from ko_eval.reports.leaderboard.site import write_site
        from ko_eval.runs.cards import all_cards

        facts = read_model_facts(models) if models else {}
        shown = list(all_cards().values()) if published else []
        site, warnings = build(
            runs, title=title, facts=facts, cards=[*shown, *_cards_in(cards or [])]
        )
        for text in warnings:
            write(text, err=True)
        write_site(site, out)
        ranked = sum(len(board.ranked) for board in site.boards)
        write(
            f"{site.found} results: {ranked} ranked on {len(site.boards)} boards, "
            f"{len(site.notes)} notes on what is not",
            err=True,
        )
        write(str(out / "index.html"))


def _cards_in(paths: list[Path]) -> list[Card]:
    """Every card in files and folders.

    Raises:
        KoEvalError: a path is not there, or a card is wrong.
    """
    from ko_eval.errors import DataError
    from ko_eval.runs.cards import load_card

    files = []
    for path in paths:
        if not path.exists():
            raise DataError(f"there is no score card '{path}'", hint="check the path")
        files += sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    # A bare name would be looked for among the cards that ship with ko-eval.
    return [load_card(str(file.absolute())) for file in files]
