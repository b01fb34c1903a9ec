"""What data is, by its content: the same rows have the same identity wherever they lie."""

import hashlib
from pathlib import Path

from entropy_grounding.benchmarks.base import BenchmarkConfig


def data_identities(config: BenchmarkConfig) -> dict[str, str]:
    """Return what identifies a data set, for the config hash: its rows, and the files that are joined to them where there are any."""
    return {"data": _identity(config.path)}


def _identity(path: str) -> str:
    """Return what stands for a path: a hub id or miniature by its name, local files by their names and contents' SHA-256."""
    local = Path(path).expanduser()
    if not local.exists():
        return path

    digest = hashlib.sha256()
    for file in sorted(local.rglob("*.parquet")) if local.is_dir() else [local]:
        digest.update(file.name.encode())
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())

    return digest.hexdigest()
