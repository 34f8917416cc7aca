"""What an engine is: it takes token ids, answers as it finishes, and says what it can do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from ko_eval.types import GenerateRequest, JsonValue, LoglikelihoodRequest, Response

TokenIds = tuple[int, ...]

LikelihoodPath = Literal["auto", "plain"]
"""`auto`: the fastest way that a check proves equal; `plain`: always a row per continuation."""


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """Token ids of a context and of the continuation scored after it; neither is empty."""

    context: TokenIds
    continuation: TokenIds


@dataclass(frozen=True, slots=True)
class EncodedLoglikelihood:
    """A `LoglikelihoodRequest` as token ids.

    Attributes:
        key: content key: the same ids and settings have the same key.
        pairs: none for a server, which has the tokenizer; the key is then over the texts.
        truncated_tokens: context tokens already dropped on the left.
    """

    key: str
    request: LoglikelihoodRequest
    pairs: tuple[EncodedPair, ...]
    truncated_tokens: int


@dataclass(frozen=True, slots=True)
class EncodedGenerate:
    """A `GenerateRequest` as token ids.

    Attributes:
        key: content key: the same ids and settings have the same key.
        prompt: token ids, special tokens included; none for a server.
        truncated_tokens: prompt tokens already dropped on the left.
        starts_in_thought: the chat template has already opened the thought.
        thinking_tokens: most tokens of a thought, on top of the answer's; 0 for models that do
            not think.
        seed: for sampling; derived from the run's seed and the key.
    """

    key: str
    request: GenerateRequest
    prompt: TokenIds
    truncated_tokens: int
    starts_in_thought: bool
    thinking_tokens: int
    seed: int


EncodedRequest = EncodedLoglikelihood | EncodedGenerate


@dataclass(frozen=True, slots=True)
class Answer:
    """What an engine yields: a response with the key of its request.

    Attributes:
        seconds: this request's share of the time that its batch took.
    """

    key: str
    response: Response
    seconds: float


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do, and under which conditions it runs.

    Attributes:
        conditions: recorded in results: device, dtype, attention implementation and the like.
    """

    loglikelihood: bool
    generate: bool
    conditions: dict[str, JsonValue]


class Engine(Protocol):
    """Answers requests in any order, each as soon as it is finished.

    A request that cannot be answered yields a `FailedResponse`; an exception means that the
    engine as a whole cannot go on.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What holds now; the conditions may change while requests are answered."""
        ...

    @property
    def warnings(self) -> Sequence[str]:
        """What the user should know about the answers so far: a fast path that was left, say."""
        ...

    def answers(self, requests: Sequence[EncodedRequest]) -> Iterator[Answer]:
        """Requests of both kinds and of all tasks, in the order that keeps the engine busy."""
        ...

    def loglikelihood(self, requests: Sequence[EncodedLoglikelihood]) -> Iterator[Answer]: ...

    def generate(self, requests: Sequence[EncodedGenerate]) -> Iterator[Answer]: ...


@runtime_checkable
class EndsSoon(Protocol):
    """An engine that can be told that the run is about to stop."""

    def begin_nothing_new(self) -> None:
        """What is in flight is still answered; nothing else is begun."""
        ...
