"""Requests for a server: as texts, since the tokenizer is the server's.

The content key is over what is sent: messages or text, limits, stop strings, sampling. A prompt is
never cut here; a server whose window is too small refuses it, and the sample counts as failed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from ko_eval.engines.base import EncodedGenerate, EncodedLoglikelihood, EncodedRequest
from ko_eval.engines.encoding import ChatTemplate, border_texts
from ko_eval.engines.model_settings import ModelSettings
from ko_eval.types import GenerateRequest, LoglikelihoodRequest, Request


@dataclass(frozen=True, slots=True)
class TextEncoder:
    """Encodes requests for a model whose tokenizer is not at hand.

    Attributes:
        chat_template: `off` sends the plain prompt as a text to complete; otherwise messages go to
            the chat endpoint, where the server applies the model's template. Likelihoods are of
            plain texts.
        thinking: room for a thought; None for what the settings say. A server does not show its
            template, so `auto` in the settings gives none.
        max_length: the window in tokens; 0 where the server does not tell.
        seed: base of the sampling seeds.
    """

    settings: ModelSettings
    chat_template: ChatTemplate = "auto"
    thinking: int | None = None
    max_length: int = 0
    seed: int = 0

    @property
    def template_hash(self) -> None:
        """The template is the server's, and not known."""
        return

    @property
    def thinking_tokens(self) -> int:
        """Room for a thought, on top of each answer's limit."""
        if self.chat_template == "off":
            return 0
        if self.thinking is not None:
            return self.thinking
        reasoning = self.settings.reasoning
        return reasoning.max_tokens if reasoning.enabled is True else 0

    def uses_template(self, request: Request) -> bool:
        """Whether this request goes to the chat endpoint."""
        return self.chat_template != "off" and isinstance(request, GenerateRequest)

    def encode(self, requests: Sequence[Request]) -> list[EncodedRequest]:
        """All requests with their keys, in order."""
        return [
            self._generation(request)
            if isinstance(request, GenerateRequest)
            else _likelihood(request)
            for request in requests
        ]

    def _generation(self, request: GenerateRequest) -> EncodedGenerate:
        templated = self.uses_template(request)
        shown: object = request.prompt
        if templated:
            shown = [(message.role, message.content) for message in request.messages]
        sampling = (request.temperature, request.top_p) if request.temperature else ()
        limits = (request.max_tokens, self.thinking_tokens, request.stop, sampling)
        key = _key("generate", templated, shown, limits, self.seed if sampling else None)
        return EncodedGenerate(
            key=key,
            request=request,
            prompt=(),
            truncated_tokens=0,
            starts_in_thought=False,
            thinking_tokens=self.thinking_tokens,
            seed=int(_key(key, self.seed)[:8], 16),
        )


def _likelihood(request: LoglikelihoodRequest) -> EncodedLoglikelihood:
    key = _key("loglikelihood", [border_texts(pair) for pair in request.pairs])
    return EncodedLoglikelihood(key, request, (), 0)


def _key(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
