"""The vocabulary everybody shares: what flows from a task to a report.

Frozen, slotted dataclasses without behaviour. Data flows one way:
Sample -> Request -> Response -> SampleScore -> TaskResult -> RunResult.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, TypeAlias

JsonValue: TypeAlias = (
    "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
)
"""Anything that `json.loads` can give."""


class RequestKind(StrEnum):
    """What a task asks of a model."""

    LOGLIKELIHOOD = "loglikelihood"
    GENERATE = "generate"


class Outcome(StrEnum):
    """What became of one sample; outcomes sum to N in every report."""

    OK = "ok"
    """An answer was found and judged."""
    NO_ANSWER = "no_answer"
    """The response holds no answer in the form that the leading metric reads."""
    TRUNCATED = "truncated"
    """The response was cut by the token limit before it held an answer."""
    WRONG_LANGUAGE = "wrong_language"
    """The response is not in the language that was asked for."""
    FAILED = "failed"
    """The engine gave no response; the reason is recorded."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One item of a benchmark after its columns were mapped.

    Attributes:
        id: unique within the task; ids are compared as strings.
        fields: the mapped columns, which prompts and scorers read.
        target: index of the right choice, or the expected answer as text; None where the
            reference is a field of its own (distribution, credits, ratings, instructions).
        choices: the scored choice texts, in order, as `acc_norm` counts their length;
            empty for generation.
        cluster: as in `SampleScore`.
    """

    id: str
    fields: Mapping[str, JsonValue]
    target: int | str | None = None
    choices: tuple[str, ...] = ()
    cluster: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class ContextContinuation:
    """A context and the text scored after it (the delimiter already in `continuation`)."""

    context: str
    continuation: str


@dataclass(frozen=True, slots=True)
class LoglikelihoodRequest:
    """Asks for the log-probability of each continuation given its context.

    Attributes:
        task, sample_id: whom the answer belongs to.
        pairs: one per choice; they share the context in choice tasks, and the continuation
            in two-context tasks.
        messages: per pair, the chat form of its context, used when the chat template is on; none
            for a pair that is scored without the question.
    """

    task: str
    sample_id: str
    pairs: tuple[ContextContinuation, ...]
    messages: tuple[tuple[Message, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """Asks for text.

    Attributes:
        prompt: the plain prompt, few-shot examples included.
        messages: the same as chat turns, used when the chat template is on.
        stop: texts that end the answer; the answer is cut before the first one.
        max_tokens: most new tokens of the answer (thinking not counted).
        temperature: 0 means greedy.
    """

    task: str
    sample_id: str
    prompt: str
    messages: tuple[Message, ...]
    stop: tuple[str, ...]
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0


Request: TypeAlias = LoglikelihoodRequest | GenerateRequest


@dataclass(frozen=True, slots=True)
class LoglikelihoodResponse:
    """Log-probabilities, one per pair of the request.

    Attributes:
        loglikelihoods: sum over the continuation's tokens, natural logarithm.
        token_counts: continuation tokens per pair; empty when the responses were made elsewhere.
        context_tokens: tokens of all rows before their continuations.
        truncated_tokens: context tokens dropped on the left because the model's window was full.
        greedy: per pair, whether each scored token is the most likely one in its place; empty when
            the engine does not tell.
    """

    loglikelihoods: tuple[float, ...]
    token_counts: tuple[int, ...] = ()
    context_tokens: int = 0
    truncated_tokens: int = 0
    greedy: tuple[bool, ...] = ()


FinishReason = Literal["stop", "length", "unknown"]


@dataclass(frozen=True, slots=True)
class GenerateResponse:
    """Generated text.

    Attributes:
        text: the answer, cut before the first stop string, thinking removed.
        finish_reason: `stop` (end token or stop string), `length` (token limit), `unknown` for
            responses made elsewhere.
        thinking: what a reasoning model wrote before its answer, or None.
        prompt_tokens, completion_tokens, thinking_tokens: counts; completion includes thinking.
        truncated_tokens: prompt tokens dropped on the left because the model's window was full.
        seed: the sampling seed, None when greedy.
    """

    text: str
    finish_reason: FinishReason = "unknown"
    thinking: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    thinking_tokens: int = 0
    truncated_tokens: int = 0
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class FailedResponse:
    """The engine could not answer; the reason is recorded and the sample is counted as failed."""

    reason: str


Response: TypeAlias = LoglikelihoodResponse | GenerateResponse | FailedResponse


@dataclass(frozen=True, slots=True)
class SampleScore:
    """How one sample was judged.

    Attributes:
        id: the sample's id.
        metrics: metric name to value for this sample.
        extracted: the answer as the scorer's first metric read it, or None.
        outcome: see `Outcome`.
        detail: what the scorer saw (per-instruction verdicts, chosen option, …).
        cluster: samples with the same one share a passage, a twin or a subject, and are no
            independent evidence; None where the sample stands alone.
        group: the value of the task's `group` field, or None.
    """

    id: str
    metrics: Mapping[str, float]
    extracted: str | None
    outcome: Outcome
    detail: Mapping[str, JsonValue] = field(default_factory=dict)
    cluster: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Metric:
    """An aggregated value with its uncertainty.

    Attributes:
        value: in the metric's own unit (a share in [0, 1]; `eqbench` on its scale of 100).
        stderr: standard error of the value; None when n < 2.
        low, high: 95 % interval; None when n < 2.
        n: samples (or instructions, for pooled metrics) behind the value.
    """

    value: float
    stderr: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class FormatLoss:
    """What a model loses because the published way of reading answers fails on its Korean.

    Attributes:
        published, korean: names of the two metrics, both read from the same responses.
        shown: the Korean-aware value minus the published one, on the task's scale.
    """

    published: str
    korean: str
    shown: Metric


@dataclass(frozen=True, slots=True)
class TaskResult:
    """One task of a run, judged.

    Attributes:
        task, title: names for machines and for people.
        metric: the leading metric's name.
        shown: the leading metric on the scale that the board shows.
        metrics: all metrics of the scorer.
        outcomes: count per outcome; sums to n.
        n: samples.
        groups: the leading metric, as shown, apart for each value of the task's `group` field.
        format_loss: None where the task has no Korean-aware metric beside the published one.
    """

    task: str
    title: str
    metric: str
    shown: Metric
    metrics: Mapping[str, Metric]
    outcomes: Mapping[Outcome, int]
    n: int
    groups: Mapping[str, Metric] = field(default_factory=dict)
    format_loss: FormatLoss | None = None
