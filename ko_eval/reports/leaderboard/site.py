"""Writes the site: pages, their assets and the data, ready for any static host or for a folder.

Links are relative. The Content Security Policy lets only the site's own scripts and styles run, and
data lie in scripts of their own: `fetch` would not work from a folder on disk. One page shows every
model (`model.html#model=…`), fed by shards, since thousands of files would say little more.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from jinja2 import ChoiceLoader, FunctionLoader

import ko_eval
from ko_eval.errors import DataError
from ko_eval.reports.html.pages import asset, environment, words_block
from ko_eval.reports.leaderboard.script_data import board_script, shard_scripts
from ko_eval.reports.leaderboard.site_data import Leaderboard, as_json
from ko_eval.reports.leaderboard.table_csv import as_csv
from ko_eval.reports.leaderboard.words import WORDS
from ko_eval.runs.files import write_atomically

_PAGES = files("ko_eval.reports.leaderboard").joinpath("pages")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; base-uri 'none'; form-action 'none'"
)
_SCRIPTS = {
    "index.html": ("common.js", "plot.js", "charts.js", "ranking.js"),
    "model.html": ("common.js", "model.js"),
    "compare.html": ("common.js", "compare.js"),
    "notes.html": (),
}
_MARK = ".ko-eval-leaderboard"
# What a repository of pages or a Space has before its first site.
_BESIDE = {".git", ".gitattributes", "CNAME"}


def write_site(site: Leaderboard, directory: Path) -> list[Path]:
    """Writes all files, over those of an older site.

    Returns:
        What was written.

    Raises:
        DataError: the folder holds something else.
        RunError: it cannot be written.
    """
    _check_place(directory)
    content = {
        _MARK: "",
        ".nojekyll": "",
        "README.md": _readme(site.title),
        "leaderboard.json": as_json(site),
        "leaderboard.csv": as_csv(site),
        "assets/data.js": board_script(site),
        "assets/theme.css": str(asset("theme.css")),
        "assets/theme.js": str(asset("theme.js")),
        "assets/leaderboard.css": _own("leaderboard.css"),
        **{f"data/{number}.js": text for number, text in enumerate(shard_scripts(site))},
        **{f"assets/{name}": _own(name) for name in dict.fromkeys(sum(_SCRIPTS.values(), ()))},
        **_pages(site),
    }
    written = []
    for name, text in content.items():
        write_atomically(directory / name, text)
        written.append(directory / name)
    for old in (directory / "data").glob("*.js"):
        if old not in written:
            old.unlink()
    return written


def _check_place(directory: Path) -> None:
    """Another folder's index.html or README.md must not be written over."""
    if directory.exists() and not directory.is_dir():
        raise DataError("the site is a folder, and this is a file", where=str(directory))
    for folder in (directory, directory / "assets", directory / "data"):
        if folder.is_symlink() and folder != directory:
            raise DataError("a symbolic link stands where the site is written", where=str(folder))
    others = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
    if others - _BESIDE and _MARK not in others:
        raise DataError(
            "the folder holds something else than a leaderboard",
            where=str(directory),
            hint="give a new or an empty folder with -o",
        )


def _pages(site: Leaderboard) -> dict[str, str]:
    made = environment(WORDS)
    if made.loader is not None:
        made.loader = ChoiceLoader([FunctionLoader(_template), made.loader])
    return {
        page: made.get_template(f"{page}.j2").render(
            site=site,
            first=site.boards[0] if site.boards else None,
            page=page,
            version=ko_eval.__version__,
            csp=_POLICY,
            styles=(),
            scripts=scripts,
            words_json=words_block(WORDS),
        )
        for page, scripts in _SCRIPTS.items()
    }


def _template(name: str) -> str | None:
    found = _PAGES.joinpath(name)
    return found.read_text(encoding="utf-8") if found.is_file() else None


def _own(name: str) -> str:
    return _PAGES.joinpath(name).read_text(encoding="utf-8")


def _readme(title: str) -> str:
    """With the fields that a static Space of the Hugging Face hub reads."""
    return f"""---
title: {json.dumps(title)}
emoji: 📊
colorFrom: blue
colorTo: green
sdk: static
pinned: false
---

A leaderboard made by ko-eval {ko_eval.__version__}: open `index.html`. It needs no server: put this
folder on any static host, such as GitHub Pages or a static Space.

`leaderboard.json` and `leaderboard.csv` hold everything the pages show.
"""
