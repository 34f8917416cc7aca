"""Requests to token ids: what a model is really shown.

FACTS 3.1: spaces at the end of a context move to the continuation; both are encoded as one text and
split at the length of the encoded context. Special tokens in front (BOS) are added once, by the
model's own convention; a chat template brings its own. What is equal is encoded once, and requests
that share a context share its tuple.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Literal

from ko_eval.engines.base import (
    EncodedGenerate,
    EncodedLoglikelihood,
    EncodedPair,
    EncodedRequest,
    TokenIds,
)
from ko_eval.engines.chat_templates import filled_chat
from ko_eval.engines.model_folder import ModelFolder
from ko_eval.engines.model_settings import ModelSettings
from ko_eval.engines.quick_import import import_transformers
from ko_eval.engines.text_tokens import TextTokens
from ko_eval.errors import DataError, ModelError, first_line
from ko_eval.types import (
    ContextContinuation,
    GenerateRequest,
    LoglikelihoodRequest,
    Message,
    Request,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ChatTemplate = Literal["auto", "on", "off"]

TEMPLATE_DATE = date(2024, 7, 26)
"""What a chat template that asks for today's date is told, so that a run can be repeated.

The date that Llama 3's own templates fall back to.
"""


def load_tokenizer(
    folder: ModelFolder, *, trust_remote_code: bool = False, add_bos_token: bool | None = None
) -> PreTrainedTokenizerBase:
    """The model's own tokenizer.

    Args:
        add_bos_token: whether it puts BOS in front of a text; None leaves it as it is.

    Raises:
        ModelError: it cannot be loaded.
    """
    import_transformers()
    from transformers import AutoTokenizer

    settings = {} if add_bos_token is None else {"add_bos_token": add_bos_token}
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            str(folder.path), trust_remote_code=trust_remote_code, **settings
        )
    except Exception as error:  # the tokenizers library raises plain exceptions
        raise ModelError(
            f"the tokenizer cannot be loaded: {first_line(error)}",
            where=str(folder.path),
            hint="check that its files are complete",
        ) from error
    return tokenizer


@dataclass(slots=True)
class Encoder:
    """Encodes requests for one model.

    Attributes:
        chat_template: `auto` uses the template for generation when the model has one, and not for
            likelihoods; `on` for both; `off` for neither.
        max_length: longest sequence in tokens, prompt and answer together.
        seed: base of the sampling seeds.
        prefix: special tokens that the tokenizer puts in front of a text.
    """

    tokenizer: PreTrainedTokenizerBase
    settings: ModelSettings
    chat_template: ChatTemplate = "auto"
    max_length: int = 2048
    seed: int = 0
    prefix: TokenIds = field(init=False)
    _tokens: TextTokens = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._tokens = TextTokens(self.tokenizer)
        with_special = self._ids(["가"], special=True)[0]
        bare = self._ids(["가"])[0]
        # Only the front counts: an EOS that some tokenizers add behind would end the text.
        place = next(
            (
                i
                for i in range(len(with_special) - len(bare) + 1)
                if with_special[i : i + len(bare)] == bare
            ),
            0,
        )
        self.prefix = with_special[:place]
        if self.chat_template == "on" and not self.has_template:
            raise ModelError(
                "--chat-template on was asked for, but the model has no chat template",
                hint="use --chat-template off, or auto",
            )

    @property
    def has_template(self) -> bool:
        return bool(self.tokenizer.chat_template)

    @property
    def template_hash(self) -> str | None:
        """SHA-256 of the chat template, or None when the model has none."""
        if not self.has_template:
            return None
        return hashlib.sha256(str(self.tokenizer.chat_template).encode()).hexdigest()

    def uses_template(self, request: Request) -> bool:
        """Whether this request goes through the chat template."""
        if self.chat_template == "auto":
            return self.has_template and isinstance(request, GenerateRequest)
        return self.chat_template == "on"

    def encode(self, requests: Sequence[Request]) -> list[EncodedRequest]:
        """All requests as token ids, in order.

        Raises:
            DataError: a scored text is longer than the model's window.
            ModelError: the chat template cannot take the messages.
        """
        likelihoods = [r for r in requests if isinstance(r, LoglikelihoodRequest)]
        generations = [r for r in requests if isinstance(r, GenerateRequest)]
        encoded: dict[int, EncodedRequest] = {}
        for request, likelihood in zip(likelihoods, self._likelihoods(likelihoods), strict=True):
            encoded[id(request)] = likelihood
        for asked, generation in zip(generations, self._generations(generations), strict=True):
            encoded[id(asked)] = generation
        return [encoded[id(request)] for request in requests]

    def continuations(self, context: str, texts: Sequence[str]) -> list[TokenIds]:
        """The scored tokens of texts behind a context, without a chat template."""
        head = self._ids([context])[0]
        wholes = self._ids([context + text for text in texts])
        return [self._split(head, whole).continuation for whole in wholes]

    def border_merges(self, request: LoglikelihoodRequest) -> int:
        """Pairs in which a token spans the border of context and continuation.

        The context's tokens are then not the beginning of the whole's, so the model is not charged
        for all of the continuation (FACTS 3.1: the reference splits so).
        """
        texts = [self.pair_texts(request, index) for index in range(len(request.pairs))]
        contexts = self._ids([context for context, _ in texts])
        wholes = self._ids([context + continuation for context, continuation in texts])
        return sum(
            whole[: len(context)] != context
            for context, whole in zip(contexts, wholes, strict=True)
        )

    def chat_text(self, messages: Sequence[Message]) -> str:
        """Messages as the model's chat template writes them, ready for the assistant's turn."""
        return filled_chat(
            self.tokenizer,
            [{"role": m.role, "content": m.content} for m in messages],
            strftime_now=TEMPLATE_DATE.strftime,
            **self.settings.chat_template_arguments,
        )

    def _likelihoods(self, requests: Sequence[LoglikelihoodRequest]) -> list[EncodedLoglikelihood]:
        texts = [
            [self.pair_texts(request, index) for index in range(len(request.pairs))]
            for request in requests
        ]
        pairs = iter(self._pairs([pair for of_request in texts for pair in of_request]))
        encoded = []
        for request in requests:
            fitted = [self._fitted(next(pairs), request) for _ in request.pairs]
            kept = tuple(pair for pair, _ in fitted)
            dropped = sum(count for _, count in fitted)
            encoded.append(EncodedLoglikelihood(likelihood_key(kept), request, kept, dropped))
        return encoded

    def _pairs(self, texts: Sequence[tuple[str, str]]) -> list[EncodedPair]:
        """Contexts and continuations as token ids; equal contexts share one tuple."""
        separable = [self._tokens.separable(*pair) for pair in texts]
        contexts = self._ids([context for context, _ in texts])
        behind = self._ids(
            [
                continuation if alone else context + continuation
                for (context, continuation), alone in zip(texts, separable, strict=True)
            ]
        )
        unique = dict(zip((context for context, _ in texts), contexts, strict=True))
        fronts = {context: self._with_prefix(ids) for context, ids in unique.items()}
        pairs = []
        for (text, _), context, rest, alone in zip(texts, contexts, behind, separable, strict=True):
            if alone and rest and fronts[text]:
                pairs.append(EncodedPair(fronts[text], rest))
            else:
                whole = context + rest if alone else rest
                pairs.append(self._split(context, whole, fronts[text]))
        return pairs

    def pair_texts(self, request: LoglikelihoodRequest, index: int) -> tuple[str, str]:
        """Context and continuation of a pair as the texts that are encoded."""
        pair = request.pairs[index]
        if self.uses_template(request):
            # The template ends with its own separator, so the reference drops the joining space.
            messages = request.messages[index]
            context = self.chat_text(messages) if messages else pair.context
            return context, pair.continuation.lstrip(" ")
        return border_texts(pair)

    def _split(
        self, context: TokenIds, whole: TokenIds, front: TokenIds | None = None
    ) -> EncodedPair:
        """Splits the whole at the context's length; at least one token stays on either side.

        Args:
            front: the context with its prefix, where the caller has it.
        """
        border = min(len(context), len(whole) - 1)
        if front is None or border < len(context):
            front = self._with_prefix(context[:border])
        if not front:
            front = (self._first_token(),)
        return EncodedPair(front, whole[border:])

    def _with_prefix(self, ids: TokenIds) -> TokenIds:
        """The ids with the tokenizer's special tokens in front, unless a template wrote them."""
        front = self.prefix
        return ids if front and ids[: len(front)] == front else front + ids

    def _first_token(self) -> int:
        """What stands before a text when nothing does: BOS, or EOS for models without."""
        for token in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if isinstance(token, int):
                return token
        raise ModelError("the tokenizer has neither a BOS nor an EOS token to start a text with")

    def _fitted(self, pair: EncodedPair, request: LoglikelihoodRequest) -> tuple[EncodedPair, int]:
        """The pair cut on the left to the model's window, and how many tokens were dropped.

        The last token is scored but never fed, so one more than the window fits.
        """
        room = self.max_length + 1 - len(pair.continuation)
        if room < 1:
            raise DataError(
                f"sample '{request.sample_id}' of task '{request.task}' has a scored text of "
                f"{len(pair.continuation)} tokens; the model's window is {self.max_length}",
                hint="use a model with a longer window, or --max-length",
            )
        dropped = max(0, len(pair.context) - room)
        return EncodedPair(pair.context[dropped:], pair.continuation), dropped

    def _generations(self, requests: Sequence[GenerateRequest]) -> list[EncodedGenerate]:
        texts = [
            self.chat_text(r.messages) if self.uses_template(r) else r.prompt for r in requests
        ]
        all_ids = self._ids(texts)
        encoded = []
        for request, text, ids in zip(requests, texts, all_ids, strict=True):
            templated = self.uses_template(request)
            prompt = self._with_prefix(ids)
            if not prompt:
                prompt = (self._first_token(),)
            reasoning = self.settings.reasoning
            # Where the window is small the thought gives way: prompt and answer need their tokens.
            spare = max(0, self.max_length - request.max_tokens - len(prompt))
            thinking = min(reasoning.max_tokens, spare) if templated and self._thinks() else 0
            room = self.max_length - request.max_tokens - thinking
            if room < 1:
                raise DataError(
                    f"task '{request.task}' asks for {request.max_tokens} new tokens; the model's "
                    f"window is {self.max_length}",
                    hint="lower it in a suite of your own (overrides: "
                    f"{{{request.task}: {{max_tokens: …}}}}), or leave the task out",
                )
            dropped = max(0, len(prompt) - room)
            prompt = prompt[dropped:]
            sampling = (request.temperature, request.top_p) if request.temperature else ()
            limits = (request.max_tokens, thinking, request.stop, sampling)
            key = _key("generate", prompt, limits, self.seed if sampling else None)
            encoded.append(
                EncodedGenerate(
                    key=key,
                    request=request,
                    prompt=prompt,
                    truncated_tokens=dropped,
                    starts_in_thought=templated and text.rstrip().endswith(reasoning.start),
                    thinking_tokens=thinking,
                    seed=int(_key(key, self.seed)[:8], 16),
                )
            )
        return encoded

    def _thinks(self) -> bool:
        reasoning = self.settings.reasoning
        if reasoning.enabled == "auto":
            return reasoning.start in str(self.tokenizer.chat_template or "")
        return bool(reasoning.enabled)

    def _ids(self, texts: Sequence[str], *, special: bool = False) -> list[TokenIds]:
        return self._tokens.ids(texts, special=special)


def border_texts(pair: ContextContinuation) -> tuple[str, str]:
    """Context and continuation, with the spaces at the context's end moved over."""
    kept = pair.context.rstrip()
    return kept, pair.context[len(kept) :] + pair.continuation


def likelihood_key(pairs: Sequence[EncodedPair]) -> str:
    """The content key of pairs: over their ids as bytes, a context not again where it repeats."""
    digest = hashlib.sha256(b"loglikelihood")
    before: TokenIds = ()
    for pair in pairs:
        # The same object first: to compare long tuples that are equal takes a while.
        repeats = pair.context is before or pair.context == before
        ids = pair.continuation if repeats else pair.context + pair.continuation
        head = (-1 if repeats else len(pair.context), len(pair.continuation))
        digest.update(struct.pack(f"<{2 + len(ids)}i", *head, *ids))
        before = pair.context
    return digest.hexdigest()[:32]


def _key(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
