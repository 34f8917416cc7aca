"""Whether the transformers engine is right and fast on this machine's GPU; needs no network.

    scripts/gpu_check.sh [--part correctness benchmarks] [--shape llama-1b llama-8b]
        [--attention sdpa flex] [--rows N] [--repeats 3] [--device cuda]

Correctness, on tiny random models of each family: the packed path on the device, in rows so short
that cached paths and borders occur, against the plain path in float32 on the CPU. In float32 no
log-likelihood may differ by more than 1e-4 nats per token. In bfloat16 the reference computes with
the same rounded weights, and the packed path's mean error per token must not exceed that of the
plain path on the device (by more than a tenth, as both are rounded in their own way).

`engine` is the engine as it is used, which chooses for itself; `sdpa` and `flex` are packed rows
with that attention, chosen or not.

Benchmarks, on random models of real size, made on the device, on the bundled rows: the same ways,
the plain path, and one dense forward without head over the distinct tokens, in turns, medians; then
generation. Random weights cost what trained ones cost.

Without CUDA nothing is measured, unless `--device cpu` asks for it, with `--shape tiny` say.
Exit code: 0 done, 1 something is not correct, 2 there is no such device or a package is missing.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from bench_common import NOTHING, Row, alternating, fail, heading, markdown, print_table, say
from bench_efficiency import dense_forward
from bench_workloads import (
    SHAPES,
    Loaded,
    Sums,
    all_pairs,
    ask,
    bundled_workload,
    encode,
    load,
    random_model,
)

from ko_eval.engines.base import EncodedGenerate, EncodedLoglikelihood
from ko_eval.engines.prefix_tree import build_forest, sums
from ko_eval.errors import first_line
from ko_eval.tasks.prepare import prepare_task
from ko_eval.tasks.registry import load_task
from ko_eval.types import GenerateResponse

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOLERANCE = 1e-4
"""Of a log-likelihood in float32, in nats per token."""
_NOT_WORSE = 1.1
_SHORT_ROW = 96
_GIB = 1 << 30
# Of a model's weights, what its activations and caches may need beside them.
_ROOM = 1.25
_TASKS = ("kornat_knowledge", "ko_winogrande")
_GENERATION = "ko_gsm8k"

_SMALL: Mapping[str, Any] = {
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "hidden_size": 64,
    "initializer_range": 0.1,
}
_GROUPED = {**_SMALL, "num_key_value_heads": 2, "intermediate_size": 128}
FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "Llama": _GROUPED,
    "Mistral": {**_GROUPED, "sliding_window": 32},
    "Qwen2": _GROUPED,
    "Qwen3": {**_GROUPED, "head_dim": 16},
    "Gemma2": {**_GROUPED, "head_dim": 16, "sliding_window": 32},
    "Gemma3Text": {**_GROUPED, "head_dim": 16, "sliding_window": 32},
    "Phi3": _GROUPED,
    "GPTNeoX": {**_SMALL, "intermediate_size": 128},
    "GPT2": {"n_layer": 3, "n_head": 4, "n_embd": 64, "initializer_range": 0.1},
}
"""Tiny models by the name of their transformers configuration."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One family, precision and attention, held against the plain path on the CPU.

    Attributes:
        measured: the difference, or what failed, in words.
    """

    what: str
    measured: str
    right: bool


Way = Callable[[], Sums]
"""Answers some requests in one way."""


def ways(
    loaded: Loaded,
    encoded: Sequence[EncodedLoglikelihood],
    attentions: Sequence[str],
    budget: int | None = None,
) -> dict[str, Way]:
    """The engine as it is used, and packed rows with each attention whatever it would choose.

    Args:
        budget: most tokens of a row; None measures which is best.
    """
    from ko_eval.engines.transformers_packed import PackedScorer

    forest = build_forest(all_pairs(encoded))
    found: dict[str, Way] = {
        "engine": partial(ask, loaded.engine(batch_tokens=budget), encoded),
    }
    for attention in attentions:
        scorer = PackedScorer(loaded.model, budget)
        scorer.attention.flex, scorer.attention.undecided = attention == "flex", False

        def packed(scorer: PackedScorer = scorer) -> Sums:
            read = np.concatenate([scores.logprobs for scores in scorer.read(forest)])
            values = sums(forest, read).tolist()
            borders = np.cumsum([0, *(len(request.pairs) for request in encoded)]).tolist()
            parts = zip(encoded, borders, borders[1:], strict=False)
            return {request.key: tuple(values[a:b]) for request, a, b in parts}

        found[attention] = packed
    return found


def check_family(
    family: str, tokenizer: PreTrainedTokenizerBase, attentions: Sequence[str], device: str
) -> list[Verdict]:
    """Both precisions and every attention on one family."""
    import torch

    shape = {**FAMILIES[family], "architecture": family, "vocab_size": len(tokenizer)}
    made = random_model(family, shape, "float32", "cpu", tokenizer)
    encoded = [
        *encode(made, bundled_workload("kornat_knowledge", 2, 6)),
        *encode(made, bundled_workload("ko_winogrande", 0, 6)),
    ]
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        made.model.to(dtype).float()  # the reference has the rounded weights
        reference = ask(made.engine(likelihood="plain"), encoded)
        made.model.to(device=device, dtype=dtype)
        plain = ask(made.engine(likelihood="plain"), encoded)
        for name, way in ways(made, encoded, attentions, _SHORT_ROW).items():
            what = f"{made.label}, {name}"
            try:
                verdict = held_against(what, made, encoded, way(), reference, plain)
            except Exception as error:  # a check goes on, and says what failed
                verdict = Verdict(what, f"failed: {first_line(error)[:100]}", right=False)
            found.append(verdict)
        made.model.to(device="cpu", dtype=torch.float32)
    return found


def held_against(
    what: str,
    loaded: Loaded,
    encoded: Sequence[EncodedLoglikelihood],
    packed: Sums,
    reference: Sums,
    plain: Sums,
) -> Verdict:
    """Packed sums against those of the reference, and against the plain path's own error."""
    import torch

    if loaded.model.dtype == torch.float32:
        most = max(_errors(encoded, packed, reference))
        return Verdict(what, f"at most {most:.1e}", most <= TOLERANCE)
    errors = [_mean(_errors(encoded, side, reference)) for side in (packed, plain)]
    right = errors[0] <= _NOT_WORSE * errors[1]
    return Verdict(what, f"mean {errors[0]:.1e}, plain {errors[1]:.1e}", right)


