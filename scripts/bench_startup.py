"""How quickly the command line says hello: wall and CPU time of commands that need no model.

    python scripts/bench_startup.py [--runs 15]

Each command is run as a process of its own, the commands in turns. Targets: `--help` in 0.15 s,
`list` in 0.3 s. CPU time is what a machine that does nothing else would take.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

from bench_common import Row, heading, print_table

COMMANDS = (("--help", 0.15), ("list", 0.3), ("list suites", None), ("run --help", None))


def timed(command: str) -> tuple[float, float]:
    """Wall and CPU seconds of one call."""
    arguments = [sys.executable, "-m", "ko_eval.cli.main", *command.split()]
    before, started = os.times(), time.perf_counter()
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - started, os.times()
    user = after.children_user - before.children_user
    return wall, user + after.children_system - before.children_system


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=15)
    arguments = parser.parse_args()
    heading(__doc__, "typer", "pydantic", "rich")
    times: dict[str, list[tuple[float, float]]] = {command: [] for command, _ in COMMANDS}
    for _ in range(arguments.runs):
        for command in times:
            times[command].append(timed(command))
    rows = []
    for command, target in COMMANDS:
        wall = statistics.median(wall for wall, _ in times[command])
        cpu = statistics.median(cpu for _, cpu in times[command])
        rows.append(
            Row(
                what=f"`ko-eval {command}`",
                ours=f"{wall:.2f} s",
                measured=wall,
                at_most=target,
                extra={"CPU": f"{cpu:.2f} s"},
            )
        )
    print_table(f"Start-up, medians of {arguments.runs} runs", rows, ratio="seconds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
