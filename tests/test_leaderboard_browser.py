"""The leaderboard in a real Chromium: it sorts, filters, draws, and runs nobody else's script."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser import DESKTOP, PHONE, assert_accessible, open_file
from result_files import NINE, write_result

from ko_eval.reports.leaderboard.build import build
from ko_eval.reports.leaderboard.model_facts import ModelFacts, Price
from ko_eval.reports.leaderboard.site import write_site
from ko_eval.runs.cards import all_cards

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser

SCRIPT = "org/<img src=x onerror=alert(1)>\"'</script><script>alert(2)</script>"
MODELS = 60  # more than a page holds


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board of private data with all kinds of rows, and one of bundled data."""
    runs = tmp_path_factory.mktemp("runs")
    cards = list(all_cards().values())
    nine = next(card for card in cards if card.model.startswith("Saxo/"))
    metrics = {name: {"metric": score.metric} for name, score in nine.shown.items()}
    facts = {}
    for number in range(MODELS):
        name = f"org-{number % 3}/model-{number:02}"
        shown = {task: 30 + number * 0.9 + place for place, task in enumerate(NINE)}
        write_result(
            runs / f"{number}", model=name, shown=shown, n=100, label="private",
            samples=False, tasks=metrics,
        )  # fmt: skip
        if number % 10:
            facts[name] = ModelFacts(
                type="reasoning" if number % 2 else "instruction",
                parameters=(number % 4 + 1) * 5e9,
                licence="mit",
                released=f"2026-{number % 9 + 1:02}",
                price=Price(input_per_million=1 + number / 9, output_per_million=2),
            )
    write_result(
        runs / "script", model=SCRIPT, shown=dict.fromkeys(NINE, 99.0), label="private",
        samples=False, tasks=metrics, warnings=[SCRIPT],
    )  # fmt: skip
    write_result(
        runs / "part", model="org/partial", shown={"ko_gsm8k": 50.0}, label="private",
        samples=False, tasks={"ko_gsm8k": metrics["ko_gsm8k"]},
    )  # fmt: skip
    for number in range(2):
        write_result(runs / f"own-{number}", model=f"org/own-{number}", samples=False)
    place = tmp_path_factory.mktemp("site")
    content, _ = build([runs], title="Test board", facts=facts, cards=cards)
    write_site(content, place)
    return place


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board of two models: one with a lopsided interval, one with an empty one."""
    runs, place = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("odd")
    for name, low, value, high in (("one", 0.4, 2.0, 10.5), ("two", 0.0, 0.0, 0.0)):
        shown = {"value": value, "stderr": 2.0 if high else 0.0, "low": low, "high": high, "n": 50}
        changes = {"ko_gsm8k": {"shown": shown, "outcomes": {"constructor": 50}}}
        write_result(
            runs / name, model=f"org/{name}", shown={"ko_gsm8k": value}, n=50, samples=False,
            tasks=changes,
        )  # fmt: skip
    write_site(build([runs], title="Odd board", facts={}, cards=[])[0], place)
    return place


@pytest.fixture
def ranking(page: Page, site: Path) -> Page:
    open_file(page, site / "index.html")
    return page


def rows(shown: Page) -> Locator:
    return shown.locator(".ranking tbody tr")


def count(shown: Page) -> int:
    found = re.match(r"(\d+) of", shown.locator("#count").inner_text())
    assert found
    return int(found[1])


def test_the_best_stands_first_and_a_planted_script_is_text(ranking: Page) -> None:
    first = rows(ranking).first.inner_text()
    assert "<img src=x onerror=alert(1)>" in first
    assert rows(ranking).count() == 50
    # The fixture fails on a dialog, an error, or a request.


def test_a_search_filters_and_is_kept_in_the_address(ranking: Page) -> None:
    ranking.fill("#q", "model-1 org-1")
    shown = count(ranking)
    assert 0 < shown == rows(ranking).count() < 10
    ranking.reload()
    assert (count(ranking), ranking.input_value("#q")) == (shown, "model-1 org-1")


def test_type_size_licence_and_date_filter(ranking: Page) -> None:
    for control, value, wanted in (
        ("#type", "reasoning", "reasoning"),
        ("#size", "9", "5B"),
        ("#licence", "mit", "mit"),
    ):
        ranking.click("#reset")
        before = count(ranking)
        ranking.select_option(control, value)
        assert 0 < count(ranking) < before
        assert all(wanted in text for text in rows(ranking).all_inner_texts())
    ranking.click("#reset")
    ranking.fill("#since", "2099-01-01")
    assert count(ranking) == 0


def test_a_click_or_the_keyboard_sorts_by_a_column(ranking: Page) -> None:
    button = ranking.locator('[data-key="task.ko_gsm8k"]')
    button.focus()
    ranking.keyboard.press("Enter")
    header = ranking.locator("th", has=ranking.locator('[data-key="task.ko_gsm8k"]'))
    assert header.get_attribute("aria-sort") == "descending"
    assert ranking.evaluate("document.activeElement.dataset.key") == "task.ko_gsm8k"
    place = ranking.evaluate(
        "[...document.querySelectorAll('.ranking thead button')]"
        ".findIndex((b) => b.dataset.key === 'task.ko_gsm8k')"
    )
    cells = ranking.locator(f".ranking tbody tr > :nth-child({place + 1})").all_inner_texts()
    values = [float(text.split()[0].strip("()")) for text in cells if text[0].isdigit()]
    assert len(values) > 40
    assert values == sorted(values, reverse=True)
    ranking.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "ascending"


def test_pages_hold_all_rows(ranking: Page) -> None:
    seen = rows(ranking).count()
    while ranking.locator("#next").is_enabled():
        ranking.click("#next")
        seen += rows(ranking).count()
    assert seen == count(ranking) > MODELS
    ranking.click("#all")
    assert rows(ranking).count() == count(ranking)


def test_published_and_unranked_rows_look_different_and_have_no_rank(ranking: Page) -> None:
    ranking.click("#all")
    published = ranking.locator(".ranking tr.published")
    assert published.count() > 3
    assert "published, not reproduced" in published.first.inner_text()
    assert published.first.locator("td.rank").inner_text() == "–"
    style = "(e) => getComputedStyle(e).fontStyle + getComputedStyle(e).backgroundImage"
    assert published.first.locator("th").evaluate(style).startswith("italicrepeating")
    assert ranking.locator(".ranking tr.unranked").inner_text().startswith("–")
    before = count(ranking)
    ranking.uncheck("#published")
    assert (
        count(ranking) == before - published.count() or ranking.locator("tr.published").count() == 0
    )


def test_boards_of_other_data_are_apart(ranking: Page) -> None:
    boards = ranking.locator("#boards button")
    assert [text.split("\n")[0] for text in boards.all_inner_texts()] == ["private", "bundled"]
    boards.nth(1).click()
    assert ranking.locator("tr.ranked").count() == 2
    assert "not comparable" in ranking.locator("#about-board").inner_text()
    assert "board=" in ranking.url


def test_four_charts_have_a_frontier_and_its_table(ranking: Page) -> None:
    for chart in ("over_time", "by_cost", "by_tokens", "by_size"):
        ranking.wait_for_selector(f"#{chart} svg .frontier", state="attached")
        drawn = ranking.locator(f"#{chart} svg")
        assert drawn.get_attribute("role") == "img"
        assert drawn.locator("text.name").count() >= 1
        assert ranking.locator(f"#{chart}-below tbody tr").count() >= 1


def test_no_point_of_the_frontier_is_beaten(ranking: Page) -> None:
    points = ranking.evaluate(
        """Plot.scatter(document.getElementById("by_size"),
        [[1, 5], [2, 4], [2, 9], [3, 9], [4, 8], [5, 11]].map(([x, y]) => ({ x, y, name: `${x}` })),
        { label: "l", xLabel: "x", yLabel: "y", xText: String }).map((p) => [p.x, p.y])"""
    )
    assert points == [[1, 5], [2, 9], [5, 11]]


def test_tasks_that_separate_models_are_told(ranking: Page) -> None:
    text = ranking.locator("#separation").inner_text()
    assert text.count("%") == len(NINE)
    assert "well" in text


def test_a_model_page_tells_places_scores_and_the_run(ranking: Page, site: Path) -> None:
    ranking.locator("tr.ranked th a").nth(3).click()
    ranking.wait_for_selector("dl.facts")
    text = ranking.locator("main").inner_text()
    assert "Place 4 of" in text
    assert ranking.locator("table.scores tbody tr").count() == len(NINE)
    assert "answered 100" in text
    assert "Fingerprint" in text


def test_warnings_of_a_hostile_run_are_text(page: Page, site: Path) -> None:
    open_file(page, site / "index.html")
    rows(page).first.locator("th a").click()
    page.wait_for_selector("dl.facts")
    assert page.locator(".note.warning li").inner_text() == SCRIPT
    assert page.locator("main img, main script").count() == 0


def test_two_models_are_compared_in_words(ranking: Page) -> None:
    for place in (2, 20):
        rows(ranking).nth(place).locator("input").check()
    ranking.click("#pair-link")
    ranking.wait_for_selector(".duel-table tbody tr")
    assert ranking.locator(".duel-table tbody tr").count() == len(NINE)
    assert "beyond chance" in ranking.locator(".duel").inner_text()
    ranking.wait_for_function("!document.querySelector('code').textContent.includes('…')")
    assert ranking.locator("code").inner_text().startswith("ko-eval compare ")
    ranking.fill("#b", "nobody")
    assert ranking.locator("#b-problem").inner_text() == "not on this board"


def test_neighbours_are_undecided(page: Page, site: Path) -> None:
    page.goto((site / "compare.html").as_uri() + "#a=org-1/model-40&b=org-2/model-41")
    assert page.locator(".duel").inner_text().count("Undecided") == 1
    verdicts = page.locator(".verdict").all_inner_texts()
    assert verdicts == ["undecided"] * len(NINE)


def test_the_verdict_on_the_averages_is_that_of_their_interval(page: Page, odd: Path) -> None:
    open_file(page, odd / "compare.html")
    said = page.inner_text(".duel")
    low, high = map(float, re.findall(r"\[([\d.]+), ([\d.]+)\]", said.replace("−", "-"))[1])
    assert 0 < low < high and "Undecided" not in said


def test_an_outcome_that_nobody_knows_is_shown_by_its_name(page: Page, odd: Path) -> None:
    open_file(page, odd / "model.html")
    page.goto(f"{page.url}#model=org/one")
    page.wait_for_selector("[data-outcomes] span")
    assert page.inner_text("[data-outcomes]") == "constructor 50"
    page.wait_for_selector("dl.facts.card")


def test_what_cannot_be_drawn_is_said_in_whole_words(page: Page, odd: Path) -> None:
    open_file(page, odd / "index.html")
    page.wait_for_selector("#by_cost .empty")
    assert page.inner_text("#by_cost") == "Nothing to draw: Cost is unknown for these models."
    assert page.inner_text("#by_cost-note") == ""


def test_what_is_not_ranked_is_explained(page: Page, site: Path) -> None:
    open_file(page, site / "notes.html")
    text = page.locator("main").inner_text()
    assert "org/partial" in text
    assert "Tasks are missing" in text
    assert "published, not reproduced" in text.lower()


def test_the_language_switches_everywhere(ranking: Page) -> None:
    ranking.click("#switch-language")
    assert ranking.evaluate("document.documentElement.lang") == "ko"
    text = ranking.locator("body").inner_text()
    assert "순위" in text and "모델 검색" in text and "개 가운데" not in text
    assert "Search models" not in text and "Which tasks" not in text


@pytest.mark.parametrize("name", ["index.html", "model.html", "compare.html", "notes.html"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_fault(page: Page, site: Path, name: str, theme: str) -> None:
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    place = "#model=org-1/model-40" if name == "model.html" else ""
    page.goto((site / name).as_uri() + place)
    page.wait_for_timeout(300)
    assert_accessible(page)


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_no_page_scrolls_sideways(page: Page, site: Path, size: dict[str, int]) -> None:
    page.set_viewport_size(size)  # type: ignore[arg-type]
    for name in ("index.html", "model.html#model=org-1/model-40", "compare.html", "notes.html"):
        page.goto(f"{site.as_uri()}/{name}")
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_without_scripts_the_first_rows_are_there(browser, site: Path) -> None:  # type: ignore[no-untyped-def]
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    open_file(plain, site / "index.html")
    assert rows(plain).count() == 50
    assert "leaderboard.csv" in plain.locator("noscript").inner_text()
    context.close()
