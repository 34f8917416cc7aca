"""`ko-eval import-board FILE…`: result files of the Open Ko-LLM Leaderboard as score cards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ko_eval.cli.boundary import boundary
from ko_eval.cli.options import Debug


def import_board(
    files: Annotated[
        list[Path], typer.Argument(help="Result files of the board (JSON), or folders of them.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the score cards (YAML).")],
    debug: Debug = False,
) -> None:
    """Turn result files of the Open Ko-LLM Leaderboard into published score cards.

    Files that cannot be read are named, and left out; the exit code is then 1.
    """
    with boundary(debug=debug):
        from ko_eval.cli.output import write
        from ko_eval.errors import DataError
        from ko_eval.interop.board_files import (
            BoardFile,
            board_files_in,
            read_board_file,
            write_cards,
        )

        found: list[BoardFile] = []
        refused: list[DataError] = []
        for path in board_files_in(files):
            try:
                found.append(read_board_file(path))
            except DataError as error:
                refused.append(error)
        if refused and not found:
            raise refused[0]
        for one in found:
            for note in one.notes:
                write(f"{one.path}: {note}", err=True)
        for reason in refused:
            write(f"left out: {reason}", err=True)
        for path in write_cards(found, out):
            write(str(path))
        if refused:
            raise typer.Exit(1)
