"""What weights are, by their content: the same files have the same identity wherever they lie."""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, try_to_load_from_cache

from entropy_grounding.errors import InputError

TINY = Path(__file__).resolve().parents[1] / "tiny" / "weights"
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"

# The small files of a checkpoint that can change an answer; what else lies in a folder cannot.
SMALL_FILES = (
    "config.json",
    "generation_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.json",
    "chat_template.jinja",
)
_WRITER_KEYS = ("transformers_version", "_name_or_path")  # who wrote a file, not what it says
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PATIENCE = 10.0  # seconds to wait for the hub


class UnresolvedError(InputError):
    """A hub checkpoint or data set whose commit is not known here."""


def weights_folder(weights: str) -> Path | None:
    """Return the local folder that ``weights`` names, None for a hub id."""
    tiny = weights.startswith("tiny:")
    folder = TINY / weights.removeprefix("tiny:") if tiny else Path(weights).expanduser()

    return folder if folder.is_dir() else None


def weights_identities(weights: str, revision: str | None = None) -> dict[str, str]:
    """Return what identifies a checkpoint, for the config hash.

    ``weights`` is the SHA-256 of the weights of a local folder, over all its files, or the commit of a
    hub checkpoint. ``files`` is the SHA-256 of a folder's small files (`SMALL_FILES`); it is left out
    where they equal those of a tiny VLM of this repository, whose weights identify them.

    Args:
        weights: a hub id, a local folder, or ``tiny:FAMILY``.
        revision: commit, tag or branch on the hub.

    Raises:
        InputError: for a folder without weights, and for a hub id whose commit cannot be found out.
    """
    folder = weights_folder(weights)
    if folder is None:
        return {"weights": hub_commit(weights, revision, kind="model")}

    files = _files_digest(folder)
    known = {_files_digest(each) for each in TINY.iterdir() if each.is_dir()}
    found = {"weights": _weights_digest(folder)}

    return found if files in known else {**found, "files": files}


def short_identity(manifest: Mapping[str, Any]) -> str:
    """Return the first twelve characters of the weights' identity in a manifest, for tables and tags."""
    return str(manifest["weights_sha256"])[:12]


def weight_files(folder: Path) -> list[Path]:
    """Return the weight files of a checkpoint: those that its index names, or the single one.

    Raises:
        InputError: for an index that names none, or that names something else than safetensors.
    """
    index = folder / INDEX
    if not index.is_file():
        return [folder / SINGLE]

    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"The index '{index}' cannot be read ({error!r}): download the checkpoint again.") from error

    wrong = [str(name) for name in names if not re.fullmatch(r"[\w.-]+\.safetensors", str(name))]
    if wrong or not names:
        named = wrong[0] if wrong else "no file"
        raise InputError(f"The index '{index}' names {named}: only safetensors files in its own folder are loaded; download it again.")

    return [folder / name for name in names]


@cache
def hub_commit(name: str, revision: str | None, *, kind: str) -> str:
    """Return the commit (40 hexadecimal digits) of a hub checkpoint or data set.

    Args:
        name: its hub id.
        revision: commit, tag or branch; None is the main branch.
        kind: "model" or "dataset".

    Raises:
        UnresolvedError: when neither the hub nor the local cache knows it.
    """
    if revision and _COMMIT.fullmatch(revision):
        return revision

    try:
        return str(HfApi().repo_info(name, revision=revision, repo_type=kind, timeout=_PATIENCE).sha)
    except Exception as error:  # offline, gated, no such name: the cache may still know it
        cached = _cached_commit(name, revision, kind)
        if cached is not None:
            return cached
        reason = " ".join(str(error).split())[:200]
        raise UnresolvedError(f"The commit of '{name}' on the hub is not known here ({reason}): {_advice(name, kind)}") from error


def _advice(name: str, kind: str) -> str:
    """Return how to go on without the hub."""
    short = name.rpartition("/")[2]
    if kind == "model":
        return (
            f"name it with vlm.revision=COMMIT, or fetch it ahead with 'hf download {name} --local-dir weights/{short}' "
            f"and pass vlm.weights=weights/{short}."
        )
    return (
        f"name it with benchmark.revision=COMMIT, or fetch it ahead with 'hf download --repo-type dataset {name} --local-dir data/{short}' "
        f"and pass that folder, for example benchmark.path=data/{short}."
    )


def _cached_commit(name: str, revision: str | None, kind: str) -> str | None:
    for file in ("config.json", "README.md"):
        path = try_to_load_from_cache(name, file, revision=revision or "main", repo_type=kind)
        if isinstance(path, str):
            return Path(path).parent.name

    return None


def _weights_digest(folder: Path) -> str:
    """Return the SHA-256 of the weight file, or of the digests of several in the order of their names."""
    digests = [file_digest(path) for path in weight_files(folder)]

    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _files_digest(folder: Path) -> str:
    """Return the SHA-256 of a folder's small files: of their values where they are JSON, else of their bytes."""
    digest = hashlib.sha256()

    for name in SMALL_FILES:
        path = folder / name
        if path.is_file():
            digest.update(f"{name}:{_content(path, path.stat().st_size, path.stat().st_mtime_ns)}\n".encode())

    return digest.hexdigest()


@cache
def _content(path: Path, size: int, changed: int) -> str:
    """Return the SHA-256 of a small file, without what only says who wrote it."""
    content = path.read_bytes()

    try:
        values = json.loads(content)
    except ValueError:
        return hashlib.sha256(content).hexdigest()

    if isinstance(values, dict):
        values = {name: value for name, value in values.items() if name not in _WRITER_KEYS}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, computed once while its size and time stay the same.

    Raises:
        InputError: when it cannot be read.
    """
    try:
        about = path.stat()
        return _sha256(path, about.st_size, about.st_mtime_ns)
    except OSError as error:
        raise InputError(f"The file '{path}' cannot be read ({error.strerror or error}): copy it there, or download it again.") from error


@cache
def _sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
