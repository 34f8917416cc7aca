"""What a server says of its model, before anything is written or asked.

The model's name must be right, and what the server tells of origin and size goes into the run's
fingerprint: another model under the same name is another run, the same one behind another port is
not. A server that hides its list of models is believed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json

from ko_eval.engines.server_answers import ListedModel
from ko_eval.engines.server_calls import Calls, GaveUp, wait_for
from ko_eval.engines.server_client import Refusal, ServerClient
from ko_eval.engines.server_likelihood import why_no_likelihoods
from ko_eval.engines.server_model import ServerModel
from ko_eval.engines.server_options import ServerOptions, check_client, check_url
from ko_eval.errors import ModelError, UsageError

_LONGEST_NAME = 200
_ATTEMPTS = 3
_REFUSALS = 6
# A list of models takes no longer, whatever time answers need.
_LIST_SECONDS = 30.0
# What llama.cpp says of a model file that does not change with the server's own settings.
_STABLE = ("n_params", "size", "n_vocab", "n_embd", "n_ctx_train")
_SHOWN_NAMES = 10


def survey(
    url: str, options: ServerOptions, *, revision: str | None, likelihoods: bool
) -> ServerModel:
    """The model that a server answers for.

    Args:
        revision: what the user says of it; servers do not tell.
        likelihoods: whether some task needs log-likelihoods of given texts; the server is then
            tried with two short ones.

    Raises:
        UsageError: the URL is wrong, or several models are served and none was named.
        ModelError: the server does not answer, or not in the protocol; or the client is missing.
    """
    place = check_url(url)
    check_client()
    return wait_for(lambda: _survey(place, impatient(options), revision, likelihoods))


def impatient(options: ServerOptions) -> ServerOptions:
    """The options for the first requests: who looks on learns soon that nobody answers."""
    return dataclasses.replace(
        options,
        attempts=min(_ATTEMPTS, options.attempts),
        refusals=min(_REFUSALS, options.refusals),
    )


async def _survey(
    url: str, options: ServerOptions, revision: str | None, likelihoods: bool
) -> ServerModel:
    entry = _chosen(await _listed(url, options), options.model_name, url)
    name = options.model_name or entry.id
    model = ServerModel(url, name, _identity(entry), entry.max_model_len, revision)
    if not likelihoods:
        return model
    async with ServerClient(url, options) as client:
        try:
            why = await why_no_likelihoods(client, Calls(options), name)
        except GaveUp as error:
            raise ModelError(
                f"the server fails at log-likelihoods of given texts: {error}",
                where=url,
                hint="try again later, or ask in text instead: --variant generate",
            ) from error
    return dataclasses.replace(model, likelihoods=not why, why_none=why)


def unreachable(url: str, error: GaveUp) -> ModelError:
    """The error for a server that does not answer the first requests."""
    return ModelError(
        f"the server does not answer: {error}",
        where=url,
        hint="it is there, but takes no requests now; try again later"
        if error.busy
        else "is it up, and is this the address of its API (often ending in /v1)?",
    )


def refused(url: str, refusal: Refusal, *, chat: bool = False) -> ModelError:
    """The error for a server that refuses the first request.

    Args:
        chat: it was a chat.
    """
    other = "; for a model without a chat template: --chat-template off" if chat else ""
    hints = {
        403: "the key has no right to this model",
        404: "check --model-name, and that the URL is that of the API (often ending in /v1)",
    }
    return ModelError(
        f"the server refuses the first request ({refusal.reason})",
        where=url,
        hint=hints.get(refusal.status or 0, "the reason is the server's own" + other),
    )


async def _listed(url: str, options: ServerOptions) -> list[ListedModel]:
    """The server's list of models; none where it has no list."""
    quick = dataclasses.replace(options, timeout=min(_LIST_SECONDS, options.timeout))
    async with ServerClient(url, quick) as client:
        try:
            return (await Calls(quick).answer(client.models)).data
        except GaveUp as error:
            raise unreachable(url, error) from error
        except Refusal as refusal:
            if refusal.status in (404, 405, 501):
                return []
            raise refused(url, refusal) from refusal


def _chosen(listed: list[ListedModel], name: str | None, url: str) -> ListedModel:
    """The list's entry of the model; a bare one where the list does not hold it."""
    if name is None and not listed:
        raise UsageError(
            "the server lists no models, and none was named",
            where=url,
            hint="is this the address of its API (often ending in /v1)? Then add --model-name NAME",
        )
    if name is None:
        if len(listed) > 1:
            names = ", ".join(entry.id for entry in listed[:_SHOWN_NAMES])
            raise UsageError(
                f"the server lists {len(listed)} models, and none was named",
                where=url,
                hint=f"add --model-name NAME ({names})",
            )
        name = listed[0].id
    if not name.isprintable() or not 0 < len(name) <= _LONGEST_NAME:
        raise UsageError("the model's name cannot be used", hint="give a short, printable one")
    return next((entry for entry in listed if entry.id == name), ListedModel(id=name))


def _identity(entry: ListedModel) -> str | None:
    said = {name: value for name, value in (entry.meta or {}).items() if name in _STABLE}
    if not entry.root and not said:
        return None
    text = json.dumps({"root": entry.root, **said}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
