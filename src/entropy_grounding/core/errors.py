"""The error that a user can fix: its message names the thing, the value and the remedy."""

import errno
import os
from pathlib import Path

from huggingface_hub import constants

_FULL = (errno.ENOSPC, errno.EDQUOT)


class InputError(ValueError):
    """Bad input, configuration or model; command lines (`commands.command`) print its one sentence and exit with status 2."""


class ContextError(InputError):
    """A prompt is longer than the model's context; fewer pictures may fit."""


def machine_remedy(error: BaseException) -> str | None:
    """Return the advice against an error of this machine, whatever was being read; None where it is another error.

    Such errors, also as causes of others, are a package that is missing, a disk that is full, and a cache that
    cannot be written.
    """
    for each in _chain(error):
        if isinstance(each, ImportError):
            return f"Install {each.name or 'what it names'} (pip install -c constraints.txt ...)"
        if isinstance(each, OSError) and each.errno in _FULL:
            return "The disk is full: make room, or set HF_HOME to a folder of another disk"
        if isinstance(each, OSError) and _is_of_the_cache(each.filename):
            return f"The cache '{each.filename}' cannot be written: set HF_HOME to a folder that can be"

    return None


def _chain(error: BaseException | None) -> list[BaseException]:
    """Return an error with its causes, the last first."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__

    return found


def _is_of_the_cache(name: object) -> bool:
    """Tell whether a path lies in a cache of the hub, or is a folder above one."""
    if not isinstance(name, str):
        return False

    caches = (
        constants.HF_HOME,
        constants.HF_HUB_CACHE,
        os.environ.get("HF_DATASETS_CACHE") or constants.HF_HOME,
    )
    path = Path(name).absolute()
    return any(
        path == Path(cache) or Path(cache) in path.parents or path in Path(cache).parents
        for cache in caches
    )
