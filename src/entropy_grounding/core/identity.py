"""Identify files by their SHA-256 and hub repositories by their commit."""

import hashlib
import os
import re
from contextlib import suppress
from functools import cache
from pathlib import Path

from huggingface_hub import HfApi, constants
from huggingface_hub.file_download import repo_folder_name

from entropy_grounding.core.errors import InputError, machine_remedy

_COMMIT = re.compile(r"[0-9a-f]{40}")
_PATIENCE = 10.0  # seconds to wait for the hub


class UnresolvedError(InputError):
    """The commit of a hub checkpoint or data set is not known here."""


@cache
def hub_commit(name: str, revision: str | None, *, kind: str) -> str:
    """Return the commit (40 hexadecimal digits) of a hub checkpoint or data set.

    Args:
        name: hub id.
        revision: commit, tag or branch; None means the main branch.
        kind: "model" or "dataset".

    Raises:
        UnresolvedError: when neither the hub nor the local cache knows it.
    """
    if revision and _COMMIT.fullmatch(revision):
        return revision

    try:
        about = HfApi().repo_info(name, revision=revision, repo_type=kind, timeout=_PATIENCE)
        _remember(name, revision, str(about.sha), kind)
        return str(about.sha)
    except Exception as error:  # offline, gated, no such name: the cache may still know it
        cached = _cached_commit(name, revision, kind)
        if cached is not None:
            return cached

        # Messages of the hub have several lines; one line is enough here.
        reason = " ".join(str(error).split())[:200]
        remedy = machine_remedy(error)
        advice = f"{remedy}." if remedy else _advice(name, kind)
        raise UnresolvedError(
            f"The commit of '{name}' on the hub is not known here ({reason}): {advice}"
        ) from error


def _remember(name: str, revision: str | None, commit: str, kind: str) -> None:
    """Write what a branch or tag stands for into the local cache, for runs without the hub.

    Files are fetched by commit, and `huggingface_hub` writes this note only for a file that is
    fetched by branch or tag.
    """
    note = _note(name, revision, kind)

    # A cache that cannot be written is no reason to stop here: what it has may be enough.
    with suppress(OSError):
        if not note.is_file() or note.read_text() != commit:
            note.parent.mkdir(parents=True, exist_ok=True)
            part = note.with_name(f"{note.name}.{os.getpid()}.tmp")
            part.write_text(commit)
            part.replace(note)  # readers never see half a note


def _note(name: str, revision: str | None, kind: str) -> Path:
    """Return the file of the local cache that holds the commit of a branch or tag."""
    folder = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=name, repo_type=kind))
    return folder / "refs" / (revision or "main")


def _advice(name: str, kind: str) -> str:
    """Return the advice how to continue without the hub."""
    short = name.rpartition("/")[2]

    if kind == "model":
        return (
            "name it with vlm.revision=COMMIT, or fetch it ahead with "
            f"'hf download {name} --local-dir weights/{short}' "
            f"and pass vlm.weights=weights/{short}."
        )

    return (
        "name it with benchmark.revision=COMMIT, or fetch it ahead with "
        f"'hf download --repo-type dataset {name} --local-dir data/{short}' "
        f"and pass that folder, for example benchmark.path=data/{short}."
    )


def _cached_commit(name: str, revision: str | None, kind: str) -> str | None:
    """Return the commit of the copy in the local cache, None if there is no copy."""
    note = _note(name, revision, kind)
    with suppress(OSError):
        commit = note.read_text().strip()
        # The cache keeps a snapshot in a folder that is named by its commit.
        if (note.parents[1] / "snapshots" / commit).is_dir():
            return commit

    return None


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits.

    It is computed once for as long as the size and the time of the file stay the same.

    Raises:
        InputError: when the file cannot be read.
    """
    try:
        about = path.stat()
        return _sha256(path, about.st_size, about.st_mtime_ns)
    except OSError as error:
        raise InputError(
            f"The file '{path}' cannot be read ({error.strerror or error}): "
            "copy it there, or download it again."
        ) from error


@cache
def _sha256(path: Path, size: int, changed: int) -> str:
    """Return the SHA-256 of a file; size and time of change are part of the key of the cache."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
