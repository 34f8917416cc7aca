"""Plain text for stdout and stderr, made safe for a terminal as the consoles do."""

from __future__ import annotations

import typer

from ko_eval.safe_text import redacted, visible


def write(text: str, *, err: bool = False) -> None:
    """Writes a text and a line end to stdout, or to stderr.

    What a terminal would obey is written out, and secrets are left out; a JSON text stays JSON.
    """
    typer.echo(visible(redacted(text)), err=err)