def _errors(encoded: Sequence[EncodedLoglikelihood], sums: Sums, reference: Sums) -> list[float]:
    """Of each pair, how far its log-likelihood is from the reference, in nats per token."""
    return [
        abs(value - wanted) / len(pair.continuation)
        for request in encoded
        for pair, value, wanted in zip(
            request.pairs, sums[request.key], reference[request.key], strict=True
        )
    ]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def measure(
    loaded: Loaded, task: str, shots: int, rows: int | None, options: argparse.Namespace
) -> list[Row]:
    """The engine, packed rows with each attention, the plain path and a dense forward, in turns."""
    encoded = encode(loaded, bundled_workload(task, shots, rows))
    forest = build_forest(all_pairs(encoded))
    what = f"{loaded.label}: {task}, {shots}-shot"
    peaks: dict[str, str] = {}
    sides: dict[str, Callable[[], object]] = {}
    for name, way in ways(loaded, encoded, options.attention).items():
        try:
            _reset_peak(loaded)
            way()
        except Exception as error:  # one attention that fails must not hide the others
            say(f"{what}, {name} failed: {first_line(error)}")
            continue
        sides[name], peaks[name] = way, _peak(loaded)
    dense = {f"dense {w}": dense_forward(loaded, forest, w) for w in options.width}
    plain = partial(ask, loaded.engine(likelihood="plain"), encoded)
    seconds = alternating({**sides, "plain": plain, **dense}, options.repeats)
    fastest = min(seconds[name] for name in dense)
    return [
        Row(
            what=f"{what}, {name}",
            theirs=f"{seconds['plain']:.2f} s",
            ours=f"{seconds[name]:.2f} s",
            measured=seconds["plain"] / seconds[name],
            extra={
                "asked": str(forest.tokens_asked),
                "distinct": str(forest.tokens_distinct),
                "dense": f"{fastest:.2f} s",
                "dense / ours": f"{fastest / seconds[name]:.2f}",
                "asked tokens/s": f"{forest.tokens_asked / seconds[name]:.0f}",
                "model": f"{_model_bytes(loaded) / _GIB:.2f} GiB",
                "peak": peaks[name],
            },
        )
        for name in sides
    ]


def generation_line(loaded: Loaded, rows: int, new_tokens: int) -> list[str]:
    """New tokens per second of greedy generation on the bundled rows of a task."""
    task = load_task(_GENERATION, overrides={"max_tokens": new_tokens, "stop": []})
    requests = prepare_task(task, limit=rows).requests
    encoded = [r for r in loaded.encoder().encode(requests) if isinstance(r, EncodedGenerate)]
    engine = loaded.engine()
    list(engine.generate(encoded[:1]))
    _reset_peak(loaded)
    started = time.perf_counter()
    answers = [answer.response for answer in engine.generate(encoded)]
    seconds = time.perf_counter() - started
    new = sum(r.completion_tokens for r in answers if isinstance(r, GenerateResponse))
    return [
        f"{loaded.label}: {_GENERATION}",
        str(len(encoded)),
        str(sum(len(request.prompt) for request in encoded)),
        str(new),
        f"{seconds:.2f} s",
        f"{new / seconds:.0f}",
        _peak(loaded),
    ]


def _model_bytes(loaded: Loaded) -> int:
    return sum(p.numel() * p.element_size() for p in loaded.model.parameters())


