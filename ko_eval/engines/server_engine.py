"""The server engine: any server that speaks the OpenAI protocol.

Requests run at the same time in a thread of their own; answers are taken from it as they come. A
request that the server refuses is not sent again by this engine, whoever asks; one that it fails to
answer is sent again within bounds (`server_calls`) and then counts as failed. When nothing is
answered any more, the engine stops as a whole: what is on disk stays, and the run can go on later.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import importlib.metadata
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from queue import SimpleQueue

from ko_eval.engines.base import (
    Answer,
    Capabilities,
    EncodedGenerate,
    EncodedLoglikelihood,
    EncodedRequest,
)
from ko_eval.engines.model_settings import ModelSettings
from ko_eval.engines.server_answers import ChatReply, CompletionReply, finish_reason
from ko_eval.engines.server_calls import Calls, Ended, GaveUp, wait_for
from ko_eval.engines.server_client import Refusal, ServerClient
from ko_eval.engines.server_dialect import Dialect, Wanted, spoken
from ko_eval.engines.server_likelihood import EchoScorer
from ko_eval.engines.server_model import ServerModel
from ko_eval.engines.server_options import ServerOptions, check_client, redacted
from ko_eval.engines.server_survey import impatient, refused, unreachable
from ko_eval.engines.thinking import cut_at_stop, split_thinking
from ko_eval.errors import ModelError
from ko_eval.types import FailedResponse, GenerateResponse, JsonValue, Response

_HELLO = "안녕하세요"
_JOIN_SECONDS = 2.0
# So many requests after each other that the server fails to answer are no accident.
_MOST_IN_A_ROW = 20
_MOST_NAMES = 8
_LONGEST_NAME = 60


class ServerEngine:
    """Answers requests through a server.

    Args:
        chat: whether prompts go to the chat endpoint, as messages.
        dialect: which parameters the server takes.
        sampling: whether any request asks for more than the likeliest answer.
    """

    def __init__(
        self,
        model: ServerModel,
        settings: ModelSettings,
        options: ServerOptions,
        *,
        chat: bool,
        dialect: Dialect,
        sampling: bool = False,
    ) -> None:
        self.model = model
        self._settings = settings
        self._options = options
        self._chat = chat
        self._dialect = dialect
        self._sampling = sampling
        self._ending = threading.Event()
        self._refused: dict[str, str] = {}
        self._given_up: set[str] = set()
        self._in_a_row = 0
        self._seen: dict[str, set[str]] = {"answered_by": set(), "system_fingerprints": set()}
        self._finished: Counter[str] = Counter()
        self._merged: Counter[str] = Counter()
        self._uncounted = 0
        self._cramped = 0

    @classmethod
    def load(
        cls,
        model: ServerModel,
        settings: ModelSettings,
        options: ServerOptions,
        requests: Sequence[EncodedRequest],
        *,
        chat: bool,
    ) -> ServerEngine:
        """The engine, after a tiny request like those that will come.

        Raises:
            ModelError: the server does not answer, or refuses the key, the model or the endpoint.
        """
        check_client()
        generations = [r for r in requests if isinstance(r, EncodedGenerate)]
        engine = cls(
            model,
            settings,
            options,
            chat=chat,
            dialect=Dialect(),
            sampling=any(r.request.temperature for r in generations),
        )
        if generations:
            engine._dialect = wait_for(lambda: engine._learned(generations))
        return engine

    @property
    def capabilities(self) -> Capabilities:
        asked = ("temperature", "top_p", "seed") if self._sampling else ("temperature",)
        conditions: dict[str, JsonValue] = {
            "engine": "server",
            "server": self.model.url,
            "client": f"openai {importlib.metadata.version('openai')}",
            "endpoint": "chat/completions" if self._chat else "completions",
            "likelihood": "echo" if self.model.likelihoods else None,
            "parameters_refused": [name for name in asked if not getattr(self._dialect, name)],
            "stop_strings_sent": "all" if self._dialect.stops is None else self._dialect.stops,
            **{name: sorted(values) for name, values in self._seen.items()},
        }
        return Capabilities(self.model.likelihoods, True, conditions)

    @property
    def warnings(self) -> list[str]:
        found = self._dialect.warnings(sampling=self._sampling)
        others = [name for name in self._seen["answered_by"] if self.model.name not in name]
        if others:
            found.append(f"answers came from '{sorted(others)[0]}', not '{self.model.name}'")
        for reason, count in sorted(self._finished.items()):
            found.append(f"{count} answers ended for a reason of the server's own: '{reason}'")
        for task, count in sorted(self._merged.items()):
            if count:
                found.append(
                    f"{task}: in {count} scored texts a token spans context and continuation; they "
                    "are scored as the server cuts them, which differs from a local engine"
                )
        if self._uncounted:
            found.append(
                f"{self._uncounted} answers came without token counts; sums of tokens and the cost "
                "leave them out"
            )
        if self._cramped:
            found.append(
                f"{self._cramped} answers hold a thought, for which no room was given: a thought "
                "and an answer share one limit at a server; add --thinking-tokens 8192"
            )
        return found

    def begin_nothing_new(self) -> None:
        """What is in flight is still answered; nothing else is sent."""
        self._ending.set()

    def answers(self, requests: Sequence[EncodedRequest]) -> Iterator[Answer]:
        """Requests of both kinds.

        Raises:
            ModelError: the server answers nothing any more, or refuses the key.
        """
        results: SimpleQueue[Answer | BaseException | None] = SimpleQueue()
        stop: list[Callable[[], object]] = []

        async def work() -> None:
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            assert task is not None
            stop.append(partial(loop.call_soon_threadsafe, task.cancel))
            await self._answer_all(requests, results.put)

        def run() -> None:
            try:
                asyncio.run(work())
                results.put(None)
            except BaseException as error:
                results.put(error)

        thread = threading.Thread(target=run, name="server", daemon=True)
        thread.start()
        last = time.monotonic()
        try:
            while (found := results.get()) is not None:
                if isinstance(found, BaseException):
                    raise found
                now = time.monotonic()
                yield dataclasses.replace(found, seconds=now - last)
                last = now
        finally:
            # The loop is closed when everything was answered.
            with contextlib.suppress(RuntimeError):
                for cancel in stop:
                    cancel()
            thread.join(_JOIN_SECONDS)

    def loglikelihood(self, requests: Sequence[EncodedLoglikelihood]) -> Iterator[Answer]:
        return self.answers(requests)

    def generate(self, requests: Sequence[EncodedGenerate]) -> Iterator[Answer]:
        return self.answers(requests)

    async def _learned(self, requests: Sequence[EncodedGenerate]) -> Dialect:
        """The server's dialect, from a tiny request with the most that any request asks for."""
        hottest = max(requests, key=lambda r: (r.request.temperature, r.request.top_p < 1))
        stop = max((self._wanted(r).stop for r in requests), key=len)
        wanted = dataclasses.replace(self._wanted(hottest), stop=stop)
        turns = [{"role": "user", "content": _HELLO}]
        prompt: dict[str, JsonValue] = {"messages": turns} if self._chat else {"prompt": _HELLO}
        async with ServerClient(self.model.url, self._options) as client:
            calls = Calls(impatient(self._options))
            send = client.chat if self._chat else client.completion
            try:
                return await spoken(
                    lambda parameters: calls.answer(
                        lambda: send({**self._fixed(), **prompt, **parameters})
                    ),
                    wanted,
                )
            except GaveUp as error:
                raise unreachable(self.model.url, error) from error
            except Refusal as refusal:
                raise refused(self.model.url, refusal, chat=self._chat) from refusal

    async def _answer_all(
        self, requests: Sequence[EncodedRequest], put: Callable[[Answer], None]
    ) -> None:
        pending = iter(requests)
        async with ServerClient(self.model.url, self._options) as client:
            calls = Calls(self._options, self._ending)
            scorer = EchoScorer(client, calls, self.model.name, self._merged)

            async def worker() -> None:
                for request in pending:
                    response = await self._response(request, client, calls, scorer)
                    if response is None:
                        return
                    put(Answer(request.key, response, 0.0))

            workers = [asyncio.create_task(worker()) for _ in range(self._options.concurrency)]
            try:
                await asyncio.gather(*workers)
            finally:
                for one in workers:
                    one.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _response(
        self, request: EncodedRequest, client: ServerClient, calls: Calls, scorer: EchoScorer
    ) -> Response | None:
        """The response to a request; None when the run ends before it was sent."""
        if reason := self._refused.get(request.key):
            return FailedResponse(reason)
        try:
            if isinstance(request, EncodedLoglikelihood):
                response: Response = await scorer.response(request)
            else:
                response = await self._generated(request, client, calls)
        except Ended:
            return None
        except Refusal as refusal:
            self._refused[request.key] = refusal.reason
            return FailedResponse(refusal.reason)
        except GaveUp as error:
            # One that failed before says nothing new about the server.
            self._in_a_row += request.key not in self._given_up
            self._given_up.add(request.key)
            most = max(_MOST_IN_A_ROW, 2 * self._options.concurrency)
            if error.for_long or self._in_a_row >= most:
                raise self._silent(str(error)) from error
            return FailedResponse(str(error))
        self._in_a_row = 0
        return response

    def _silent(self, reason: str) -> ModelError:
        return ModelError(
            f"the server answers nothing any more: {reason}",
            where=self.model.url,
            hint="run the same command again once it does; finished responses are kept",
        )

    async def _generated(
        self, request: EncodedGenerate, client: ServerClient, calls: Calls
    ) -> GenerateResponse:
        body: dict[str, JsonValue] = {
            **self._fixed(),
            **self._dialect.parameters(self._wanted(request)),
        }
        if self._chat:
            body["messages"] = [
                {"role": turn.role, "content": turn.content} for turn in request.request.messages
            ]
            chat = await calls.answer(lambda: client.chat(body))
            self._note(chat, chat.choices[0].finish_reason)
            message = chat.choices[0].message
            thought = message.reasoning_content or message.reasoning or None
            return self._built(request, chat, message.content or message.refusal or "", thought)
        body["prompt"] = request.request.prompt
        completion = await calls.answer(lambda: client.completion(body))
        self._note(completion, completion.choices[0].finish_reason)
        return self._built(request, completion, completion.choices[0].text, None)

    def _fixed(self) -> dict[str, JsonValue]:
        """What every request for text holds."""
        arguments = self._settings.chat_template_arguments if self._chat else {}
        more: dict[str, JsonValue] = {"chat_template_kwargs": arguments} if arguments else {}
        return {"model": self.model.name, **more}

    def _wanted(self, request: EncodedGenerate) -> Wanted:
        asked = request.request
        return Wanted(
            limit=asked.max_tokens + request.thinking_tokens,
            # A server would also end a thought at them.
            stop=() if request.thinking_tokens else asked.stop,
            temperature=asked.temperature,
            top_p=asked.top_p,
            seed=request.seed,
        )

    def _built(
        self,
        request: EncodedGenerate,
        reply: ChatReply | CompletionReply,
        text: str,
        thought: str | None,
    ) -> GenerateResponse:
        """The response: its thought apart, cut at the first stop string."""
        reasoning, answer = self._settings.reasoning, text
        if thought is not None:
            # As behind an end mark; a stop string may be of line breaks.
            answer = text.lstrip("\n")
        elif self._chat:
            # A template may open the thought, so that only its end is in the text.
            opened = reasoning.end in text and reasoning.start not in text
            parts = split_thinking(text, reasoning.start, reasoning.end, starts_in_thought=opened)
            thought, answer = parts.thinking, parts.answer
        self._cramped += thought is not None and not request.thinking_tokens
        answer, stopped = cut_at_stop(answer, request.request.stop)
        usage = reply.usage
        told = finish_reason(reply.choices[0].finish_reason)
        seeded = request.request.temperature and self._dialect.seed
        return GenerateResponse(
            text=redacted(answer),
            finish_reason="stop" if stopped else told,
            thinking=None if thought is None else redacted(thought),
            prompt_tokens=usage.prompt_tokens if usage else 0,
            completion_tokens=usage.completion_tokens if usage else 0,
            thinking_tokens=usage.thinking_tokens if usage else 0,
            seed=request.seed if seeded else None,
        )

    def _note(self, reply: ChatReply | CompletionReply, finish: str | None) -> None:
        """Keeps what results say about how answers came about."""
        for name, value in (
            ("answered_by", reply.model),
            ("system_fingerprints", reply.system_fingerprint),
        ):
            if value and len(self._seen[name]) < _MOST_NAMES:
                self._seen[name].add(_name(value))
        if finish_reason(finish) == "unknown" and len(self._finished) < _MOST_NAMES:
            self._finished[_name(finish or "none")] += 1
        self._uncounted += reply.usage is None


def _name(text: str) -> str:
    """A foreign name, short and printable."""
    return redacted("".join(c for c in text if c.isprintable()))[:_LONGEST_NAME]
