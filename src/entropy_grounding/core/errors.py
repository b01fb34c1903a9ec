"""Errors that a user can fix. The message names the thing, its value and the remedy."""

import errno
import os
from pathlib import Path

from huggingface_hub import constants

_FULL = (errno.ENOSPC, errno.EDQUOT)


class InputError(ValueError):
    """Bad input, configuration or model.

    Command lines (`command`) print the one sentence of its message and exit with status 2.
    """


class ContextError(InputError):
    """A prompt is longer than the context of the model. Fewer pictures may fit."""


def machine_remedy(error: BaseException) -> str | None:
    """Return the advice against an error of this machine, or None for another error.

    An error of the machine is a missing package, a full disk, or a cache that cannot be written. It
    may also be the cause of another error.
    """
    for cause in _chain(error):
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
