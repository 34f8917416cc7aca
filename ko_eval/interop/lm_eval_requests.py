"""What lm-evaluation-harness asks, as the requests that our engines take.

The cut on the left, the window and the reading of `generation_kwargs` are those of the harness's
own `hf` model (`lm_eval/models/huggingface.py` of version 0.4.13). A setting that our engines do
not have is an error.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

from ko_eval.engines.base import EncodedGenerate, EncodedLoglikelihood, EncodedPair, TokenIds
from ko_eval.engines.encoding import likelihood_key
from ko_eval.errors import DataError, UsageError
from ko_eval.types import GenerateRequest, LoglikelihoodRequest

_TASK = "lm-eval"
# Most continuation tokens of the pairs that are asked in one request.
_REQUEST_TOKENS = 256
# New tokens where a task does not say; the `hf` model's own default.
_MAX_GEN_TOKS = 256
# Settings that change nothing at these values.
_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "num_beams": (1,),
    "num_return_sequences": (1,),
    "repetition_penalty": (1,),
    "top_k": (None, 0, -1),
    "use_cache": (True,),
}
# Settings that greedy search never looks at.
_OF_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "typical_p")


@dataclass(frozen=True, slots=True)
class Generation:
    """A task's `generation_kwargs`, understood.

    Attributes:
        until: texts that end the answer, the end token's own text among them.
        temperature: 0 means greedy.
    """

    until: tuple[str, ...]
    max_tokens: int
    temperature: float
    top_p: float


def read_generation(given: Mapping[str, object], end: str) -> Generation:
    """Settings of a request that generates.

    Args:
        end: the end token as text.

    Raises:
        UsageError: a setting has no counterpart here.
    """
    settings = dict(normalize_gen_kwargs(dict(given), _MAX_GEN_TOKS))
    until = tuple(text for text in handle_stop_sequences(settings.pop("until"), end) if text)
    max_tokens = int(settings.pop("max_gen_toks"))
    temperature, top_p = 0.0, 1.0
    if settings.pop("do_sample", False):
        temperature = float(settings.pop("temperature", 0.0))
        top_p = float(settings.pop("top_p", None) or 1.0)
        if temperature <= 0:
            raise UsageError("do_sample=True needs a temperature above 0")
    else:
        for name in _OF_SAMPLING:
            settings.pop(name, None)
    surplus = {
        name: value
        for name, value in settings.items()
        if name not in _NEUTRAL or value not in _NEUTRAL[name]
    }
    if surplus:
        raise UsageError(
            "the model 'ko-eval' cannot generate with "
            + ", ".join(f"{name}={value!r}" for name, value in surplus.items()),
            hint="known: until, max_gen_toks, do_sample, temperature, top_p; leave the others out "
            "of generation_kwargs and --gen_kwargs, or use another model",
        )
    return Generation(until, max_tokens, temperature, top_p)


def fitted(pair: EncodedPair, max_length: int, texts: tuple[str, str] | None) -> EncodedPair:
    """The pair cut on the left to the window; its last token is scored but never fed.

    Args:
        texts: the pair as text, for errors; None for a window of a longer text.

    Raises:
        DataError: there is nothing to score, nothing in front of it, or too much for the window.
    """
    context, after = texts or ("", "")
    where = f"context …{context[-60:]!r}, scored text {after[:60]!r}"
    room = max_length + 1 - len(pair.continuation)
    if room < 1:
        raise DataError(
            f"a scored text has {len(pair.continuation)} tokens; the window has {max_length}",
            where=where,
            hint="use a model with a longer window",
        )
    if not pair.context or not pair.continuation:
        empty = "context" if pair.continuation else "scored text"
        raise DataError(f"a {empty} has no tokens of its own", where=where)
    return EncodedPair(pair.context[-room:], pair.continuation)


def one_context_each(pairs: Sequence[EncodedPair]) -> Iterator[range]:
    """Consecutive pairs with one context, such as the choices of a question, as ranges."""
    start, tokens = 0, 0
    for place, pair in enumerate(pairs):
        tokens += len(pair.continuation)
        first = pairs[start].context
        # The same object first: to compare long tuples that are equal takes a while.
        same = pair.context is first or pair.context == first
        if place > start and (not same or tokens > _REQUEST_TOKENS):
            yield range(start, place)
            start, tokens = place, len(pair.continuation)
    if pairs:
        yield range(start, len(pairs))


def encoded_loglikelihood(pairs: Sequence[EncodedPair]) -> EncodedLoglikelihood:
    """One request for pairs that fit."""
    key = likelihood_key(pairs)
    return EncodedLoglikelihood(key, LoglikelihoodRequest(_TASK, key, ()), tuple(pairs), 0)


def encoded_generate(
    prompt: TokenIds, settings: Generation, max_length: int, seed: int, asked: Counter[str]
) -> EncodedGenerate:
    """One request for a prompt, which is cut on the left to leave room for the answer.

    Args:
        seed: base of the sampling seeds.
        asked: how often each request was asked, to sample anew each time; is counted up.

    Raises:
        DataError: the window has no room for a prompt.
    """
    room = max_length - settings.max_tokens
    if room < 1:
        raise DataError(
            f"the task asks for {settings.max_tokens} new tokens; the window has {max_length}",
            hint="lower it with --gen_kwargs max_gen_toks=…",
        )
    kept = prompt[-room:]
    sampling = (settings.temperature, settings.top_p, seed) if settings.temperature else ()
    key = _key("generate", kept, settings.until, settings.max_tokens, sampling)
    if sampling:
        asked[key] += 1
        key = _key(key, asked[key])
    request = GenerateRequest(
        task=_TASK,
        sample_id=key,
        prompt="",
        messages=(),
        stop=settings.until,
        max_tokens=settings.max_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
    )
    return EncodedGenerate(
        key=key,
        request=request,
        prompt=kept,
        truncated_tokens=len(prompt) - len(kept),
        starts_in_thought=False,
        thinking_tokens=0,
        seed=int(key[:8], 16),
    )


def _key(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
