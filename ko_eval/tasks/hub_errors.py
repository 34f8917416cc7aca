"""What the hub's answers mean for a user: what is wrong with which dataset, and what to do.

The libraries say much of it in exceptions of several kinds, or only in words; what they leave open
is asked of the hub once more, after a failure only.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch

from ko_eval.errors import DataError, first_line, near_miss
from ko_eval.tasks.definition import HubSource

_ELSE = "use --data bundled or --data PATH"


class Unreachable(DataError):
    """The hub does not answer, or must not be asked."""


def label(source: HubSource, name: str | None) -> str:
    """One configuration in words."""
    return " / ".join(part for part in (source.path, name or source.files, source.split) if part)


def http_error() -> type[Exception]:
    """The HTTP library's own base error: it is raised bare when nothing answers."""
    from huggingface_hub.errors import HfHubHTTPError

    base: type[Exception] = HfHubHTTPError.__bases__[0]
    return base


@contextmanager
def explained(source: HubSource, name: str | None, commit: str | None) -> Iterator[None]:
    """Turns what the hub's libraries raise into an error that a user can act on."""
    import datasets
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        yield
    except (
        *(http_error(), OfflineModeIsEnabled, datasets.exceptions.DatasetsError),
        *(OSError, ValueError, RuntimeError),
    ) as error:
        refusal = _refusal(source) if commit is not None else None
        raise (
            refusal
            or _wrong_name(source, name, commit)
            or DataError(
                f"cannot load '{label(source, name)}' from the hub: {first_line(_cause(error))}",
                where=f"dataset {source.path}",
                hint=_ELSE,
            )
        ) from error


def _cause(error: Exception) -> BaseException:
    """What went wrong below a library's own wrapping, which says nothing."""
    import datasets

    wrapped = isinstance(error, datasets.exceptions.DatasetGenerationError)
    return (error.__cause__ if wrapped else None) or error


def _refusal(source: HubSource) -> DataError | None:
    """Why the hub gives this user nothing of a dataset; None where it does not refuse."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    try:
        huggingface_hub.HfApi().auth_check(source.path, repo_type="dataset")
    except RepositoryNotFoundError as error:
        return hub_error(source, error)
    except HfHubHTTPError:
        return None  # a mirror that does not know the question
    except http_error() as error:
        return hub_error(source, error)
    return None


def _wrong_name(source: HubSource, name: str | None, commit: str | None) -> DataError | None:
    """The configuration or file that is asked for but does not exist; None where it does."""
    import datasets
    import huggingface_hub

    where = f"dataset {source.path}"
    with contextlib.suppress(http_error(), datasets.exceptions.DatasetsError, OSError, ValueError):
        if source.files is not None:
            asked = source.files.replace("{name}", name or "")
            files = huggingface_hub.HfApi().list_repo_files(
                source.path, repo_type="dataset", revision=commit
            )
            if not any(fnmatch(file, asked) for file in files):
                closest = difflib.get_close_matches(asked, files, n=8, cutoff=0.0)
                hint = near_miss(asked, closest)
                return DataError(f"the dataset has no file '{asked}'", where=where, hint=hint)
            return None
        known = datasets.get_dataset_config_names(source.path, revision=commit)
        if name is not None and name not in known:
            hint = near_miss(name, known)
            return DataError(f"the dataset has no configuration '{name}'", where=where, hint=hint)
        if (
            name is None
            and datasets.get_dataset_default_config_name(source.path, revision=commit) is None
        ):
            return DataError(
                f"the dataset has {len(known)} configurations, and the task names none",
                where=f"{where}, field 'data.hub.name'",
                hint="name one of " + ", ".join(known),
            )
    return None


def hub_error(source: HubSource, error: Exception) -> DataError:
    """What an answer of the hub, or its absence, means for the user."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    what, hint = _meaning(source, error)
    answered = isinstance(error, HfHubHTTPError | HFValidationError | UnicodeError)
    kind = DataError if answered else Unreachable
    return kind(what, where=f"dataset {source.path}", hint=hint)


def _meaning(source: HubSource, error: Exception) -> tuple[str, str]:
    """What is wrong, and what to do."""
    from huggingface_hub import errors

    path = source.path
    ask = f"request access on its page https://huggingface.co/datasets/{path} and set HF_TOKEN"
    match error:
        case errors.OfflineModeIsEnabled():
            what = "HF_HUB_OFFLINE is set, so the hub is not asked"
            return what, f"read it once with a network, or {_ELSE}"
        case UnicodeError():
            return "the token that is set holds characters that no token has", "set HF_TOKEN anew"
        case errors.HFValidationError():
            return "this is neither a folder here nor an id on the hub", "write OWNER/NAME"
        case errors.GatedRepoError():
            return f"the dataset is gated, and {_token()}", ask
        case errors.RevisionNotFoundError():
            return f"the dataset has no revision '{source.revision}'", _revisions(source)
        case errors.DisabledRepoError():
            return "the hub has disabled this dataset", _ELSE
        case errors.RepositoryNotFoundError():
            return _missing_or_private(), f"check its name; if it is private, {ask}"
        # To whom it does not know, the hub says 401 of every dataset that it does not show.
        case errors.HfHubHTTPError() if error.response.status_code == 401 and not _token_is_set():
            return _missing_or_private(), f"check its name; if it is private, {ask}"
        case errors.HfHubHTTPError() if error.response.status_code == 401:
            return "the hub does not accept the token that is set", "renew it and set HF_TOKEN"
        case errors.HfHubHTTPError() if error.response.status_code == 403:
            return f"the hub refuses access, and {_token()}: {first_line(error)}", ask
        case errors.HfHubHTTPError():
            what = f"the hub answers with an error: {first_line(error)}"
            return what, f"try again later, or {_ELSE}"
        case _:
            again = "what was read once can be read again without a network, with HF_HUB_OFFLINE=1"
            what = f"the hub cannot be reached: {first_line(error)}"
            return what, f"check the network, or {_ELSE}; {again}"


def _missing_or_private() -> str:
    return f"the hub has no such dataset, or it is private and {_token()}"


def _token() -> str:
    return "the token that is set has no access to it" if _token_is_set() else "HF_TOKEN is not set"


def _token_is_set() -> bool:
    import huggingface_hub

    return huggingface_hub.get_token() is not None


def _revisions(source: HubSource) -> str:
    import huggingface_hub

    known: list[str] = []
    with contextlib.suppress(http_error()):
        refs = huggingface_hub.HfApi().list_repo_refs(source.path, repo_type="dataset")
        known = [ref.name for ref in (*refs.branches, *refs.tags)]
    close = f"; {near_miss(source.revision or '', known)}" if known else ""
    return f"give a commit, a tag or a branch{close}"
