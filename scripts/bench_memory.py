"""Peak memory of scoring log-likelihoods, beside what the model and its KV cache need.

    python scripts/bench_memory.py [--choices 2 16] [--context 64 1024] [--vocabulary 32000 151669]
        [--layers 12] [--width 768] [--dtype float32] [--row-tokens 512] [--device cpu]

Each line is a process of its own, around a random Qwen-shaped model, with requests of random ids:
one context, and so many choices of 16 tokens. A toy model is made and run before the measured one,
so that imports and thread pools are in the process already. Measured is memory above that level:

- model: bytes of the parameters, counted once where tied;
- cache: bytes of keys and values of one token × the most tokens that a row attends to, its cached
  path and itself;
- loaded: peak while the model is made;
- again: peak while the engine answers a second time, when it no longer checks itself;
- ours: peak while the engine answers first, its self-check included. Both include the model.

On the CPU these are peaks of resident memory, set back before each of them (Linux; elsewhere the
peak of the whole process, which loading may set). On CUDA they are peaks of
memory that torch allocated. `theirs` is lm-evaluation-harness at batch size 1 on two of the same
pairs, if it is installed; its peak depends on the length of a pair and the vocabulary only.

Target: scoring at most 1.3 × (model + cache) in every line, so that it does not depend on choices ×
length × vocabulary.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import dataclasses
import gc
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

from bench_common import Row, heading, print_table, say
from bench_workloads import QWEN_SHAPE, Loaded, all_pairs, ask, load, random_model, synthetic

from ko_eval.engines.base import EncodedLoglikelihood
from ko_eval.engines.prefix_tree import build_forest, pack

_TARGET = 1.3
_CONTINUATION = 16
_MIB = 1 << 20
# About so many distinct tokens are scored in each case.
_TOKENS = 3000


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One process: a model, its requests, and who scores them."""

    side: Literal["ours", "theirs"]
    choices: int
    context: int
    vocabulary: int
    layers: int
    width: int
    dtype: str
    device: str
    row_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """Bytes, as described at the top of this file.

    Attributes:
        path: which of the engine's paths answered.
    """

    model: int
    cache: int
    loaded: int
    scoring: int
    again: int
    path: str


class Meter:
    """Memory above the level at which it was made."""

    def __init__(self, device: str) -> None:
        self._cuda = device.startswith("cuda")
        self._level = 0 if self._cuda else _status("VmRSS")

    def set_back(self) -> None:
        """The peak is from now on that of what follows; memory that is free goes back first."""
        gc.collect()
        if self._cuda:
            import torch

            torch.cuda.reset_peak_memory_stats()
        elif sys.platform.startswith("linux"):
            with contextlib.suppress(AttributeError):  # not the C library of GNU
                ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def peak(self) -> int:
        if self._cuda:
            import torch

            return int(torch.cuda.max_memory_allocated())
        return _status("VmHWM") - self._level


