"""Likelihoods: the transformers engine beside lm-evaluation-harness's `hf` model.

    KO_EVAL_DATA=DATA python scripts/bench_likelihood.py [--model tiny demo] [--shots 0 5]
        [--dtype float32] [--task kobest_hellaswag …] [--rows N] [--repeats 3] [--device cpu]

Both score the same strings, those that ko-eval's task renders, with one model that is loaded once
and shared. What is timed begins at the strings and ends at the sums, tokenising included; outside
are the model, the tasks and a first round of ours, in which the engine checks itself and picks its
row size. The sides run in turns, ours and theirs; our plain path (a row per choice) runs once.

So that the comparison is fair, the other side gets its best batch size on this device: each of
`--their-batch` is tried on the first pairs of each setting, unless its logits would not fit into
half of the free memory.

- asked: tokens to feed when each context and choice is fed alone;
- padded: tokens that the other side feeds, counted in its forward passes (rows × longest). It feeds
  one-token choices of one context together, so on KoBBQ's letters it asks once per item;
- distinct: tokens of the prefix tree, those that we feed.

Target at zero shots: as much faster as padded tokens are more than distinct ones, and at least 3
times; with a vocabulary over 150,000 at least 5; at five shots at least 15.
Exit code: 1 if in float32 our sums differ from the plain path's by more than 1e-4 per token or
choose otherwise, else 0.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench_common import Row, alternating, heading, markdown, print_table, require, say
from bench_workloads import (
    MODELS,
    PUBLIC_TASKS,
    Loaded,
    Sums,
    Workload,
    all_pairs,
    ask,
    encode,
    load,
    public_rows,
    public_workload,
)

from ko_eval.engines.base import EncodedLoglikelihood, TokenIds
from ko_eval.engines.prefix_tree import Forest, build_forest
from ko_eval.scorers.likelihoods import best

TOLERANCE = 1e-4
"""Of a log-likelihood in float32, in nats per token."""
_ZERO_SHOT, _FIVE_SHOT, _LARGE_VOCABULARY = 3.0, 15.0, 5.0
_LARGE = 150_000
# Rows at zero and at more shots: a call with one small model takes minutes on two cores.
_ROWS = {"tiny": (200, 40), "demo": (12, 6), "qwen-shaped": (24, 6)}
_MANY = (200, 200)
# Rows on which a batch size of the other side is tried, at least.
_PROBED_ROWS = 8


class Reference:
    """lm-evaluation-harness's `hf` model around a loaded model, its forward passes counted.

    Attributes:
        fed: tokens of all forward passes so far, padding included.
    """

    def __init__(self, loaded: Loaded, batch: int) -> None:
        from lm_eval.api.instance import Instance
        from lm_eval.models.huggingface import HFLM

        self._model: Any = HFLM(
            pretrained=loaded.model,
            tokenizer=loaded.tokenizer,
            max_length=loaded.window,
            batch_size=batch,
        )
        self._instance = Instance
        self._call: Callable[..., Any] = self._model._model_call
        self._model._model_call = self._counted
        self.fed = 0

    def sums(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Log-likelihoods of (context, continuation), in order."""
        asked = [
            self._instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)
        ]
        return [float(found[0]) for found in self._model.loglikelihood(asked, disable_tqdm=True)]

    def _counted(self, inputs: Any, *rest: Any, **options: Any) -> Any:
        self.fed += inputs.numel()
        return self._call(inputs, *rest, **options)


@dataclass(frozen=True, slots=True)
class Measured:
    """One setting on all sides.

    Attributes:
        batch: the other side's batch size.
        padded: tokens that it feeds.
        seconds: medians of `ours`, `theirs` and our `tokenising` alone; one run of `plain`.
        sums: log-likelihoods of `ours`, `theirs` and `plain`.
    """

    loaded: Loaded
    workload: Workload
    encoded: Sequence[EncodedLoglikelihood]
    forest: Forest
    batch: int
    padded: int
    seconds: dict[str, float]
    sums: dict[str, Sums]

    @property
    def saved(self) -> float:
        """Padded tokens of the other side for each token of ours."""
        return self.padded / self.forest.tokens_distinct

    @property
    def target(self) -> float:
        if self.workload.shots >= 5:
            return _FIVE_SHOT
        least = _LARGE_VOCABULARY if self.loaded.vocabulary > _LARGE else _ZERO_SHOT
        return max(least, self.saved)


