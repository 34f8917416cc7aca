"""How long a leaderboard of many models takes to build and to filter, and how large it is.

    python scripts/bench_leaderboard.py [--models 2000] [--no-browser]

The results are synthetic: nine tasks, drawn from a seed. Targets: built in 5 s by the command line,
reading included; a key press in the search box shown in 100 ms, in Chromium.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_common import Row, heading, print_table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

# Typed one after another, each is a new list of rows; then all rows again.
SEARCHES = ("m", "mo", "model-1", "model-19", "model-199", "zzz", "")
KINDS = ("pretrained", "instruction", "reasoning", "merge")


def write_runs(folder: Path, models: int) -> Path:
    """So many finished runs under `folder`; the file that says what the models are."""
    from result_files import NINE, write_result

    draw = random.Random(0)
    lines = []
    one = write_result(folder / "one", shown=dict.fromkeys(NINE, 50.0), label="private")
    content = json.loads((one / "results.json").read_text(encoding="utf-8"))
    shutil.rmtree(one)
    for number in range(models):
        name, ability = f"org-{number % 40}/model-{number:04}", draw.gauss(45, 10)
        day = f"2026-{draw.randint(1, 10):02}-{draw.randint(1, 28):02}"
        content["model"] |= {"name": name, "sha256": f"{number:064x}"}
        content["created"] = f"{day}T00:00:00+00:00"
        for task in content["tasks"]:
            value = min(max(ability + draw.gauss(0, 5), 3), 97)
            task["shown"] |= {"value": value, "low": value - 3, "high": value + 3}
        directory = folder / f"model-{number:04}" / "leaderboard2-private"
        directory.mkdir(parents=True)
        (directory / "results.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
        size = draw.choice((1.3, 3, 7.8, 14, 32, 70))
        lines.append(
            f"{name}: {{type: {draw.choice(KINDS)}, parameters: {size}B, licence: mit, "
            f"released: {day[:7]}, price: {{input_per_million: {size / 50}, "
            f"output_per_million: {size / 20}}}}}\n"
        )
    (folder / "models.yaml").write_text("".join(lines), encoding="utf-8")
    return folder / "models.yaml"


def size_of(site: Path) -> tuple[int, int]:
    """Bytes of the whole site, and of what the ranking loads."""
    files = [path for path in site.rglob("*") if path.is_file()]
    shown = [site / "index.html", *(path for path in files if path.parent.name == "assets")]
    return sum(path.stat().st_size for path in files), sum(path.stat().st_size for path in shown)


def browser_times(site: Path) -> dict[str, float]:
    """Seconds until the ranking can be used, and until what was typed is shown (worst, median)."""
    from browser import chromium
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = started.new_page()
        begun = time.perf_counter()
        page.goto((site / "index.html").as_uri())
        page.wait_for_selector(".ranking button.sort")
        opened = time.perf_counter() - begun
        page.wait_for_selector("#by_cost svg")
        # From the event to the frame that shows it, as the page's own clock sees it.
        took = page.evaluate(
            """async (searches) => {
                const box = document.getElementById("q"), times = [];
                for (const text of searches) {
                    await new Promise((done) => setTimeout(done, 400));
                    const start = performance.now();
                    box.value = text;
                    box.dispatchEvent(new Event("input", { bubbles: true }));
                    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
                    times.push(performance.now() - start);
                }
                return times;
            }""",
            list(SEARCHES),
        )
        started.close()
    return {
        "opened": opened,
        "worst": max(took) / 1000,
        "median": statistics.median(took) / 1000,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=int, default=2000)
    parser.add_argument("--browser", action=argparse.BooleanOptionalAction, default=True)
    arguments = parser.parse_args()
    heading(__doc__, "pydantic", "jinja2", "playwright")
    with tempfile.TemporaryDirectory() as folder:
        runs, site = Path(folder) / "runs", Path(folder) / "site"
        models = write_runs(runs, arguments.models)
        command = [sys.executable, "-m", "ko_eval.cli.main", "leaderboard", str(runs)]
        begun = time.perf_counter()
        subprocess.run([*command, "-o", str(site), "--models", str(models)], check=True)
        seconds, after = time.perf_counter() - begun, os.times()
        cpu = after.children_user + after.children_system
        whole, loaded = size_of(site)
        rows = [
            Row(
                what="build, by the command line",
                ours=f"{seconds:.2f} s",
                measured=seconds,
                at_most=5.0,
            ),
            Row(what="the same in CPU time", ours=f"{cpu:.2f} s"),
            Row(what="the whole site", ours=f"{whole / 1e6:.1f} MB"),
            Row(what="what the ranking loads, not compressed", ours=f"{loaded / 1e6:.2f} MB"),
        ]
        if arguments.browser:
            times = browser_times(site)
            rows += [
                Row(what="the ranking opens in Chromium", ours=f"{times['opened']:.2f} s"),
                Row(what="a search is shown, median", ours=f"{times['median'] * 1000:.0f} ms"),
                Row(
                    what="a search is shown, worst",
                    ours=f"{times['worst'] * 1000:.0f} ms",
                    measured=times["worst"],
                    at_most=0.1,
                ),
            ]
    print_table(f"{arguments.models:,} models, nine tasks", rows, ratio="seconds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