def _reset_peak(loaded: Loaded) -> None:
    import torch

    if loaded.model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(loaded.model.device)


def _peak(loaded: Loaded) -> str:
    """The peak of allocated GPU memory since it was reset."""
    import torch

    if loaded.model.device.type != "cuda":
        return NOTHING
    return f"{torch.cuda.max_memory_allocated(loaded.model.device) / _GIB:.2f} GiB"


def too_large(shape: str, dtype: str, device: str) -> str | None:
    """Why a model does not fit onto the device, in words; None when it does."""
    import torch

    if shape == "tiny" or not device.startswith("cuda"):
        return None
    fields = SHAPES[shape]
    width, layers = fields["hidden_size"], fields["num_hidden_layers"]
    grouped = 1 + fields["num_key_value_heads"] / fields["num_attention_heads"]
    per_layer = 2 * width * width * grouped + 3 * width * fields["intermediate_size"]
    ends = 1 if fields["tie_word_embeddings"] else 2
    count = layers * per_layer + ends * width * fields["vocab_size"]
    needed = _ROOM * count * getattr(torch, dtype).itemsize
    free = torch.cuda.mem_get_info(torch.device(device))[0]
    if needed <= free:
        return None
    return f"{shape} needs about {needed / _GIB:.0f} GiB, {free / _GIB:.0f} GiB are free"


def run_correctness(tokenizer: PreTrainedTokenizerBase, options: argparse.Namespace) -> bool:
    """Prints the verdict on every family; returns whether all are right."""
    found = []
    for family in options.family:
        found += check_family(family, tokenizer, options.attention, options.device)
        say(f"checked {family}")
    say(f"\n### Against the plain path in float32 on the CPU, nats per token, {options.device}\n")
    lines = [[shown.what, shown.measured, "right" if shown.right else "WRONG"] for shown in found]
    say(markdown(["model, dtype, way", "difference", "verdict"], lines))
    return all(shown.right for shown in found)


def run_benchmarks(work: Path, options: argparse.Namespace) -> None:
    """Prints likelihood and generation speed of each shape."""
    rows: list[Row] = []
    generated: list[list[str]] = []
    for shape in options.shape:
        if reason := too_large(shape, options.dtype, options.device):
            say(f"left out: {reason}")
            continue
        loaded = load(shape, options.dtype, options.device, work)
        for task in options.task:
            for shots in options.shots:
                say(f"{loaded.label}: {task}, {shots}-shot")
                rows += measure(loaded, task, shots, options.rows, options)
        generated.append(generation_line(loaded, options.rows or 64, options.new_tokens))
        del loaded
    say()
    print_table(
        f"Log-likelihoods, plain path (theirs) and packed (ours), medians of {options.repeats}, "
        f"{options.device}",
        rows,
        ratio="plain / packed",
    )
    headings = ["model", "requests", "prompt tokens", "new tokens", "time", "tokens/s", "peak"]
    say("### Greedy generation\n")
    say(markdown(headings, generated))


def main(argv: Sequence[str] | None = None) -> int:
    """Checks, measures, prints, and returns the exit code."""
    options = _parser().parse_args(argv)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch

    if options.device.startswith("cuda") and not torch.cuda.is_available():
        fail(
            f"torch {torch.__version__} sees no CUDA device here, so nothing was measured",
            "run this on a machine with a GPU, or try it with --device cpu --shape tiny",
        )
    on_cuda = options.device.startswith("cuda")
    options.width = options.width or ([4096, 16384] if on_cuda else [256, 512])
    # FlexAttention is made for GPUs; on a CPU it needs a compiler.
    options.attention = options.attention or (["sdpa", "flex"] if on_cuda else ["sdpa"])
    heading(__doc__, "torch", "transformers")
    right = True
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as temporary:
        work = Path(temporary)
        tokenizer = load("tiny", "float32", "cpu", work).tokenizer
        if "correctness" in options.part:
            right = run_correctness(tokenizer, options)
        if "benchmarks" in options.part:
            run_benchmarks(work, options)
    say("all correct" if right else "something is not correct: see above")
    return 0 if right else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = ["correctness", "benchmarks"]
    parser.add_argument("--part", nargs="+", choices=parts, default=parts)
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument(
        "--attention",
        nargs="+",
        choices=["sdpa", "flex"],
        help="of packed rows (default: sdpa; on CUDA FlexAttention as well)",
    )
    shapes = ["tiny", *SHAPES]
    parser.add_argument("--shape", nargs="+", choices=shapes, default=["llama-1b", "llama-8b"])
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--task", nargs="+", default=list(_TASKS), help="bundled likelihood tasks")
    parser.add_argument("--shots", nargs="+", type=int, default=[0, 5])
    parser.add_argument("--rows", type=int, help="first N rows of each task (default: all)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--width", nargs="+", type=int, help="row lengths of the dense forward")
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--device", default="cuda")
    return parser


if __name__ == "__main__":
    sys.exit(main())
