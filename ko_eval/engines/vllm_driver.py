"""Drives vLLM's engine step by step, and knows what each of its outputs is for."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ko_eval.errors import ModelError, first_line

if TYPE_CHECKING:
    from vllm.lora.request import LoRARequest
    from vllm.outputs import RequestOutput
    from vllm.sampling_params import SamplingParams
    from vllm.v1.engine.llm_engine import LLMEngine

Job = TypeVar("Job")


class Driver(Generic[Job]):
    """Requests of one engine that are under way.

    Args:
        lora: the adapter that every request uses.

    Attributes:
        jobs: what is under way, by vLLM's name of the request.
    """

    def __init__(self, engine: LLMEngine, lora: LoRARequest | None) -> None:
        self.engine = engine
        self.jobs: dict[str, Job] = {}
        self._lora = lora
        self._names = map(str, itertools.count())

    def add(self, job: Job, prompt: list[int], params: SamplingParams) -> None:
        """Gives vLLM a request.

        Raises:
            ModelError: vLLM refuses it.
        """
        from vllm.inputs import tokens_input

        name = next(self._names)
        try:
            self.engine.add_request(name, tokens_input(prompt), params, lora_request=self._lora)
        # What vLLM refuses it refuses with errors of many kinds.
        except Exception as error:
            raise ModelError(f"vLLM refuses a request: {first_line(error)}") from error
        self.jobs[name] = job

    def step(self) -> list[tuple[Job, RequestOutput]]:
        """Outputs of one step; what is finished is no longer under way.

        Raises:
            ModelError: the engine failed.
        """
        try:
            outputs: list[Any] = self.engine.step()
        # vLLM raises whatever its parts and workers raise.
        except Exception as error:
            self.jobs.clear()
            raise ModelError(
                f"vLLM failed: {first_line(error)}",
                hint="nothing that was answered is lost; add --debug to see where; if memory ran "
                "out, try a smaller --memory-share",
            ) from error
        found = []
        for output in outputs:
            name = output.request_id
            # A request may have been aborted while the step ran.
            job = self.jobs.pop(name, None) if output.finished else self.jobs.get(name)
            if job is not None:
                found.append((job, output))
        return found

    def abort(self, names: Iterable[str]) -> None:
        """Ends requests without an answer."""
        ended = [name for name in names if self.jobs.pop(name, None) is not None]
        if ended:
            self.engine.abort_request(ended)
