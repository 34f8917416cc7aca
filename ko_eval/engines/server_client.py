"""One request to a server through the openai client, and what its failure means.

Each request is sent once here; `server_calls` decides on another attempt. An answer is bounded in
time and size. A redirection is not followed: the key goes to the host that the user named.
"""

from __future__ import annotations

import asyncio
import email.utils
import functools
import math
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pydantic import ValidationError

from ko_eval.engines.server_answers import ChatReply, CompletionReply, ModelList, Shape
from ko_eval.engines.server_options import KEY_VARIABLES, ServerOptions, api_key, redacted
from ko_eval.errors import ModelError, first_line
from ko_eval.types import JsonValue

if TYPE_CHECKING:
    import httpx2
    from openai import APIStatusError

_CONNECT_SECONDS = 10.0
_LONGEST_REASON = 200
# The server is there, but has too much to do (529: a common one beyond the standard).
_BUSY = frozenset({429, 503, 529})
# What some servers send although nothing packed was asked for, and how much larger it may become.
_PACKED = ("gzip", "deflate")
_MOST_UNPACKED = 1032
_BROKEN_OFF = frozenset({"abort", "aborted", "cancelled", "error"})
_TRANSIENT = frozenset({408, 409})


class Trouble(Exception):
    """The server failed at a request that may succeed when it is sent again.

    Attributes:
        busy: it asked for fewer requests.
        wait: seconds that it asked to wait, or None.
    """

    def __init__(self, reason: str, *, busy: bool = False, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.busy = busy
        self.wait = wait


class Refusal(Exception):
    """The server will never answer this request.

    Attributes:
        status: of HTTP; None where the request could not be sent.
    """

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class ServerClient:
    """Asks one server; an asynchronous context manager.

    Raises:
        ModelError: the key in the environment is none.
    """

    def __init__(self, url: str, options: ServerOptions) -> None:
        import httpx2
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        self.url = url
        self._options = options
        seconds = httpx2.Timeout(options.timeout, connect=min(_CONNECT_SECONDS, options.timeout))
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=options.concurrency)
        self._client = AsyncOpenAI(
            base_url=url,
            api_key=_checked_key() or "none",
            max_retries=0,
            timeout=seconds,
            default_headers={"Accept-Encoding": "identity"},
            http_client=DefaultAsyncHttpxClient(
                timeout=seconds,
                limits=limits,
                verify=_trusted(),
                follow_redirects=False,
                event_hooks={"response": [self._bound]},
            ),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.close()

    async def models(self) -> ModelList:
        """The models that the server lists."""
        return await self._asked("/models", None, ModelList)

    async def chat(self, body: Mapping[str, JsonValue]) -> ChatReply:
        """An answer to messages.

        Raises:
            Trouble, Refusal, ModelError: see `_asked`.
        """
        reply = await self._asked("/chat/completions", body, ChatReply)
        _check_whole(reply.choices[0].finish_reason)
        return reply

    async def completion(self, body: Mapping[str, JsonValue]) -> CompletionReply:
        """What follows a text, and with `echo` the text's own scores.

        Raises:
            Trouble, Refusal, ModelError: see `_asked`.
        """
        reply = await self._asked("/completions", body, CompletionReply)
        _check_whole(reply.choices[0].finish_reason)
        return reply

    async def _asked(
        self, path: str, body: Mapping[str, JsonValue] | None, shape: type[Shape]
    ) -> Shape:
        """One request.

        Raises:
            Trouble: it may succeed when it is sent again.
            Refusal: it never will.
            ModelError: no request will: the key or the account is refused.
        """
        import httpx2
        from openai import APIConnectionError, APIStatusError, APITimeoutError

        # Without their causes: those hold what the server said, and a traceback shows them.
        try:
            async with asyncio.timeout(self._options.timeout):
                if body is None:
                    response = await self._client.get(path, cast_to=httpx2.Response)
                else:
                    response = await self._client.post(path, cast_to=httpx2.Response, body=body)
        except (TimeoutError, APITimeoutError):
            raise Trouble(f"no answer within {self._options.timeout:g} s") from None
        except APIStatusError as error:
            raise self._meaning(error) from None
        except APIConnectionError as error:
            cause = error.__cause__ or error
            raise Trouble(f"the connection failed: {_clean(first_line(cause))}") from None
        except UnicodeEncodeError:
            raise Refusal("the text holds characters that cannot be sent") from None
        try:
            return shape.model_validate_json(response.content)
        except ValidationError as error:
            raise Trouble(f"the answer is malformed: {_clean(_first_fault(error))}") from None

    def _meaning(self, error: APIStatusError) -> Exception:
        """What an error status asks for."""
        status = error.status_code
        reason = f"HTTP {status}: {_said(error)}"
        if status == 401:
            return ModelError(
                f"the server refuses the key ({reason})",
                where=self.url,
                hint=f"set {' or '.join(KEY_VARIABLES)} in the environment",
            )
        if status == 402 or (status == 429 and error.code == "insufficient_quota"):
            return ModelError(
                f"the account at the server is used up ({reason})",
                where=self.url,
                hint="run the same command again once it is not; finished responses are kept",
            )
        if status in _BUSY or status in _TRANSIENT or (status >= 500 and status != 501):
            wait = retry_after(error.response.headers)
            return Trouble(reason, busy=status in _BUSY, wait=wait)
        return Refusal(reason, status)

    async def _bound(self, response: httpx2.Response) -> None:
        """Lets no more of an answer in than is allowed."""
        import httpx2

        packed = response.headers.get("content-encoding", "identity").lower()
        if packed not in ("identity", *_PACKED):
            raise Trouble("the answer is packed in a way that was not asked for")
        most = self._options.most_bytes // (_MOST_UNPACKED if packed in _PACKED else 1)
        inner = response.stream

        class Bounded(httpx2.AsyncByteStream):
            async def __aiter__(self) -> AsyncIterator[bytes]:
                size = 0
                assert isinstance(inner, httpx2.AsyncByteStream)
                async for chunk in inner:
                    size += len(chunk)
                    if size > most:
                        raise Trouble(f"the answer is longer than {most:,} bytes")
                    yield chunk

            async def aclose(self) -> None:
                assert isinstance(inner, httpx2.AsyncByteStream)
                await inner.aclose()

        response.stream = Bounded()


def _check_whole(finish: str | None) -> None:
    """Raises `Trouble` where the server itself failed in the middle of an answer."""
    if finish in _BROKEN_OFF:
        raise Trouble(f"the answer was broken off (finish reason '{finish}')")


@functools.cache
def _trusted() -> ssl.SSLContext:
    """Whom an encrypted connection trusts: the library's choice, which takes a while to read."""
    import httpx2

    return httpx2.create_ssl_context()


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait; None where it asks for nothing that can be read."""
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        date = email.utils.parsedate_tz(text)
        if date is None:
            return None
        try:
            seconds = email.utils.mktime_tz(date) - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _checked_key() -> str | None:
    key = api_key()
    if key is not None and not (key.isascii() and key.isprintable()):
        raise ModelError(
            "the server's key holds characters that no key has",
            hint=f"look at {' and '.join(KEY_VARIABLES)} in the environment",
        )
    return key


def _said(error: APIStatusError) -> str:
    """The server's own reason in one line."""
    body = error.body
    if isinstance(body, Mapping):
        found = body.get("message") or body.get("detail") or body.get("error")
        return _clean(str(found)) if found else "no reason given"
    text = body.strip() if isinstance(body, str) else ""
    if text.startswith("<"):
        return "a page instead of an answer"
    return _clean(text) or "no reason given"


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(map(str, fault["loc"]))
    return f"{place}: {fault['msg']}" if place else fault["msg"]


def _clean(text: str) -> str:
    """A foreign text as one short line that can be shown, without keys."""
    # Cut before the keys are taken out only where it is far longer than what is shown.
    shown = redacted(text[: 20 * _LONGEST_REASON])
    line = " ".join("".join(c if c.isprintable() else " " for c in shown).split())
    return line if len(line) <= _LONGEST_REASON else line[: _LONGEST_REASON - 1] + "…"
