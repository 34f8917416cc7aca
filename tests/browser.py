"""Pages in a real Chromium: no network, every error and dialog recorded, axe for accessibility.

A test takes the fixture `page`, which conftest.py imports, and the marker `browser`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}


def chromium() -> str | None:
    """The system's Chromium; `KO_EVAL_CHROMIUM` names another one."""
    return os.environ.get("KO_EVAL_CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )


class Told:
    """What a page said that it should not: console errors, exceptions, dialogs, requests."""

    def __init__(self, page: Page) -> None:
        self.messages: list[str] = []
        page.on("console", lambda m: self._add(m.type, m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: self._add("exception", str(error)))
        page.on("dialog", self._dialog)
        page.on("request", lambda r: None if _local(r.url) else self._add("request", r.url))

    def _dialog(self, dialog: Dialog) -> None:
        self._add("dialog", dialog.message)
        dialog.dismiss()

    def _add(self, kind: str, text: str) -> None:
        self.messages.append(f"{kind}: {text}")


def _local(url: str) -> bool:
    return url.startswith(("file:", "data:", "about:", "blob:"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A Chromium for all tests of the session."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    executable = chromium()
    if executable is None:
        pytest.skip("needs Chromium")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-gpu"]
        )
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page in English without a network; the test fails when the page told of an error."""
    context = browser.new_context(viewport=DESKTOP, locale="en-GB", offline=True)  # type: ignore[arg-type]
    opened = context.new_page()
    told = Told(opened)
    opened._told = told  # type: ignore[attr-defined]
    yield opened
    context.close()
    assert told.messages == []


def open_file(page: Page, path: Path) -> None:
    """Opens a file and waits until its scripts have run.

    Wait for more with `playwright.sync_api.expect`: the pages' policy forbids what
    `wait_for_function` does.
    """
    page.goto(path.resolve().as_uri(), wait_until="load")


def assert_accessible(page: Page) -> None:
    """
    Raises:
        AssertionError: axe finds a serious or critical fault (named with its place).
    """
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe")
    # Preloading asks for style sheets again, which the pages' policy forbids.
    found = axe.Axe().run(page, options={"preload": False})
    violations: list[dict[str, Any]] = found.response["violations"]
    serious = [
        f"{one['id']}: {one['nodes'][0]['html'][:200]} ({len(one['nodes'])} places) "
        f"{one['nodes'][0]['failureSummary'][:300]}"
        for one in violations
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
