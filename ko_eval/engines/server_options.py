"""What a user may say about a server, checked before anything is sent to it.

A server's URL is the model's place; its key comes from the environment alone, so that no command
line, no file and no message ever holds it.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from ko_eval.errors import ModelError, UsageError

KEY_VARIABLES = ("KO_EVAL_API_KEY", "OPENAI_API_KEY")
"""Where a server's key is read from; the first that is set."""

# What stands where a key was. Shorter texts are placeholders, which servers without keys are given.
_REDACTED = "[key]"
_SHORTEST_KEY = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How a server is asked.

    Attributes:
        model_name: as the server calls it; None where it serves one model only.
        concurrency: most requests in flight.
        thinking_tokens: room for a thought on top of each answer's own limit, since one limit
            counts for both; None for what `configs/models/` says of the model.
        timeout: seconds until a request without an answer is sent again.
        attempts: how often a request is sent when the server fails to answer it.
        refusals: how often it is sent when the server has no room for it.
        backoff: seconds before the second attempt; doubled for each further one.
        most_bytes: of one answer; a longer one counts as broken.
    """

    model_name: str | None = None
    concurrency: int = 16
    thinking_tokens: int | None = None
    timeout: float = 600.0
    attempts: int = 6
    refusals: int = 30
    backoff: float = 0.5
    most_bytes: int = 64 << 20


def server_options(
    model_name: str | None,
    concurrency: int | None,
    thinking_tokens: int | None,
    timeout: float | None,
) -> ServerOptions:
    """The options as given on a command line; None leaves a default."""
    plain = ServerOptions()
    return ServerOptions(
        model_name=model_name,
        concurrency=concurrency or plain.concurrency,
        thinking_tokens=thinking_tokens,
        timeout=timeout or plain.timeout,
    )


def is_server(model: str) -> bool:
    """Whether MODEL is a server's URL."""
    return model.lower().startswith(("http://", "https://"))


def check_url(url: str) -> str:
    """The server's URL without a slash at its end.

    Raises:
        UsageError: it has no host, or holds what may be a secret; that is not repeated.
    """
    try:
        parts = urlsplit(url)
        place = f"{parts.scheme}://{parts.hostname or ''}"
        has_port = parts.port is not None
    except ValueError as error:
        raise UsageError(
            "the server's URL cannot be read", hint="write http://host:8000/v1"
        ) from error
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError(
            "the server's URL holds more than a host and a path",
            where=place,
            hint=f"give http(s)://host:port/v1 alone; a key goes into {KEY_VARIABLES[0]}",
        )
    if not parts.hostname:
        raise UsageError("the server's URL names no host", hint="write http://host:8000/v1")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = f":{parts.port}" if has_port else ""
    return f"{parts.scheme.lower()}://{host}{port}{parts.path.rstrip('/')}"


def check_client() -> None:
    """Checks that the client library is there.

    Raises:
        ModelError: it is not.
    """
    if importlib.util.find_spec("openai") is None:
        raise ModelError(
            "servers are asked through the openai client, which is not installed",
            hint="pip install 'ko-eval[server]'",
        )


def api_key() -> str | None:
    """The key for the server, from the environment."""
    return next((key for name in KEY_VARIABLES if (key := os.environ.get(name, "").strip())), None)


def redacted(text: str) -> str:
    """A text from a server, without the keys that are in the environment."""
    for name in KEY_VARIABLES:
        key = os.environ.get(name, "").strip()
        if len(key) >= _SHORTEST_KEY:
            text = text.replace(key, _REDACTED)
    return text
