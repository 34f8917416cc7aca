"""How asks (`vllm_likelihood`) are put to vLLM, and how its outputs are read.

Which method vLLM's runner takes is found out by asking it. Log-probabilities are those of the raw
model in float32: the engine is started with `logprobs_mode="raw_logprobs"`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from ko_eval.engines.base import Answer
from ko_eval.engines.vllm_likelihood import Ask, Scores
from ko_eval.errors import first_line
from ko_eval.types import FailedResponse, LoglikelihoodResponse

if TYPE_CHECKING:
    from vllm.outputs import RequestOutput
    from vllm.sampling_params import SamplingParams
    from vllm.v1.engine.llm_engine import LLMEngine

Method = Literal["named rows", "steps and rows", "plain"]
"""`named rows`: prompt rows score named tokens. `steps and rows`: one generated step scores named
tokens, and prompt rows the prompt's own; both behind the prefix cache. `plain`: prompt rows score
the prompt's own tokens, without the prefix cache, an ask per choice."""

TOLERANCE = {"float32": 1e-4, "float16": 0.03, "bfloat16": 0.25}
"""Nats per token by which a method may differ from the plain one.

In lower precision the logits themselves are rounded: two steps of a number between 16 and 32.
"""


def probed_method(engine: LLMEngine) -> tuple[Method, str | None]:
    """The best method that vLLM's runner accepts, and why it is not a better one."""
    from vllm.sampling_params import SamplingParams

    prompt = [0, 0, 0]
    try:
        params = SamplingParams(
            max_tokens=1,
            detokenize=False,
            prompt_logprob_token_ids=[[0]],
            prompt_logprob_start=1,
            logprob_token_ids=[0],
        )
        engine.add_request("probe", {"prompt_token_ids": prompt}, params)
    # Another vLLM does not know the names, a runner without the feature refuses them; each with an
    # error of its own. The next method needs nothing of what was tried.
    except Exception as error:
        return "steps and rows", f"vLLM does not take 'named rows': {first_line(error)}"
    outputs: list[Any] = []
    while engine.has_unfinished_requests():
        outputs += engine.step()
    scored = getattr(outputs[-1], "prompt_token_id_logprobs", None)
    return ("steps and rows" if scored is None else "named rows"), None


def ask_params(ask: Ask, method: Method) -> SamplingParams:
    """One greedy step, with the scores that the ask is for."""
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    wanted: dict[str, Any] = {}
    if ask.named:
        wanted["logprob_token_ids"] = list(ask.named)
    if ask.rows and method == "named rows":
        first = ask.rows[0].position
        table: list[list[int]] = [[] for _ in range(len(ask.prompt) - 1 - first)]
        for row in ask.rows:
            table[row.position - first].append(row.token)
        wanted |= {"prompt_logprob_token_ids": table, "prompt_logprob_start": first}
    elif ask.rows:
        wanted["prompt_logprobs"] = 0
    return SamplingParams(
        temperature=0,
        max_tokens=1,
        ignore_eos=True,
        detokenize=False,
        flat_logprobs=True,
        skip_reading_prefix_cache=not ask.reads_cache,
        output_kind=RequestOutputKind.FINAL_ONLY,
        skip_clone=True,
        **wanted,
    )


def collect(ask: Ask, output: RequestOutput, scores: Scores, again: deque[Ask]) -> Iterator[int]:
    """Puts an ask's scores where they belong; yields the requests that they complete.

    Args:
        again: takes asks for rows that the prefix cache held, which have no score.
    """
    if ask.named:
        step: Any = output.outputs[0].logprobs
        found = dict(zip(step.token_ids, step.logprobs, strict=True))
        most_likely = output.outputs[0].token_ids[0]
        for token, score in ask.named.items():
            yield from scores.put(score, found[token], token == most_likely)
    cached = output.num_cached_tokens or 0
    table: Any = getattr(output, "prompt_token_id_logprobs", None)
    rows: Any = output.prompt_logprobs
    taken: dict[int, int] = {}
    for row in ask.rows:
        if row.position < cached or (table is None and rows is None):
            again.append(ask.retried(row))
        elif table is not None:
            column = taken.get(row.position, 0)
            taken[row.position] = column + 1
            value = float(table[row.position - ask.rows[0].position][column])
            yield from scores.put(row.score, value, None)
        else:
            # Counted from the end, since some runners leave cached rows out. The row's score is
            # that of the token behind it.
            place = rows.start_indices[row.position + 1 - len(ask.prompt)]
            yield from scores.put(row.score, rows.logprobs[place], rows.ranks[place] == 1)


def difference(one: Answer, other: Answer) -> float:
    """Nats per token by which two answers to a request differ at most."""
    first, second = one.response, other.response
    if isinstance(first, FailedResponse) and isinstance(second, FailedResponse):
        return 0.0
    if not isinstance(first, LoglikelihoodResponse) or not isinstance(
        second, LoglikelihoodResponse
    ):
        return float("inf")
    pairs = zip(first.loglikelihoods, second.loglikelihoods, first.token_counts, strict=True)
    return max(abs(a - b) / count for a, b, count in pairs)
