"""Log-likelihoods of given texts from a server that echoes a prompt with its tokens' scores.

The rule is that of `encoding`: context and continuation are one text, split at the number of tokens
that the context has alone; so the context is sent as well, once. Offsets are not used: where a
character is more than one token, as Korean often is, servers miscount them.

Where a token spans the border, scores differ from a local engine's: that one feeds the context's
own tokens (FACTS 3.1), and a server those of the whole. Such texts are counted.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from ko_eval.engines.base import EncodedLoglikelihood
from ko_eval.engines.encoding import border_texts
from ko_eval.engines.server_answers import CompletionReply
from ko_eval.engines.server_calls import Calls
from ko_eval.engines.server_client import Refusal, ServerClient, Trouble
from ko_eval.types import FailedResponse, JsonValue, LoglikelihoodResponse

# Plain words, so that every token's text stands for itself; both begin alike.
_FRONT = "one two three four five six"
_PROBES = (f"{_FRONT} seven eight", f"{_FRONT} green water")
# Servers compute in sixteen bits, and a batch changes the last of them.
_ALIKE = 0.25
_MOST_PREFIX_TOKENS = 3
# Of the texts that requests share, the last ones used; each holds all its tokens.
_MOST_CONTEXTS = 1000


@dataclass(frozen=True, slots=True)
class Echo:
    """A prompt as the server echoed it: its tokens and their natural log-probabilities."""

    tokens: Sequence[str]
    logprobs: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class _Scored:
    """A continuation's scores.

    Attributes:
        border: tokens before it.
        merged: a token spans the border.
    """

    border: int
    logprobs: Sequence[float | None]
    merged: bool


@dataclass(slots=True)
class EchoScorer:
    """Scores requests; asks once for a context that requests near each other share.

    Attributes:
        model: as the server calls it.
        merged: per task, texts with a token that spans context and continuation.
    """

    client: ServerClient
    calls: Calls
    model: str
    merged: Counter[str]
    _contexts: dict[str, asyncio.Task[Echo]] = field(default_factory=dict)

    async def response(
        self, request: EncodedLoglikelihood
    ) -> LoglikelihoodResponse | FailedResponse:
        """The scores of a request's continuations.

        Raises:
            GaveUp, Refusal, Ended, ModelError: see `Calls.answer`.
        """
        pairs = [border_texts(pair) for pair in request.request.pairs]
        found = await asyncio.gather(
            *(self._scores(*pair) for pair in pairs), return_exceptions=True
        )
        scores: list[_Scored] = []
        for one in found:
            if isinstance(one, BaseException):
                raise one
            scores.append(one)
        logprobs = [[x for x in one.logprobs if x is not None] for one in scores]
        for one, given in zip(scores, logprobs, strict=True):
            if len(given) < len(one.logprobs) or not all(map(math.isfinite, given)):
                return FailedResponse("the server gives a scored token no log-probability")
        self.merged[request.request.task] += sum(one.merged for one in scores)
        return LoglikelihoodResponse(
            loglikelihoods=tuple(float(sum(given)) for given in logprobs),
            token_counts=tuple(len(given) for given in logprobs),
            context_tokens=sum(one.border for one in scores),
        )

    async def _scores(self, context: str, continuation: str) -> _Scored:
        whole = await self.calls.answer(lambda: self._echo(context + continuation))
        if not context:
            return _Scored(0, whole.logprobs, False)
        alone = await self._context(context)
        border = min(len(alone.tokens), len(whole.tokens) - 1)
        merged = whole.tokens[:border] != alone.tokens or not _alike(
            whole.logprobs[:border], alone.logprobs
        )
        return _Scored(border, whole.logprobs[border:], merged)

    async def _echo(self, text: str) -> Echo:
        return read_echo(await self.client.completion(echo_request(self.model, text)))

    async def _context(self, context: str) -> Echo:
        """A context that stands alone."""
        task = self._contexts.pop(context, None)
        if task is None:
            task = asyncio.create_task(self.calls.answer(lambda: self._echo(context)))
        self._contexts[context] = task  # as the last one used
        if len(self._contexts) > _MOST_CONTEXTS:
            del self._contexts[next(iter(self._contexts))]
        try:
            return await task
        except Exception:
            # For other requests, it may be answered.
            self._contexts.pop(context, None)
            raise


def echo_request(model: str, text: str) -> dict[str, JsonValue]:
    """Asks for a text's own scores; one token is written, since not every server takes none."""
    return {
        "model": model,
        "prompt": text,
        "max_tokens": 1,
        "echo": True,
        "logprobs": 1,
        "temperature": 0.0,
    }


def read_echo(reply: CompletionReply) -> Echo:
    """The prompt's part of an echo.

    Raises:
        Trouble: there is none.
    """
    scores, usage = reply.choices[0].logprobs, reply.usage
    if scores is None:
        raise Trouble("the answer holds no log-probabilities")
    if usage is None:
        raise Trouble("the answer does not tell the number of the prompt's tokens")
    count = usage.prompt_tokens
    if not len(scores.tokens) == len(scores.token_logprobs) >= count >= 1:
        raise Trouble(
            f"the answer holds {len(scores.token_logprobs)} log-probabilities for a prompt of "
            f"{count} tokens"
        )
    return Echo(scores.tokens[:count], scores.token_logprobs[:count])


async def why_no_likelihoods(client: ServerClient, calls: Calls, model: str) -> str:
    """Why a server gives no log-likelihoods of given texts; empty when it does.

    Two texts that begin alike are echoed: the tokens must be theirs, and the scores of what they
    share must agree, as those of a prompt do and those of anything else do not.

    Raises:
        GaveUp, ModelError: the server does not answer at all.
    """
    echoes = []
    for text in _PROBES:
        send = partial(client.completion, echo_request(model, text))
        try:
            reply = await calls.answer(send)
            echo = read_echo(reply)
        except Refusal as refusal:
            return f"it refuses to: {refusal.reason}"
        except Trouble as trouble:
            return trouble.reason
        if fault := _fault(echo, text):
            return fault
        echoes.append(echo)
    one, other = echoes
    # The last shared word may be cut in another way where the texts part.
    shared = max(2, len(_FRONT.split()) - 1)
    if one.tokens[:shared] != other.tokens[:shared]:
        return "the tokens of two texts that begin alike differ"
    if not _alike(one.logprobs[:shared], other.logprobs[:shared]):
        return "the scores of two texts that begin alike differ"
    return ""


def _alike(one: Sequence[float | None], other: Sequence[float | None]) -> bool:
    """Whether scores of the same tokens are the same; the first token has none."""
    return all(
        a is None or b is None or abs(a - b) <= _ALIKE for a, b in zip(one, other, strict=True)
    )


def _fault(echo: Echo, text: str) -> str:
    """What is wrong with an echo; empty when nothing is."""
    wanted = text.replace(" ", "")
    joined = ["".join(echo.tokens[front:]) for front in range(_MOST_PREFIX_TOKENS + 1)]
    if wanted not in ["".join(c for c in one if c.isascii() and c.isalpha()) for one in joined]:
        return "the tokens that it scores are not the text's"
    scores = echo.logprobs[1:]
    if any(score is None or not math.isfinite(score) or score > 1e-3 for score in scores):
        return "what it gives are no log-probabilities"
    if not any(score for score in scores):
        return "all its scores are zero"
    return ""
