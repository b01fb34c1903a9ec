"""What weights are, by their content: the same files have the same identity wherever they lie."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

TINY = Path(__file__).resolve().parents[1] / "tiny" / "weights"


def weights_folder(weights: str) -> Path | None:
    """Return the local folder that ``weights`` names, None for a hub id."""
    tiny = weights.startswith("tiny:")
    folder = TINY / weights.removeprefix("tiny:") if tiny else Path(weights).expanduser()

    return folder if folder.is_dir() else None


def weights_identities(weights: str, revision: str | None = None) -> dict[str, str]:
    """Return what identifies a checkpoint, for the config hash: its weights, and its small files where they count.

    Args:
        weights: a hub id, a local folder, or ``tiny:FAMILY``.
        revision: commit, tag or branch on the hub.
    """
    folder = weights_folder(weights)
    path = folder / "model.safetensors" if folder else None
    if path is None or not path.is_file():
        return {"weights": weights}

    return {"weights": _sha256(path, path.stat().st_size, path.stat().st_mtime_ns)}


def short_identity(manifest: Mapping[str, Any]) -> str:
    """Return the first twelve characters of the weights' identity in a manifest, for tables and tags."""
    return str(manifest["weights_sha256"])[:12]


@cache
def _sha256(path: Path, size: int, changed: int) -> str:
    """Return the SHA-256 of a file, computed once while its size and time (nanoseconds) stay the same."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