def measure(loaded: Loaded, workload: Workload, batches: Sequence[int], repeats: int) -> Measured:
    """Runs all sides on one setting."""
    # lm-eval is asked request by request, so that ours with equal ids are asked once by both.
    encoded = encode(loaded, workload)
    requests = [request.request for request in encoded]
    texts = [(pair.context, pair.continuation) for r in requests for pair in r.pairs]
    forest = build_forest(all_pairs(encoded))
    batch = best_batch(loaded, encoded, batches)
    say(f"{loaded.label}, {workload.label}: {len(texts)} pairs, their batch {batch}")
    reference = Reference(loaded, batch)
    packed, slow = loaded.engine(), loaded.engine(likelihood="plain")
    asked = Workload(workload.name, workload.shots, tuple(requests))
    ask(packed, encoded)
    found: dict[str, Sums] = {}

    def ours() -> None:
        found["ours"] = ask(packed, encode(loaded, asked))

    def theirs() -> None:
        found["theirs"] = _by_request(encoded, reference.sums(texts))

    started = time.perf_counter()
    found["plain"] = ask(slow, encode(loaded, asked))
    plain = time.perf_counter() - started
    sides: dict[str, Callable[[], object]] = {"ours": ours, "theirs": theirs}
    sides["tokenising"] = partial(encode, loaded, asked)
    seconds = {**alternating(sides, repeats, warm_up=False), "plain": plain}
    return Measured(
        loaded, workload, encoded, forest, batch, reference.fed // repeats, seconds, found
    )


def _by_request(encoded: Sequence[EncodedLoglikelihood], values: Sequence[float]) -> Sums:
    found, start = {}, 0
    for request in encoded:
        end = start + len(request.pairs)
        found[request.key] = tuple(values[start:end])
        start = end
    return found


def best_batch(
    loaded: Loaded, encoded: Sequence[EncodedLoglikelihood], sizes: Sequence[int]
) -> int:
    """The other side's fastest batch size per token, tried on the first pairs of the setting.

    Larger sizes are left out once one is slower than a smaller one.
    """
    longest = max(len(pair.context) + len(pair.continuation) for pair in all_pairs(encoded))
    # Its logits, and their log-softmax beside them.
    per_row = 2 * longest * loaded.vocabulary * loaded.model.dtype.itemsize
    fitting = [size for size in sizes if size * per_row <= _free_memory(loaded) / 2] or [1]
    chosen, fastest = fitting[0], math.inf
    for size in fitting if len(fitting) > 1 else []:
        some = _filling(encoded, max(size, _PROBED_ROWS))
        tokens = build_forest(all_pairs(some)).tokens_asked
        reference = Reference(loaded, size)
        started = time.perf_counter()
        reference.sums([(p.context, p.continuation) for r in some for p in r.request.pairs])
        per_token = (time.perf_counter() - started) / tokens
        if per_token > 1.1 * fastest:
            break
        if per_token < fastest:
            chosen, fastest = size, per_token
    return chosen


def _filling(encoded: Sequence[EncodedLoglikelihood], rows: int) -> list[EncodedLoglikelihood]:
    """The first requests from which the other side makes so many rows."""
    some: list[EncodedLoglikelihood] = []
    fed: set[TokenIds] = set()
    for request in encoded:
        if len(fed) >= rows:
            break
        some.append(request)
        fed |= {pair.context + pair.continuation[:-1] for pair in request.pairs}
    return some


def _free_memory(loaded: Loaded) -> int:
    import torch

    device = loaded.model.device
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 4 << 30


