"""The `vllm` engine: one vLLM for a whole run, fed with token ids and driven step by step.

Generations come first, the longest before the others, and keep vLLM full; log-likelihood asks fill
the room that the last generations leave. Answers are yielded as they finish.

The first log-likelihoods of a run are asked twice, by the method that vLLM's runner takes and by
plain asks (`vllm_likelihood.PlainPlan`); where they differ, plain asks are used for all.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ko_eval.engines.base import (
    Answer,
    Capabilities,
    EncodedGenerate,
    EncodedLoglikelihood,
    EncodedRequest,
    LikelihoodPath,
)
from ko_eval.engines.growing_rows import EndTest, GrowingRow, most_tokens
from ko_eval.engines.model_folder import ModelFolder
from ko_eval.engines.model_settings import ModelSettings
from ko_eval.engines.responses import ResponseBuilder, end_token_ids
from ko_eval.engines.transformers_loading import LoadOptions
from ko_eval.engines.vllm_driver import Driver
from ko_eval.engines.vllm_likelihood import Ask, ForestPlan, PlainPlan, Plan, Scores
from ko_eval.engines.vllm_loading import lora_request, model_end_ids, start_engine
from ko_eval.engines.vllm_options import VllmOptions
from ko_eval.engines.vllm_scoring import (
    TOLERANCE,
    Method,
    ask_params,
    collect,
    difference,
    probed_method,
)
from ko_eval.errors import ModelError
from ko_eval.types import FailedResponse, GenerateResponse

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from vllm.outputs import RequestOutput
    from vllm.sampling_params import SamplingParams

# Requests of each kind that are asked twice.
_CHECKED = 3
# Requests inside vLLM, as a multiple of those that it runs at once: none of its steps waits for us.
_LOOKAHEAD = 2


@dataclass(slots=True, eq=False)
class _Generation:
    """A response in the making.

    Attributes:
        followed: we look at each token; else vLLM looks for stop strings, which it cannot do where
            a thought may be open, and the whole is looked at once.
    """

    row: GrowingRow
    followed: bool


_Job = _Generation | Ask


class VllmEngine:
    """Answers requests with a model loaded by vLLM.

    Args:
        max_length: most tokens that are ever fed.
        likelihood: how log-likelihoods are computed.
    """

    def __init__(
        self,
        folder: ModelFolder,
        tokenizer: PreTrainedTokenizerBase,
        settings: ModelSettings,
        load: LoadOptions,
        options: VllmOptions,
        *,
        max_length: int,
        likelihood: LikelihoodPath = "auto",
    ) -> None:
        self.engine = start_engine(folder, load, options, max_length=max_length)
        self.tokenizer = tokenizer
        self.settings = settings
        self.options = options
        self.max_length = max_length
        end_ids = end_token_ids(tokenizer, model_end_ids(folder))
        self._builder = ResponseBuilder(tokenizer, settings.reasoning, end_ids)
        self._end_test = EndTest(self._builder)
        self._driver: Driver[_Job] = Driver(self.engine, lora_request(load))
        self._vocabulary = int(self.engine.model_config.get_vocab_size())
        self._capacity = int(self.engine.vllm_config.scheduler_config.max_num_seqs)
        self._dtype = str(self.engine.model_config.dtype).removeprefix("torch.")
        self._warnings: list[str] = []
        self._method: Method = "plain"
        self._reason: str | None = "--likelihood plain"
        if likelihood != "plain":
            self._method, self._reason = probed_method(self.engine)
        self._checked = likelihood == "plain"

    @property
    def capabilities(self) -> Capabilities:
        config = self.engine.vllm_config
        return Capabilities(
            loglikelihood=True,
            generate=True,
            conditions={
                "engine": "vllm",
                "device": self._device_name(),
                "dtype": self._dtype,
                "likelihood": self._method,
                "likelihood_reason": self._reason,
                "tensor_parallel": config.parallel_config.tensor_parallel_size,
                "pipeline_parallel": config.parallel_config.pipeline_parallel_size,
                "quantization": config.model_config.quantization,
                "engine_args": dict(self.options.engine_args),
            },
        )

    @property
    def warnings(self) -> Sequence[str]:
        return tuple(self._warnings)

    def loglikelihood(self, requests: Sequence[EncodedLoglikelihood]) -> Iterator[Answer]:
        """Answers as their last score arrives."""
        yield from self.answers(requests)

    def generate(self, requests: Sequence[EncodedGenerate]) -> Iterator[Answer]:
        """Answers as they finish; the longest were begun first."""
        yield from self.answers(requests)

    def answers(self, requests: Sequence[EncodedRequest]) -> Iterator[Answer]:
        """Both kinds at once: log-likelihoods fill what generations leave free."""
        self._check_ids(requests)
        likelihoods = [r for r in requests if isinstance(r, EncodedLoglikelihood)]
        generations = [r for r in requests if isinstance(r, EncodedGenerate)]
        if likelihoods and not self._checked:
            self._checked = True
            first, likelihoods = _to_check(likelihoods)
            yield from self._check(first)
        yield from self._answers(generations, likelihoods)

    def _answers(
        self, generations: Sequence[EncodedGenerate], likelihoods: Sequence[EncodedLoglikelihood]
    ) -> Iterator[Answer]:
        waiting = deque(
            _Generation(GrowingRow(r), followed=r.starts_in_thought or r.thinking_tokens > 0)
            for r in sorted(generations, key=most_tokens, reverse=True)
        )
        plan = self._plan(likelihoods)
        scores, asks, again = Scores(likelihoods, plan), plan.asks(), deque[Ask]()
        since = time.perf_counter()
        try:
            while self._fill(waiting, again, asks):
                done: list[Answer] = []
                for job, output in self._driver.step():
                    if isinstance(job, Ask):
                        finished = collect(job, output, scores, again)
                        done.extend(scores.answer(index, 0.0) for index in finished)
                    elif (response := self._grown(job, output, waiting)) is not None:
                        done.append(Answer(job.row.request.key, response, 0.0))
                now = time.perf_counter()
                for answer in done:
                    yield Answer(answer.key, answer.response, (now - since) / len(done))
                since = now if done else since
        finally:
            self._driver.abort(list(self._driver.jobs))

    def _fill(self, waiting: deque[_Generation], again: deque[Ask], asks: Iterator[Ask]) -> bool:
        """Gives vLLM what it has room for; False when nothing is left to wait for."""
        jobs, most = self._driver.jobs, self._capacity * _LOOKAHEAD
        while waiting and len(jobs) < most:
            generation = waiting.popleft()
            row = generation.row
            prompt = [*row.request.prompt, *row.new_ids]
            self._driver.add(generation, prompt, self._generation_params(generation))
        if (
            not waiting
            and sum(isinstance(job, _Generation) for job in jobs.values()) < self._capacity
        ):
            while len(jobs) < most:
                ask = again.popleft() if again else next(asks, None)
                if ask is None:
                    break
                self._driver.add(ask, ask.prompt, ask_params(ask, self._method))
        return bool(jobs)

    def _generation_params(self, generation: _Generation) -> SamplingParams:
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        encoded, request = generation.row.request, generation.row.request.request
        followed = generation.followed
        most = self._limit(encoded) if followed else request.max_tokens
        stop = [] if followed else list(request.stop)
        return SamplingParams(
            temperature=request.temperature,
            top_p=request.top_p,
            seed=encoded.seed if request.temperature else None,
            max_tokens=most - len(generation.row.new_ids),
            stop=stop,
            stop_token_ids=sorted(self._builder.end_ids),
            ignore_eos=True,
            # Only stop strings need text; the response is read from the tokens.
            detokenize=bool(stop),
            skip_special_tokens=False,
            output_kind=RequestOutputKind.DELTA if followed else RequestOutputKind.FINAL_ONLY,
            skip_clone=True,
        )

    def _grown(
        self, job: _Generation, output: RequestOutput, waiting: deque[_Generation]
    ) -> GenerateResponse | FailedResponse | None:
        """The response, if it is finished."""
        new_ids, reason = output.outputs[0].token_ids, output.outputs[0].finish_reason
        if output.finished and reason not in ("stop", "length"):
            return FailedResponse(f"vLLM ended the request: {reason}")
        if not job.followed:
            if reason == "stop":
                new_ids = self._up_to_stop(job.row.request, new_ids)
            response = self._builder.build(job.row.request, new_ids)
            ended_alike = reason == "length" or response.finish_reason == "stop"
            if response.thinking is None and ended_alike:
                return response
            # What vLLM took for the answer's end may not be one: a stop string lies in a thought.
            job.followed = True
        for token in new_ids:
            job.row.new_ids.append(token)
            if self._end_test.finished(job.row):
                if not output.finished:
                    self._driver.abort([output.request_id])
                return self._builder.build(job.row.request, job.row.new_ids)
        if len(job.row.new_ids) >= self._limit(job.row.request):
            return self._builder.build(job.row.request, job.row.new_ids)
        if output.finished:
            waiting.appendleft(job)
        return None

    def _up_to_stop(self, request: EncodedGenerate, new_ids: Sequence[int]) -> Sequence[int]:
        """Without tokens behind the stop string.

        Where bytes make no character, vLLM sees the text behind them a token or two late.
        """
        stop = request.request.stop
        while new_ids and any(mark in self._builder.text(new_ids[:-1]) for mark in stop):
            new_ids = new_ids[:-1]
        return new_ids

    def _limit(self, request: EncodedGenerate) -> int:
        """Most new tokens of a response that may have a thought, as far as the window allows."""
        answer = request.request.max_tokens
        room = self.max_length - len(request.prompt)
        return min(answer + (request.thinking_tokens or answer), max(room, answer))

    def _plan(self, requests: Sequence[EncodedLoglikelihood]) -> Plan:
        pairs = [pair for request in requests for pair in request.pairs]
        if self._method == "plain":
            return PlainPlan(pairs, max_length=self.max_length)
        return ForestPlan(pairs, named_rows=self._method == "named rows")

    def _check(self, requests: Sequence[EncodedLoglikelihood]) -> Iterator[Answer]:
        """Answers requests by the method and by plain asks, and leaves a method that differs."""
        found = {answer.key: answer for answer in self._answers([], requests)}
        method, self._method = self._method, "plain"
        plain = {answer.key: answer for answer in self._answers([], requests)}
        worst = max((difference(found[key], plain[key]) for key in plain), default=0.0)
        tolerance = TOLERANCE.get(self._dtype, TOLERANCE["bfloat16"])
        if worst <= tolerance:
            self._method = method
            yield from found.values()
            return
        self._reason = (
            f"'{method}' differs by {worst:.1e} nats per token from plain asks, over "
            f"{tolerance:.0e}"
        )
        self._warnings.append(
            f"log-likelihoods are asked one choice at a time, which is slower: {self._reason}"
        )
        yield from plain.values()

    def _check_ids(self, requests: Sequence[EncodedRequest]) -> None:
        worst = 0
        for request in requests:
            if isinstance(request, EncodedGenerate):
                worst = max(worst, *request.prompt)
            else:
                worst = max(worst, *(max(p.context + p.continuation) for p in request.pairs))
        if worst >= self._vocabulary:
            raise ModelError(
                f"the tokenizer gives token {worst}, but the model knows {self._vocabulary} tokens",
                hint="the tokenizer belongs to another model; use the one it was trained with",
            )

    def _device_name(self) -> str:
        from vllm.platforms import current_platform

        device = current_platform.device_type
        return str(current_platform.get_device_name()) if device == "cuda" else str(device)


def _to_check(
    requests: Sequence[EncodedLoglikelihood],
) -> tuple[list[EncodedLoglikelihood], list[EncodedLoglikelihood]]:
    """Some requests of either kind, one-token choices and longer ones; and all others.

    Neighbours, so that what they share is in the prefix cache for the second of them.
    """
    kinds: dict[bool, list[int]] = {}
    for index, request in enumerate(requests):
        kind = kinds.setdefault(any(len(pair.continuation) > 1 for pair in request.pairs), [])
        if len(kind) < _CHECKED:
            kind.append(index)
    chosen = {index for kind in kinds.values() for index in kind}
    first = [requests[index] for index in sorted(chosen)]
    return first, [request for index, request in enumerate(requests) if index not in chosen]
