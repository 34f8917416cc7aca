"""What a server sends, as far as it is read: shapes of the OpenAI protocol.

Strict where an answer would be wrong without a field; where a field only adds something (counts,
finish reason, names), a wrong one counts as missing.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from ko_eval.types import FinishReason

Shape = TypeVar("Shape", bound=BaseModel)


def _or_none(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    try:
        return handler(value)
    except ValidationError:
        return None


_Missing = WrapValidator(_or_none)
_Count = Annotated[int, Field(ge=0, le=10**12)]
_Text = Annotated[str | None, _Missing]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _CompletionDetails(_Part):
    reasoning_tokens: _Count = 0


class TokenUsage(_Part):
    """Tokens as the server counts, and bills, them."""

    prompt_tokens: _Count
    completion_tokens: _Count = 0
    completion_tokens_details: Annotated[_CompletionDetails | None, _Missing] = None

    @property
    def thinking_tokens(self) -> int:
        """Zero also where the server does not tell."""
        details = self.completion_tokens_details
        return min(details.reasoning_tokens, self.completion_tokens) if details else 0


class ChatMessage(_Part):
    """The assistant's turn; `reasoning_content` and `reasoning` are two names of one thing."""

    content: str | None = None
    refusal: _Text = None
    reasoning_content: _Text = None
    reasoning: _Text = None


class ChatChoice(_Part):
    message: ChatMessage
    finish_reason: _Text = None


class TokenLogprobs(_Part):
    """Per token of the echoed prompt and of what was written after it."""

    tokens: list[str]
    token_logprobs: list[float | None]


class CompletionChoice(_Part):
    text: str
    finish_reason: _Text = None
    logprobs: Annotated[TokenLogprobs | None, _Missing] = None


class _Reply(_Part):
    model: _Text = None
    system_fingerprint: _Text = None
    usage: Annotated[TokenUsage | None, _Missing] = None


class ChatReply(_Reply):
    choices: Annotated[list[ChatChoice], Field(min_length=1)]


class CompletionReply(_Reply):
    choices: Annotated[list[CompletionChoice], Field(min_length=1)]


class ListedModel(_Part):
    """An entry of the server's list; what is beyond `id` only some servers tell."""

    id: str
    root: _Text = None
    max_model_len: Annotated[int | None, Field(ge=1), _Missing] = None
    meta: Annotated[dict[str, object] | None, _Missing] = None


class ModelList(_Part):
    data: list[ListedModel]


# vLLM, SGLang, llama.cpp, TGI and the hosted services between them use these.
_FINISH: dict[str, FinishReason] = {
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "model_length"), "length"),
}


def finish_reason(name: str | None) -> FinishReason:
    """The server's reason in our words; `unknown` for any other, such as a content filter."""
    return _FINISH.get(name or "", "unknown")
