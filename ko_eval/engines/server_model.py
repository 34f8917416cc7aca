"""A model behind a server: what is known of it without a folder."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerModel:
    """A model that a server answers for.

    Attributes:
        url: the server's address, which is no part of what the model is: behind another port it is
            the same model.
        name: as the server calls it: the name that results show.
        identity: hash of what the server says of the model's origin and size; None where it says
            nothing. It tells two models apart that were served under one name.
        max_length: the window in tokens, where the server tells it.
        revision: as the user states it; servers do not tell.
        likelihoods: whether it gives log-likelihoods of texts that it is given.
        why_none: why it does not, in words; empty where it does or was not asked.
    """

    url: str
    name: str
    identity: str | None = None
    max_length: int | None = None
    revision: str | None = None
    likelihoods: bool = False
    why_none: str = ""

    @property
    def model_type(self) -> str:
        return "unknown"
