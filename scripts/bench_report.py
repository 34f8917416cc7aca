"""How quickly a report is made and opened: 10,000 samples with prompts, thoughts and responses.

    python scripts/bench_report.py [--samples 10000] [--runs 3] [--keep FILE]

Opened in a real Chromium (a fresh one each time): until the page has loaded, until the list and the
first sample of the first task are drawn, and how long a search through all texts takes. Target:
2 seconds until everything is drawn.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench_common import REPOSITORY, Row, heading, print_table

sys.path.insert(0, str(REPOSITORY / "tests"))

from browser import DESKTOP, chromium
from playwright.sync_api import expect, sync_playwright
from report_files import add_texts
from result_files import write_result

from ko_eval.reports.page import write_report
from ko_eval.reports.page_data import read_runs
from ko_eval.resources import shipped


def make_run(folder: Path, samples: int) -> Path:
    """A run of one task with five examples in front, a thought and a response, all different."""
    run = write_result(folder / "run", shown={"ko_gsm8k": 40.0}, n=samples)
    words = "".join(p.read_text(encoding="utf-8") for p in shipped("seeds").glob("*.jsonl")).split()
    draw = random.Random(0)

    def text(count: int) -> str:
        return " ".join(draw.choices(words, k=count))

    add_texts(
        run,
        "ko_gsm8k",
        head=text(600),
        prompt=lambda name: f"{name}: {text(80)}\n답:",
        response=lambda name: f"{name}: {text(60)}",
        thinking=lambda name: text(200),
    )
    return run


def opened(path: Path) -> tuple[float, float, float]:
    """Seconds until loaded, until drawn, and for a search."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport=DESKTOP)  # type: ignore[arg-type]
        started = time.perf_counter()
        page.goto(path.as_uri(), wait_until="load")
        loaded = time.perf_counter() - started
        page.wait_for_selector("#list li")
        page.wait_for_selector("#sample h3")
        drawn = time.perf_counter() - started
        started = time.perf_counter()
        page.locator("#f-text").fill("ko_gsm8k-00777")
        expect(page.locator("#found")).to_contain_text("1 of ", timeout=60_000)
        searched = time.perf_counter() - started
        browser.close()
    return loaded, drawn, searched


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="Copy the page there.")
    arguments = parser.parse_args()
    heading(__doc__, "playwright", "jinja2")
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder), arguments.samples)
        path = Path(folder) / "report.html"
        started = time.perf_counter()
        write_report(read_runs([run]), path)
        made = time.perf_counter() - started
        size = path.stat().st_size
        times = [opened(path) for _ in range(arguments.runs)]
        if arguments.keep:
            shutil.copyfile(path, arguments.keep)
    loaded, drawn, searched = (statistics.median(column) for column in zip(*times, strict=True))
    what = f"{arguments.samples:,} samples"
    print_table(
        "Report",
        [
            Row(what=f"{what}: made", ours=f"{made:.2f} s", extra={"size": f"{size / 1e6:.1f} MB"}),
            Row(what=f"{what}: loaded", ours=f"{loaded:.2f} s"),
            Row(what=f"{what}: drawn", ours=f"{drawn:.2f} s", measured=drawn, at_most=2.0),
            Row(what=f"{what}: search", ours=f"{searched:.2f} s"),
        ],
        ratio="seconds",
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
