"""Makes many run directories as `run` leaves them, and shows how long `ko-eval status` takes.

python tests/run_directories.py 500
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ko_eval.runs.state import FILE_NAME, RunState, StateName, TaskState

TASKS = [f"task_{number}" for number in range(9)]


def write_run(
    out: Path,
    model: str,
    state: StateName,
    *,
    done: int = 40,
    host: str = "another-machine",
    process: int = 4_000_000,
    silent_seconds: float = 0.0,
    error: str | None = None,
    tasks: list[str] = TASKS,
) -> Path:
    """A run directory of the given state, so many of 100 requests done in each task."""
    directory = out / model / "suite-bundled-0123456789ab"
    directory.mkdir(parents=True)
    moment = datetime.now(UTC) - timedelta(seconds=silent_seconds)
    content = RunState(
        state=state,
        model=model,
        process=process,
        host=host,
        started=moment.isoformat(timespec="seconds"),
        updated=moment.isoformat(timespec="seconds"),
        asked=done * len(tasks),
        seconds=100.0,
        tasks={name: TaskState(total=100, done=done, failed=0) for name in tasks},
        error=error,
    )
    (directory / FILE_NAME).write_text(content.model_dump_json(), encoding="utf-8")
    (directory / "run.json").write_text("{}", encoding="utf-8")
    if state == "done":
        (directory / "results.json").write_text("{}" + " " * 100_000, encoding="utf-8")
    return directory


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            write_run(Path(folder), f"model-{number:03}", "done" if number % 2 else "asking")
        for words in ([], ["--json"], ["--all-tasks"]):
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "ko_eval.cli.main", "status", folder, *words],
                check=True,
                capture_output=True,
            )
            seconds = time.perf_counter() - start
            lines = done.stdout.count(b"\n")
            told = f"{count} run directories, status {' '.join(words)}: {seconds:.2f} s"
            sys.stdout.write(f"{told}, {lines} lines\n")


if __name__ == "__main__":
    main()
