"""Screenshots of a page for `docs/screenshots/`: desk and phone, light and dark, both languages.

    ko-eval report RUN -o /tmp/report.html
    python scripts/screenshots.py /tmp/report.html docs/screenshots/report [--at samples]

Writes PREFIX-desktop-light-en.png and the like, in 256 colours to keep them small. Needs
playwright, pillow and Chromium.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench_common import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tests"))

from browser import DESKTOP, PHONE, chromium
from PIL import Image
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_KINDS = [
    (size, theme, language)
    for size in ("desktop", "phone")
    for theme in ("light", "dark")
    for language in ("en", "ko")
]
_LOCALES = {"en": "en-GB", "ko": "ko-KR"}


def taken(browser: Browser, page: Path, kind: tuple[str, str, str], at: str | None) -> bytes:
    """A PNG of what a visitor sees first, or of a section of the page."""
    size, theme, language = kind
    context = browser.new_context(
        viewport=PHONE if size == "phone" else DESKTOP,  # type: ignore[arg-type]
        device_scale_factor=2 if size == "phone" else 1,
        color_scheme=theme,  # type: ignore[arg-type]
        locale=_LOCALES[language],
        reduced_motion="reduce",
        offline=True,
    )
    opened = context.new_page()
    opened.goto(page.resolve().as_uri() + (f"#{at}" if at else ""), wait_until="load")
    opened.wait_for_timeout(800)
    picture = opened.screenshot()
    context.close()
    return picture


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", type=Path)
    parser.add_argument("prefix", type=Path)
    parser.add_argument("--at", help="Id of a section of the page.")
    parser.add_argument("--only", help="Kinds to take, such as desktop-light-en,phone-dark-ko.")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",") if arguments.only else None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"]
        )
        for kind in _KINDS:
            name = "-".join(kind)
            if wanted is None or name in wanted:
                picture = Image.open(io.BytesIO(taken(browser, arguments.page, kind, arguments.at)))
                path = arguments.prefix.with_name(f"{arguments.prefix.name}-{name}.png")
                path.parent.mkdir(parents=True, exist_ok=True)
                picture.convert("RGB").quantize(256).save(path, optimize=True)
        browser.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
