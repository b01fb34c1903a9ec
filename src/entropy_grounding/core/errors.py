"""Errors that a user can fix. The message names the thing, its value and the remedy."""

import errno
import os
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

_FULL = (errno.ENOSPC, errno.EDQUOT)


class InputError(ValueError):
    """Bad input, configuration or model.

    Command lines (`command`) print the one sentence of its message and exit with status 2.
    """


class ContextError(InputError):
    """A prompt is longer than the context of the model. Fewer pictures may fit."""


def machine_remedy(error: BaseException) -> str | None:
    """Return the advice against an error of this machine or of the hub, or None for another error.

    An error of the machine is a missing package, a full disk, or a cache that cannot be written; of
    the hub, its refusal of a request. It may also be the cause of another error.
    """
    for cause in _chain(error):
        if isinstance(cause, HfHubHTTPError):
            return _hub_remedy(cause)
        if isinstance(cause, ImportError):
            return f"Install {cause.name or 'what it names'} (pip install -c constraints.txt ...)"

        if isinstance(cause, OSError) and cause.errno in _FULL:
            return "The disk is full: make room, or set HF_HOME to a folder of another disk"
        if isinstance(cause, OSError) and _is_of_the_cache(cause.filename):
            return (
                f"The cache '{cause.filename}' cannot be written: "
                "set HF_HOME to a folder that can be"
            )

    return None


def _hub_remedy(error: HfHubHTTPError) -> str | None:
    """Return the advice against a refusal of the hub."""
    login = "log in with 'hf auth login', or set HF_TOKEN"
    if isinstance(error, RevisionNotFoundError):
        return "It has no such revision: name a commit, tag or branch of it, or leave revision out"
    if isinstance(error, GatedRepoError):
        return f"It is gated: accept its terms on its page on the hub, then {login}"
    if isinstance(error, RepositoryNotFoundError):
        return f"There is no such repository, or it is private: check the name, or {login}"

    status = error.response.status_code
    if status in (401, 403):
        return f"The hub does not accept the login of this machine: {login}"
    if status == 429:
        return (
            "The hub had too many requests from here: wait some minutes, then run the same command "
            "again; what was fetched is kept"
        )
    if status >= 500:
        return "The hub has trouble: run the same command later; what was fetched is kept"
    return None


def _chain(error: BaseException | None) -> list[BaseException]:
    """Return an error and its causes, from the error back to its first cause."""
    errors: list[BaseException] = []
    # A chain may lead back to an error that it already has.
    while error is not None and error not in errors:
        errors.append(error)
        error = error.__cause__ or error.__context__

    return errors


def _is_of_the_cache(name: object) -> bool:
    """Tell whether a path lies in a cache of the hub, or is a folder above such a cache."""
    if not isinstance(name, str):
        return False

    caches = (
        constants.HF_HOME,
        constants.HF_HUB_CACHE,
        os.environ.get("HF_DATASETS_CACHE") or constants.HF_HOME,
    )
    path = Path(name).absolute()
    for cache in map(Path, caches):
        # A folder above counts too: the cache may not exist yet.
        if path == cache or cache in path.parents or path in cache.parents:
            return True

    return False
