"""What was packed: a row per task with the source of its rows, and a few lines about the rest."""

from __future__ import annotations

import shlex

from rich.table import Table
from rich.text import Text

from ko_eval.runs.pack import PackMade

_COMMIT = 12  # characters of a commit that are shown


def pack_table(made: PackMade) -> Table:
    """A row per task."""
    table = Table(header_style="bold")
    for heading in ("Task", "Variant", "Data", "Source", "Commit"):
        table.add_column(heading)
    for heading in ("Rows", "Examples"):
        table.add_column(heading, justify="right")
    for task in made.manifest.tasks:
        rows, examples = task.rows, task.fewshot
        table.add_row(
            Text(task.definition.name),
            Text(task.variant or ""),
            Text(rows.label),
            Text(rows.source),
            Text((rows.revision or "")[:_COMMIT]),
            f"{rows.rows:,}",
            f"{examples.rows:,}" if examples else "",
        )
    return table


def pack_summary(made: PackMade) -> list[str]:
    """The model, the file, and how to use it."""
    manifest = made.manifest
    if manifest.model is None:
        model = "Model: none; name one that lies on the other machine."
    else:
        files = [file.size for place, file in manifest.files.items() if place.startswith("model/")]
        commit = f", commit {manifest.model.revision}" if manifest.model.revision else ""
        model = f"Model: {manifest.model.name}{commit}; {len(files)} files, {sum(files):,} bytes."
    command = f"ko-eval run --pack {shlex.quote(str(made.path))}"
    return [
        model,
        f"Pack: {made.path}, {made.size:,} bytes.",
        f"To run it: {command}{'' if manifest.model else ' MODEL'}",
    ]
