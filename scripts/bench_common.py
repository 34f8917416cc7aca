"""What the benchmarks share: the machine in words, fair timing, one kind of table, the data folder.

    from bench_common import Row, alternate, heading, print_table

    our_seconds, their_seconds = alternate(run_ours, run_theirs, repeats=3)
    ratio = their_seconds / our_seconds
    heading(__doc__, "torch", "lm_eval")
    print_table(
        "Likelihood",
        [Row(what="KoBBQ", ours=f"{our_seconds:.2f} s", theirs=f"{their_seconds:.2f} s",
             measured=ratio, at_least=3.0, extra={"requests": "600"})],
    )

Tables are Markdown, ready for `docs/benchmarks.md`. Sides that are compared run in turns, A B A B,
in one process or at least in one call, because a machine is never equally fast twice; what is shown
is the median of each side.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import statistics
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ko_eval

REPOSITORY = Path(__file__).resolve().parents[1]
NOTHING = "–"

_GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the final table.

    Attributes:
        what: model, task and setting.
        ours, theirs: as shown, with their unit.
        measured: what the target is about: a ratio, or seconds; None when it could not be had.
        at_least, at_most: the target; None for none.
        extra: further columns by heading, in order.
    """

    what: str
    ours: str
    theirs: str = NOTHING
    measured: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def target(self) -> str:
        """The target in words."""
        bounds = [
            f"{sign} {bound:.4g}"
            for sign, bound in (("≥", self.at_least), ("≤", self.at_most))
            if bound is not None
        ]
        return " and ".join(bounds) or NOTHING

    @property
    def verdict(self) -> str:
        """`reached`, `missed`, or a dash where there is no target or no measurement."""
        if self.target == NOTHING or self.measured is None:
            return NOTHING
        low = self.at_least is None or self.measured >= self.at_least
        high = self.at_most is None or self.measured <= self.at_most
        return "reached" if low and high else "missed"


def machine() -> str:
    """Processor, cores, memory and GPU of this machine, on one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    # Cores that this process may use: a container often has fewer than its machine.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_processor()}, {cores} cores, {memory:.0f} GiB memory, {_gpu()}"


def versions(*packages: str) -> str:
    """Versions of ko-eval, Python and the packages, on one line; says which are not installed."""
    found = [f"ko-eval {ko_eval.__version__}", f"Python {platform.python_version()}"]
    for package in packages:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{package} not installed")
    return ", ".join(found)


def alternating(
    sides: Mapping[str, Callable[[], object]], repeats: int, *, warm_up: bool = True
) -> dict[str, float]:
    """Median wall seconds of each side, the sides run in turns.

    Args:
        sides: by name, what is timed; must wait for its device before it returns.
        repeats: rounds, at least 1.
        warm_up: run each side once, untimed, before the first round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    if warm_up:
        for run in sides.values():
            run()
    for _ in range(repeats):
        for name, run in sides.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(of_side) for name, of_side in seconds.items()}


def alternate(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    repeats: int,
    *,
    warm_up: bool = True,
) -> tuple[float, float]:
    """Median wall seconds of ours and of theirs; see `alternating`."""
    found = alternating({"ours": ours, "theirs": theirs}, repeats, warm_up=warm_up)
    return found["ours"], found["theirs"]


def heading(description: str | None, *packages: str) -> None:
    """Prints the first line of a script's docstring, the machine and the versions."""
    say((description or "").splitlines()[0] if description else "")
    say(f"Machine: {machine()}")
    say(f"Versions: {versions(*packages)}")
    say()


def print_table(title: str, rows: Sequence[Row], *, ratio: str = "theirs / ours") -> None:
    """Prints the rows as a Markdown table.

    Args:
        ratio: heading of the column that shows `measured`.
    """
    extra = list(dict.fromkeys(name for row in rows for name in row.extra))
    headings = ["what", *extra, "theirs", "ours", ratio, "target", ""]
    body = [
        [
            row.what,
            *(row.extra.get(name, NOTHING) for name in extra),
            row.theirs,
            row.ours,
            NOTHING if row.measured is None else f"{row.measured:.3g}",
            row.target,
            row.verdict,
        ]
        for row in rows
    ]
    say(f"### {title}\n")
    say(markdown(headings, body))


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table with aligned columns: the first to the left, the others to the right."""
    lines = [list(headings), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    widths = [max(3, *(_width(line[i]) for line in lines)) for i in range(len(headings))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    shown = [
        [line[0] + " " * (widths[0] - _width(line[0]))]
        + [" " * (width - _width(c)) + c for width, c in zip(widths[1:], line[1:], strict=True)]
        for line in lines
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in [shown[0], rule, *shown[1:]])


def data_folder(*needed: str) -> Path:
    """The folder of public data; ends the script with code 2 when it or a needed file is missing.

    Args:
        needed: paths below it, such as `kobest/HellaSwag_test.tsv`.
    """
    given = os.environ.get("KO_EVAL_DATA")
    folder = Path(given) if given else REPOSITORY.parent / "shared" / "data"
    missing = [name for name in needed if not (folder / name).exists()]
    if not folder.is_dir():
        fail(f"there is no data folder '{folder}'", "set KO_EVAL_DATA to the folder of public data")
    if missing:
        fail(f"the data folder '{folder}' lacks {', '.join(missing)}", "see KO_EVAL_DATA")
    return folder


def require(package: str, hint: str) -> None:
    """Ends the script with code 2 when a package (by its import name) cannot be found."""
    if importlib.util.find_spec(package) is None:
        fail(f"the package {package} is not installed", hint)


def fail(what: str, hint: str) -> None:
    """Says on stderr what is wrong and what to do, and ends the script with code 2."""
    sys.stderr.write(f"error: {what}\n  {hint}\n")
    raise SystemExit(2)


def say(text: str = "") -> None:
    """Prints a line at once, so that a long run shows how far it is."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _gpu() -> str:
    try:
        import torch
    except ImportError:
        return "GPU unknown (no torch)"
    if not torch.cuda.is_available():
        return "no GPU"
    count, name = torch.cuda.device_count(), torch.cuda.get_device_name(0)
    memory = torch.cuda.get_device_properties(0).total_memory / _GIB
    return f"{count} × {name} ({memory:.0f} GiB)"


def _width(text: str) -> int:
    """Columns of a terminal: Korean letters take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
