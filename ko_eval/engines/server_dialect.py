"""Which parameters a server takes: found out with a tiny request before work starts.

The whole set is tried first. If it is refused, a bare request is, and then one parameter at a time
is added; no message has to be understood. Stop strings are applied here in any case, so a server
that takes few or none of them changes no answer. What changes answers is told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ko_eval.engines.server_client import Refusal
from ko_eval.types import JsonValue

Send = Callable[[Mapping[str, JsonValue]], Awaitable[object]]

# OpenAI's own limit.
_FEW_STOPS = 4
_TINY = 16


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one request asks for.

    Attributes:
        limit: most new tokens.
        temperature: 0 for greedy; the others are only sent where it is not.
    """

    limit: int
    stop: Sequence[str] = ()
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server takes.

    Attributes:
        limit_name: the name of the token limit.
        stops: most stop strings; None for any number.
        temperature, top_p, seed: whether it takes them.
    """

    limit_name: str = "max_tokens"
    stops: int | None = None
    temperature: bool = True
    top_p: bool = True
    seed: bool = True

    def parameters(self, wanted: Wanted) -> dict[str, JsonValue]:
        """The request's parameters, without those that the server refuses."""
        found: dict[str, JsonValue] = {self.limit_name: wanted.limit}
        if self.temperature:
            found["temperature"] = wanted.temperature
        if wanted.temperature and self.top_p:
            found["top_p"] = wanted.top_p
        if wanted.temperature and self.seed:
            found["seed"] = wanted.seed
        if stop := list(wanted.stop)[: self.stops]:
            found["stop"] = stop
        return found

    def warnings(self, *, sampling: bool) -> list[str]:
        """What of it can move a score.

        Args:
            sampling: whether any request asks for more than the likeliest answer.
        """
        found = []
        if not self.temperature:
            found.append(
                "the server takes no temperature: answers are as random as it likes, and the "
                "protocol is not kept"
            )
        elif sampling and not self.top_p:
            found.append("the server takes no top_p: the protocol's sampling is not kept")
        if sampling and not self.seed:
            found.append("the server takes no seed: sampled answers cannot be repeated")
        return found


_BARE = Dialect(stops=0, temperature=False, top_p=False, seed=False)


async def spoken(send: Send, wanted: Wanted) -> Dialect:
    """The dialect of a server, as far as requests like the wanted one need it.

    Args:
        send: sends a tiny request with these parameters.

    Raises:
        Refusal: it refuses even a bare request.
    """
    tiny = replace(wanted, limit=_TINY)
    if await _takes(send, Dialect(), tiny):
        return Dialect()
    found = _BARE
    if not await _takes(send, found, tiny):
        found = replace(found, limit_name="max_completion_tokens")
        if not await _takes(send, found, tiny):
            await send(_BARE.parameters(tiny))
    names = ("temperature", "top_p", "seed") if wanted.temperature else ("temperature",)
    for name in names:
        richer = _with(found, name)
        found = richer if await _takes(send, richer, tiny) else found
    for stops in (None, _FEW_STOPS):
        richer = replace(found, stops=stops)
        if await _takes(send, richer, tiny):
            return richer
    return found


def _with(dialect: Dialect, name: str) -> Dialect:
    return Dialect(
        limit_name=dialect.limit_name,
        stops=dialect.stops,
        temperature=dialect.temperature or name == "temperature",
        top_p=dialect.top_p or name == "top_p",
        seed=dialect.seed or name == "seed",
    )


async def _takes(send: Send, dialect: Dialect, wanted: Wanted) -> bool:
    try:
        await send(dialect.parameters(wanted))
    except Refusal as refusal:
        if refusal.status not in (400, 422):
            raise
        return False
    return True
