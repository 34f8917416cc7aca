"""The documentation tells the truth: its commands exist and do what it shows, its tables are made
from the code, and the site builds without a network."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hostile
import pytest
import typer.main
from command_server import CommandServer
from documented_commands import Block, Reader, blocks, fault_of, is_shown
from tiny_model import make_tiny_llama

from ko_eval.cli.main import app
from ko_eval.runs.result import ModelUsed, RunResult, TaskReport
from ko_eval.tasks.registry import load_suite, load_task, task_names

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
# Pages whose commands take longer than a few seconds all together.
SLOW = {"comparing.md", "formats.md", "report.md", "python.md", "cluster.md"}
PAGES = sorted(path.name for path in DOCS.glob("*.md") if not path.name.endswith(".ko.md"))
TRANSLATED = sorted(path.name for path in DOCS.glob("*.ko.md"))
OTHERS = ["README.md", "README.ko.md", "SECURITY.md", "CONTRIBUTING.md"]


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts are imported by name."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))


@pytest.fixture(scope="module")
def commands() -> Mapping[str, Any]:
    found: Mapping[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return found


@pytest.fixture(scope="session")
def other_tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second model, which answers otherwise."""
    return make_tiny_llama(tmp_path_factory.mktemp("models") / "other", seed=1)


@pytest.fixture
def reader(tmp_path: Path, tiny: Path, other_tiny: Path, command_server: CommandServer) -> Reader:
    """Somebody with two models and nothing else in the folder; a third stands in for `demo`."""
    for name, model in (("my-model", tiny), ("other-model", other_tiny), ("demo", tiny)):
        shutil.copytree(model, tmp_path / name, copy_function=os.link)
    (tmp_path / "tasks").symlink_to(ROOT / "tasks")  # as in a checkout
    return Reader(command_server, tmp_path, {"demo": "./demo"})


def path_of(page: str) -> Path:
    return (ROOT if page in OTHERS else DOCS) / page


def runnable(page: str) -> list[Block]:
    found = [block for block in blocks(path_of(page)) if block.is_run]
    return [block for block in found if block.steps() or block.language == "python"]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.slow if page in SLOW else ())
        for page in [*PAGES, "README.md", "README.ko.md"]
        if runnable(page)
    ],
)
def test_the_commands_of_a_page_do_what_it_shows(page: str, reader: Reader) -> None:
    assert reader.follow(path_of(page)) > 0


@pytest.mark.parametrize("page", [*PAGES, *TRANSLATED, *OTHERS])
def test_every_command_and_option_in_a_page_exists(page: str, commands: Mapping[str, Any]) -> None:
    for block in blocks(path_of(page)):
        for step in block.steps():
            for call in step.calls():
                fault = fault_of(call, commands)
                assert fault is None, f"{page}:{block.line}: {step.command}: {fault}"


@pytest.mark.parametrize("page", TRANSLATED)
def test_a_translated_page_shows_the_commands_of_the_original(page: str) -> None:
    def shown(name: str) -> list[tuple[str, object]]:
        found = blocks(DOCS / name)
        return [
            (block.language, [(step.words(), step.shown) for step in block.steps()])
            for block in found
            if block.steps() or block.title
        ]

    assert shown(page) == shown(page.replace(".ko.md", ".md"))


def test_the_first_three_pages_and_the_home_page_are_there_in_korean() -> None:
    wanted = ["data-and-protocol.ko.md", "index.ko.md", "quick-start.ko.md", "task-facts.ko.md"]
    assert sorted(TRANSLATED) == wanted


def test_the_command_reference_holds_what_help_prints(
    here: hostile.Run, commands: Mapping[str, Any]
) -> None:
    import docs_hooks

    sections = re.split(r"^### ", docs_hooks.filled("<!-- generated: commands -->"), flags=re.M)[1:]
    by_name = {section.split("\n", 1)[0]: section for section in sections}
    assert list(by_name) == list(commands)
    for name, section in by_name.items():
        printed = here(name, "--help").out
        options = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", printed, flags=re.M))
        assert "--help" in options
        assert options == set(re.findall(r"^\| `(?:-\w, )?(--[a-z-]+)", section, flags=re.M)), name
        first_line = " ".join(printed.split("\n\n")[1].split())
        assert first_line in " ".join(section.split()), name


