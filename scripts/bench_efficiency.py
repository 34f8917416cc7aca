"""Efficiency: a dense forward without the vocabulary head over as many tokens, against ours.

    KO_EVAL_DATA=DATA python scripts/bench_efficiency.py [--model demo] [--dtype float32 bfloat16]
        [--task kobest_hellaswag kobbq] [--shots 0 5] [--rows N] [--repeats 3] [--device cpu]

The best that any engine could do: the model's body over the distinct tokens of the task's prefix
tree, in full rows without padding, mask, cache or head. Its row length is the fastest of
`--width`; its rows are runs of the same tokens. Ours is the engine's time for the real task from
token ids to sums: planning, masks, cached paths and the head at the rows that are read included. A
first untimed round, in which the engine checks itself and picks its row size, is left out. Both run
in turns; shown are medians. Target: at least 0.8.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench_common import Row, alternating, heading, print_table, say
from bench_workloads import (
    MODELS,
    PUBLIC_TASKS,
    Loaded,
    Workload,
    all_pairs,
    ask,
    encode,
    load,
    public_rows,
    public_workload,
)

from ko_eval.engines.prefix_tree import Forest, build_forest

_TARGET = 0.8
_ROWS = 40
_WIDTHS = {"cpu": [256, 512, 1024], "cuda": [2048, 4096, 8192, 16384]}


@dataclass(frozen=True, slots=True)
class Efficiency:
    """A task's distinct tokens in a dense forward and in the engine.

    Attributes:
        width: tokens of a row of the dense forward, the fastest of those tried.
        dense, ours: median seconds.
        path: which of the engine's paths answered.
    """

    what: str
    forest: Forest
    width: int
    dense: float
    ours: float
    path: str

    def row(self) -> Row:
        return Row(
            what=self.what,
            theirs=f"{self.dense:.2f} s",
            ours=f"{self.ours:.2f} s",
            measured=self.dense / self.ours,
            at_least=_TARGET,
            extra={
                "distinct tokens": str(self.forest.tokens_distinct),
                "read at": str(self.forest.rows_read),
                "path": self.path,
                "dense row": str(self.width),
                "dense tokens/s": f"{self.forest.tokens_distinct / self.dense:.0f}",
                "our tokens/s": f"{self.forest.tokens_distinct / self.ours:.0f}",
            },
        )


def dense_forward(loaded: Loaded, forest: Forest, width: int) -> Callable[[], None]:
    """Feeds the forest's tokens to the model without its head, in rows of `width`; waits for it."""
    import torch

    device = loaded.model.device
    body = loaded.model.base_model
    tokens = torch.tensor(forest.tokens, dtype=torch.long, device=device)[None]
    rows = torch.split(tokens, width, dim=1)

    def run() -> None:
        with torch.inference_mode():
            for row in rows:
                body(input_ids=row, use_cache=False)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return run


def measure(loaded: Loaded, workload: Workload, widths: Sequence[int], repeats: int) -> Efficiency:
    """The engine and the dense forward in turns."""
    say(f"{loaded.label}, {workload.label}: {len(workload.requests)} requests")
    encoded = encode(loaded, workload)
    forest = build_forest(all_pairs(encoded))
    engine = loaded.engine()
    dense = {str(width): dense_forward(loaded, forest, width) for width in widths}
    seconds = alternating({"ours": partial(ask, engine, encoded), **dense}, repeats)
    width = min(widths, key=lambda each: seconds[str(each)])
    return Efficiency(
        f"{loaded.label}: {workload.label}",
        forest,
        width,
        seconds[str(width)],
        seconds["ours"],
        str(engine.capabilities.conditions["likelihood"]),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints."""
    options = _parser().parse_args(argv)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    heading(__doc__, "torch", "transformers")
    widths = options.width or _WIDTHS["cuda" if options.device.startswith("cuda") else "cpu"]
    found = []
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        work = Path(temporary)
        rows = public_rows(work)
        for name in options.model:
            for dtype in options.dtype:
                loaded = load(name, dtype, options.device, work)
                found += [
                    measure(
                        loaded,
                        public_workload(task, rows, shots, options.rows),
                        widths,
                        options.repeats,
                    )
                    for task in options.task
                    for shots in options.shots
                ]
                del loaded
    say()
    print_table(
        f"One dense forward without head (theirs) and the engine, medians of {options.repeats}, "
        f"{options.device}",
        [shown.row() for shown in found],
        ratio="dense / ours",
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="+", choices=MODELS, default=["demo"])
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument(
        "--task", nargs="+", choices=PUBLIC_TASKS, default=["kobest_hellaswag", "kobbq"]
    )
    parser.add_argument("--shots", nargs="+", type=int, default=[0, 5])
    parser.add_argument("--rows", type=int, default=_ROWS, help=f"first N rows (default {_ROWS})")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--width", nargs="+", type=int, help="row lengths of the dense forward")
    parser.add_argument("--device", default="cpu")
    return parser


if __name__ == "__main__":
    sys.exit(main())
