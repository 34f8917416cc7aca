"""The report in a real Chromium: no error, no planted script, usable by keyboard and by ear."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser import PHONE, assert_accessible, open_file
from report_files import add_texts
from result_files import write_result

from ko_eval.reports.page import write_report
from ko_eval.reports.page_data import read_runs

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

ATTACK = (
    "</script><script>window.ran=1;alert(1)</script><img src=x onerror=window.ran=1>"
    '"><svg onload=window.ran=1>\'-alert(1)-\'<a href="javascript:window.ran=1">a</a>'
    "{{ 7*7 }}\u202eevil\u2028\x1b[31m\x00"
)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with 120 generated and 120 likelihood samples."""
    folder = tmp_path_factory.mktemp("one")
    run = write_result(folder / "run", shown={"ko_gsm8k": 40.0, "ko_gpqa": 25.0}, n=120)
    add_texts(
        run,
        "ko_gsm8k",
        response=lambda name: f"{name}의 답은 일곱입니다. #### 7",
        thinking="먼저 셋과 넷을 더한다.",
    )
    add_texts(run, "ko_gpqa", choices=("(A)", "(B)", "(C)"))
    write_report(read_runs([run]), folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of two runs of the nine tasks, side by side."""
    folder = tmp_path_factory.mktemp("two")
    runs = []
    for name, shown in (("org/large", 60.0), ("org/small", 30.0)):
        run = write_result(
            folder / name.replace("/", "-"),
            model=name,
            shown={"ko_gsm8k": shown, "ko_gpqa": 30.0, "ko_ifeval": shown},
            n=40,
        )
        add_texts(run, "ko_gsm8k", response=f"{name}이 답합니다.")
        runs.append(run)
    write_report(read_runs(runs), folder / "report.html")
    return folder / "report.html"


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_fault(page: Page, two: Path, language: str, theme: str) -> None:
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    open_file(page, two)
    if language == "ko":
        page.click("#switch-language")
    page.wait_for_selector("#sample h3")
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.get_attribute("html", "lang") == language
    assert_accessible(page)


def test_axe_finds_no_serious_fault_with_choices_on_a_phone(page: Page, one: Path) -> None:
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    open_file(page, one)
    page.select_option("#f-task", "1")
    page.wait_for_selector(".choices td")
    assert_accessible(page)


def test_planted_scripts_do_not_run(page: Page, tmp_path: Path) -> None:
    run = write_result(
        tmp_path / "run",
        model=ATTACK,
        shown={"ko_gsm8k": 40.0},
        n=3,
        warnings=[ATTACK],
        suite=ATTACK,
        suite_protocol={ATTACK: {"value": ATTACK, "status": "known", "why": ATTACK}},
        conditions={"engine": ATTACK, ATTACK: ATTACK},
        environment={ATTACK: ATTACK},
        tasks={
            "ko_gsm8k": {
                "title": ATTACK,
                "notes": [ATTACK],
                "protocol": {ATTACK: {"value": ATTACK, "status": "assumed", "why": ATTACK}},
            }
        },
    )
    samples = run / "samples" / "ko_gsm8k.jsonl"
    planted = ATTACK.replace('"', '\\"').replace("\u2028", "\\u2028").replace("\x1b", "\\u001b")
    content = samples.read_text(encoding="utf-8").replace("ko_gsm8k-0000", planted[:-1])
    samples.write_text(content, encoding="utf-8")
    add_texts(run, "ko_gsm8k", head=ATTACK, prompt=ATTACK, response=ATTACK, thinking=ATTACK)
    write_report(read_runs([run]), tmp_path / "report.html")
    open_file(page, tmp_path / "report.html")
    page.wait_for_selector("#sample h3")
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.fill("#f-text", "<script>")
    page.wait_for_selector("mark")
    page.click("#switch-language")
    page.wait_for_selector("mark")
    shown = page.inner_text("#sample .answer .text >> nth=0")
    assert "<script>window.ran=1" in shown and "\\u202eevil\\u2028\\u001b[31m" in shown
    assert page.evaluate("window.ran") is None
    assert page.locator("img, a[href^=javascript]").count() == 0


def test_even_markup_in_the_page_could_not_run(page: Page, one: Path, tmp_path: Path) -> None:
    text = one.read_text(encoding="utf-8")
    planted = "<main id=planted></main><script>window.ran = 1</script><img src=x onerror=ran=1>"
    (tmp_path / "planted.html").write_text(text.replace("<main", planted + "<main", 1))
    open_file(page, tmp_path / "planted.html")
    page.wait_for_selector("#planted", state="attached")
    assert page.evaluate("window.ran") is None
    # Refusing is what the console tells of: the only errors that this test may see.
    told = page._told.messages  # type: ignore[attr-defined]
    assert told and all("Content Security Policy" in message for message in told)
    told.clear()


def test_the_page_speaks_the_language_of_the_browser_and_switches(page: Page, one: Path) -> None:
    open_file(page, one)
    assert page.inner_text("#h-scores") == "Scores"
    page.click("#switch-language")
    assert page.inner_text("#h-scores") == "점수"
    assert page.get_attribute("#f-text", "placeholder") == "질문, 응답, 번호에서 찾기"
    page.reload()
    assert page.inner_text("#h-scores") == "점수"


def test_light_and_dark_follow_the_system_and_the_button(page: Page, one: Path) -> None:
    def paper() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    page.emulate_media(color_scheme="light")
    open_file(page, one)
    light = paper()
    page.emulate_media(color_scheme="dark")
    dark = paper()
    assert light != dark
    page.click("#switch-theme")
    assert paper() == light
    page.emulate_media(media="print")
    assert paper() == "rgb(255, 255, 255)"


def test_samples_are_found_by_text_result_and_task(page: Page, one: Path) -> None:
    open_file(page, one)
    page.wait_for_selector("#sample h3")
    assert page.inner_text("#found") == "120 of 120 samples"
    assert page.locator("#list li").count() == 50
    page.select_option("#f-result", "right")
    assert page.inner_text("#found") == "48 of 120 samples"
    page.select_option("#f-result", "")
    page.fill("#f-text", "ko_gsm8k-00077의 답")
    expect(page.locator("#found")).to_have_text("1 of 120 samples")
    expect(page.locator("#sample h3").first).to_have_text("ko_gsm8k-00077")
    assert page.inner_text("#sample mark") == "ko_gsm8k-00077의 답"
    page.fill("#f-text", "no such text")
    expect(page.locator("#found")).to_have_text("No sample fits these filters.")
    page.fill("#f-text", "")
    page.select_option("#f-outcome", "truncated")
    expect(page.locator("#found")).to_have_text("No sample fits these filters.")
    page.select_option("#f-outcome", "")
    page.select_option("#f-task", "1")
    page.wait_for_selector(".choices td")
    assert page.inner_text(".choices tbody tr >> nth=1").split("\n")[0].startswith("2")
    assert "right answer" in page.inner_text(".choices tbody tr >> nth=1")
    assert "-11.000" in page.inner_text(".choices tbody tr >> nth=1")


def test_a_sample_shows_prompt_thought_and_response(page: Page, one: Path) -> None:
    open_file(page, one)
    page.wait_for_selector("#sample h3")
    text = page.inner_text("#sample")
    assert "사과 셋에 넷을" in text and "ko_gsm8k-00001의 답은 일곱입니다." in text
    assert "먼저 셋과" not in text and "하나에 하나를" not in text
    page.click("#sample summary >> nth=0")
    page.click("#sample .answer summary")
    expect(page.locator("#sample")).to_contain_text("먼저 셋과")
    expect(page.locator("#sample")).to_contain_text("하나에 하나를")


def test_the_list_is_walked_with_the_arrow_keys(page: Page, one: Path) -> None:
    open_file(page, one)
    page.wait_for_selector("#sample h3")
    page.focus("#list button >> nth=0")
    for _ in range(51):
        page.keyboard.press("ArrowDown")
    expect(page.locator("#sample h3").first).to_have_text("ko_gsm8k-00052")
    assert page.inner_text("#where") == "page 2 of 3"
    assert page.evaluate("document.activeElement.querySelector('.id').textContent") == (
        "ko_gsm8k-00052"
    )


def test_the_step_buttons_keep_the_keyboard(page: Page, one: Path) -> None:
    open_file(page, one)
    page.wait_for_selector("#sample h3")
    page.focus("#sample .steps button >> nth=1")
    for name in ("ko_gsm8k-00002", "ko_gsm8k-00003"):
        page.keyboard.press("Enter")
        expect(page.locator("#sample h3").first).to_have_text(name)


def test_runs_that_disagree_are_found(page: Page, two: Path) -> None:
    open_file(page, two)
    page.wait_for_selector("#sample h3")
    page.select_option("#f-result", "disagree")
    count = int(page.inner_text("#found").split()[0])
    assert 0 < count < 40
    verdicts = page.locator("#list li >> nth=0").locator(".verdict").all_inner_texts()
    assert sorted(verdicts) == ["right", "wrong"]
    expect(page.locator("#sample .answer")).to_have_count(2)


@pytest.mark.parametrize("name", ["one", "two"])
def test_a_phone_needs_no_sideways_scrolling(
    page: Page, name: str, request: pytest.FixtureRequest
) -> None:
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    open_file(page, request.getfixturevalue(name))
    page.wait_for_selector("#sample h3")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_of_ten_thousand_samples_a_page_and_one_sample_are_drawn(
    page: Page, tmp_path: Path
) -> None:
    run = write_result(tmp_path / "run", shown={"ko_gsm8k": 40.0}, n=10_000)
    add_texts(run, "ko_gsm8k", response=lambda name: f"{name}: 답은 일곱입니다.")
    write_report(read_runs([run]), tmp_path / "report.html")
    open_file(page, tmp_path / "report.html")
    expect(page.locator("#sample h3").first).to_have_text("ko_gsm8k-00001")
    assert page.inner_text("#found") == "10,000 of 10,000 samples"
    assert page.locator("#list li").count() == 50
    assert page.inner_text("#where") == "page 1 of 200"
    page.fill("#f-text", "ko_gsm8k-09999: 답")
    expect(page.locator("#found")).to_have_text("1 of 10,000 samples")
    assert "ko_gsm8k-09999: 답은 일곱입니다." in page.inner_text("#sample")


def test_long_names_need_no_sideways_scrolling(page: Page, tmp_path: Path) -> None:
    long = "Korean-" + "very-long-name-" * 20 + "긴이름" * 20
    runs: list[Path] = []
    for name in ("one", "two"):
        run = write_result(tmp_path / name, model=f"{name}/{long}", shown={"ko_gpqa": 40.0}, n=5)
        file = run / "results.json"
        content = json.loads(file.read_text(encoding="utf-8"))
        (task,) = content["tasks"]
        task |= {"title": long, "groups": {long: task["shown"]}, "shots": len(runs)}
        file.write_text(json.dumps(content), encoding="utf-8")
        runs.append(run)
    write_report(read_runs(runs), tmp_path / "report.html")
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    open_file(page, tmp_path / "report.html")
    page.wait_for_selector("#sample h3")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_without_scripts_the_scores_are_there(page: Page, one: Path) -> None:
    context = page.context.browser.new_context(java_script_enabled=False)  # type: ignore[union-attr]
    plain = context.new_page()
    open_file(plain, one)
    assert "Ko-GSM8K" in plain.inner_text("#scores") and "40.00" in plain.inner_text("#scores")
    assert plain.locator("noscript").inner_text().startswith("This part needs JavaScript")
    context.close()