def _status(field: str) -> int:
    """Bytes of a field of /proc/self/status; elsewhere the peak of the process."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def requests_of(case: Case) -> list[EncodedLoglikelihood]:
    per_request = case.context + case.choices * _CONTINUATION
    count = max(1, _TOKENS // per_request)
    return synthetic(count, case.choices, case.context, _CONTINUATION, case.vocabulary)


def run_case(case: Case) -> Peak:
    """Makes the model and scores, in this process."""
    shape = {
        **QWEN_SHAPE,
        "hidden_size": case.width,
        "intermediate_size": 3 * case.width,
        "num_hidden_layers": case.layers,
        "vocab_size": case.vocabulary,
    }
    toy = {**shape, "hidden_size": 64, "intermediate_size": 64, "vocab_size": 100}
    small = dataclasses.replace(case, choices=2, context=8, vocabulary=100)
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        tokenizer = load("tiny", "float32", "cpu", Path(temporary)).tokenizer
    warm = random_model("toy", toy, case.dtype, case.device, tokenizer)
    side(warm, requests_of(small)[:2], small)()
    del warm

    meter = Meter(case.device)
    meter.set_back()
    loaded = random_model("random", shape, case.dtype, case.device, tokenizer)
    after_loading = meter.peak()
    requests = requests_of(case)
    score = side(loaded, requests, case)
    meter.set_back()
    path = score()
    scoring = meter.peak()
    meter.set_back()
    score()
    again = meter.peak()
    forest = build_forest(all_pairs(requests))
    keys = max(len(row.keys) for row in pack(forest, case.row_tokens))
    return Peak(
        model=sum(p.numel() * p.element_size() for p in loaded.model.parameters()),
        cache=keys * bytes_per_token(loaded),
        loaded=after_loading,
        scoring=scoring,
        again=again,
        path=path,
    )


def side(loaded: Loaded, requests: Sequence[EncodedLoglikelihood], case: Case) -> Callable[[], str]:
    """What scores the requests; called, it returns the path taken."""
    if case.side == "ours":
        engine = loaded.engine(batch_tokens=case.row_tokens)

        def ours() -> str:
            ask(engine, requests)
            return str(engine.capabilities.conditions["likelihood"])

        return ours
    from lm_eval.models.huggingface import HFLM

    model = HFLM(
        pretrained=loaded.model, tokenizer=loaded.tokenizer, max_length=loaded.window, batch_size=1
    )
    asked = [
        (("", str(number)), list(pair.context), list(pair.continuation))
        for number, pair in enumerate(all_pairs(requests)[:2])
    ]

    def theirs() -> str:
        model._loglikelihood_tokens(asked, disable_tqdm=True)
        return "theirs"

    return theirs


def bytes_per_token(loaded: Loaded) -> int:
    """Keys and values of one token in all layers."""
    config = loaded.model.config
    size = config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    return int(2 * size * loaded.model.dtype.itemsize)


def in_a_process(case: Case) -> Peak:
    command = [sys.executable, __file__, "--case", json.dumps(dataclasses.asdict(case))]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise RuntimeError(f"{case}:\n{finished.stderr[-2000:]}")
    return Peak(**json.loads(finished.stdout.splitlines()[-1]))


def row_of(case: Case, ours: Peak, theirs: Peak | None) -> Row:
    needed = ours.model + ours.cache
    return Row(
        what=f"{case.choices} choices, context of {case.context}, vocabulary of {case.vocabulary}",
        theirs=_mib(theirs.scoring) if theirs else "not installed",
        ours=_mib(ours.scoring),
        measured=ours.scoring / needed,
        at_most=_TARGET,
        extra={
            "path": ours.path,
            "model": _mib(ours.model),
            "cache": _mib(ours.cache),
            "loaded": _mib(ours.loaded),
            "again": _mib(ours.again),
        },
    )


def _mib(size: int) -> str:
    return f"{size / _MIB:.0f} MiB"


def main(argv: Sequence[str] | None = None) -> int:
    """Measures each case in a process of its own, and prints."""
    options = _parser().parse_args(argv)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if options.case:
        say(json.dumps(dataclasses.asdict(run_case(Case(**json.loads(options.case))))))
        return 0
    heading(__doc__, "torch", "transformers", "lm_eval")
    rows = []
    for vocabulary, context, choices in product(
        options.vocabulary, options.context, options.choices
    ):
        case = Case(
            side="ours",
            choices=choices,
            context=context,
            vocabulary=vocabulary,
            layers=options.layers,
            width=options.width,
            dtype=options.dtype,
            device=options.device,
            row_tokens=options.row_tokens,
        )
        ours, theirs = in_a_process(case), None
        if importlib.util.find_spec("lm_eval") is not None:
            theirs = in_a_process(dataclasses.replace(case, side="theirs"))
        rows.append(row_of(case, ours, theirs))
        say(f"{rows[-1].what}: {rows[-1].ours}")
    say()
    print_table(
        f"Peak memory of scoring, {options.dtype}, rows of {options.row_tokens} tokens, "
        f"{options.device}",
        rows,
        ratio="ours / (model + cache)",
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--choices", nargs="+", type=int, default=[2, 16])
    parser.add_argument("--context", nargs="+", type=int, default=[64, 1024])
    parser.add_argument("--vocabulary", nargs="+", type=int, default=[32_000, 151_669])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--row-tokens", type=int, default=512)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