def largest_difference(shown: Measured, other: str) -> float:
    """Of a log-likelihood to that of another side, in nats per token of the continuation."""
    return max(
        abs(ours - theirs) / len(pair.continuation)
        for request in shown.encoded
        for pair, ours, theirs in zip(
            request.pairs,
            shown.sums["ours"][request.key],
            shown.sums[other][request.key],
            strict=True,
        )
    )


def same_choices(shown: Measured, other: str) -> int:
    """Requests on which another side chooses the same option as ours."""
    others = shown.sums[other]
    return sum(best(ours) == best(others[key]) for key, ours in shown.sums["ours"].items())


def speed_row(shown: Measured) -> Row:
    seconds = shown.seconds
    return Row(
        what=f"{shown.loaded.label}: {shown.workload.label}",
        theirs=f"{seconds['theirs']:.2f} s",
        ours=f"{seconds['ours']:.2f} s",
        measured=seconds["theirs"] / seconds["ours"],
        at_least=shown.target,
        extra={
            "rows": str(len(shown.encoded)),
            "pairs": str(len(all_pairs(shown.encoded))),
            "asked": str(shown.forest.tokens_asked),
            "their batch": str(shown.batch),
            "padded": str(shown.padded),
            "distinct": str(shown.forest.tokens_distinct),
            "padded / distinct": f"{shown.saved:.2f}",
            "our plain path": f"{seconds['plain']:.2f} s",
            "our tokenising": f"{seconds['tokenising']:.2f} s",
        },
    )


def correctness_line(shown: Measured) -> list[str]:
    total = len(shown.encoded)
    return [
        f"{shown.loaded.label}: {shown.workload.label}",
        f"{largest_difference(shown, 'plain'):.1e}",
        f"{same_choices(shown, 'plain')} of {total}",
        f"{largest_difference(shown, 'theirs'):.1e}",
        f"{same_choices(shown, 'theirs')} of {total}",
    ]


def is_right(shown: Measured) -> bool:
    """Whether our sums are those of the plain path; true of lower precisions by definition."""
    if str(shown.loaded.model.dtype) != "torch.float32":
        return True
    same = same_choices(shown, "plain") == len(shown.encoded)
    return same and largest_difference(shown, "plain") <= TOLERANCE


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints, and returns the exit code."""
    options = _parser().parse_args(argv)
    require("lm_eval", "pip install 'ko-eval[parity]'")
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        os.environ.setdefault(name, "1")  # read when datasets is imported, which is further down
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    heading(__doc__, "torch", "transformers", "lm_eval")
    found = []
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        work = Path(temporary)
        rows = public_rows(work)
        for name in options.model:
            for dtype in options.dtype:
                loaded = load(name, dtype, options.device, work)
                for task in options.task:
                    for shots in options.shots:
                        limit = options.rows or _ROWS.get(name, _MANY)[shots > 0]
                        workload = public_workload(task, rows, shots, limit)
                        found.append(
                            measure(loaded, workload, options.their_batch, options.repeats)
                        )
                del loaded
    say()
    print_table(
        f"Seconds for log-likelihoods, medians of {options.repeats}, {options.device}",
        [speed_row(shown) for shown in found],
    )
    say("### Largest difference of our log-likelihoods, in nats per token, and equal choices\n")
    headings = ["what", "to our plain path", "same choice", "to theirs", "same choice"]
    say(markdown(headings, [correctness_line(shown) for shown in found]))
    return 0 if all(is_right(shown) for shown in found) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="+", choices=MODELS, default=["tiny", "demo"])
    parser.add_argument("--dtype", nargs="+", default=["float32"], help="float32, bfloat16")
    parser.add_argument("--task", nargs="+", choices=PUBLIC_TASKS, default=list(PUBLIC_TASKS))
    parser.add_argument("--shots", nargs="+", type=int, default=[0, 5])
    parser.add_argument("--rows", type=int, help="first N rows (default: by model and shots)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--their-batch", nargs="+", type=int, default=[1, 8, 16, 32, 64])
    parser.add_argument("--device", default="cpu")
    return parser


if __name__ == "__main__":
    sys.exit(main())