def test_the_table_of_exit_codes_names_every_command(commands: Mapping[str, Any]) -> None:
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    table = page.partition("## Exit codes")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z-]+)` \| 0", table, flags=re.M)
    assert sorted(rows) == sorted(commands)


@pytest.mark.parametrize("page", ["task-facts.md", "task-facts.ko.md"])
def test_the_page_of_facts_holds_every_fact_of_every_task(page: str) -> None:
    import docs_hooks

    locale = "ko" if page.endswith(".ko.md") else "en"
    text = docs_hooks.filled((DOCS / page).read_text(encoding="utf-8"), locale)
    facts = 0
    for name in task_names():
        section = text.partition(f"(`{name}`)\n")[2].partition("\n### ")[0]
        for fact, said in load_task(name).protocol.items():
            status = docs_hooks.WORDS[locale][said.status]
            assert re.search(rf"^\| `{fact}` \| .* \| {status} \| ", section, flags=re.M), fact
            facts += 1
    assert facts > 200


@pytest.mark.parametrize("page", ["README.md", "README.ko.md"])
def test_the_table_of_the_nine_counts_facts_as_their_tasks_do(page: str) -> None:
    text = path_of(page).read_text(encoding="utf-8")
    for name in load_suite("leaderboard2").tasks:
        (row,) = re.findall(rf"^\| `{name}` \| `\w+` \| (.*)\|$", text, flags=re.M)
        cells = [[part for part in cell.split(",") if part.strip()] for cell in row.split("|")[2:]]
        facts = [fact.status for fact in load_task(name).protocol.values()]
        wanted = [facts.count(status) for status in ("known", "inferred", "assumed")]
        assert [len(cell) for cell in cells] == wanted, name


def test_the_fields_of_results_are_all_described() -> None:
    import docs_hooks

    text = docs_hooks.filled((DOCS / "files.md").read_text(encoding="utf-8"))
    for part in (RunResult, TaskReport, ModelUsed):
        assert part.model_fields
        for field in part.model_fields:
            assert f"| `{field}` |" in text, field


def test_a_wrong_option_and_a_wrong_output_are_noticed(commands: Mapping[str, Any]) -> None:
    assert fault_of(["ko-eval", "run", "m", "--limit", "2"], commands) is None
    assert fault_of(["ko-eval", "run", "m", "--limt", "2"], commands) is not None
    assert fault_of(["ko-eval", "run", "m", "--limit"], commands) is not None
    assert fault_of(["ko-eval", "runn", "m"], commands) is not None
    assert fault_of(["ko-eval", "show"], commands) is not None
    assert fault_of(["ko-eval", "show", "a", "b"], commands) is not None
    assert fault_of(["python", "scripts/fuzz.py", "--no-such-option"], commands) is not None
    shown = ("a  12 │", "…", "z…")
    assert is_shown(shown, "a 12   │\nb\nc\nz and more\n")
    assert not is_shown(shown, "a 13 │\nz\n")
    assert is_shown(shown, "a 13 │\nz\n", any_number=True)
    assert not is_shown(("a",), "a\nb\n")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a link, an anchor or a page without a place would be an error."""
    for name in ("material", "mkdocs_static_i18n"):
        pytest.importorskip(name, reason="needs pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        check=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    return folder


@pytest.mark.browser
def test_the_built_pages_name_nothing_of_another_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert {"index.html", "ko/index.html"} <= {str(page.relative_to(site)) for page in pages}
    for page in pages:
        text = page.read_text(encoding="utf-8")
        # `<a>` leads elsewhere when somebody follows it; everything else is fetched.
        fetched = re.findall(r"<(?!a\b)\w+\b[^>]*?\b(?:src|href|srcset|action)=\"?(\S+)", text)
        assert fetched
        assert not [address for address in fetched if re.match(r"(?:https?:)?//", address)], page
        assert "generated: " not in text
        assert "<!-- docs:" not in text
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"@import|url\(['\"]?(?:https?:)?//", text), sheet


@pytest.mark.browser
def test_the_site_can_be_read_and_searched_with_no_other_host(site: Path, browser: Browser) -> None:
    from playwright.sync_api import expect

    with served(site) as address:
        page = browser.new_page(locale="ko-KR")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{address}/ko/quick-start/")
        expect(page.locator("h1")).to_contain_text("빠른 시작")
        expect(page.locator("html")).to_have_attribute("lang", "ko")
        page.goto(f"{address}/ko/?q=형식 손실")
        expect(page.locator(".md-search-result__item").first).to_be_visible()
        page.close()
    assert asked
    assert [url for url in asked if not url.startswith((address, "blob:", "data:"))] == []


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A web server for a folder; its address."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass
