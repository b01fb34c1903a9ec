"""What data is, by its content: the same rows have the same identity wherever they lie."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from entropy_grounding.benchmarks.config import BenchmarkConfig
from entropy_grounding.benchmarks.sources import MINIATURE, is_local, local_files
from entropy_grounding.core.identity import file_digest, hub_commit


def data_identities(config: BenchmarkConfig) -> dict[str, str]:
    """Return what identifies the data of a benchmark, for the config hash.

    ``data`` is the name of a miniature, the commit of a hub data set, or the SHA-256 of the local files that
    are read: of one configuration and split, not of what lies beside them. ``images``, ``boxes`` and
    ``rows_in`` are those of the files that are joined, where there are any.

    Raises:
        InputError: for files that cannot be read, and for a hub data set whose commit cannot be found out.
    """
    found = {"data": _of_rows(config.path, config, config.config)}
    if config.images and is_local(config.images):
        found["images"] = _of_rows(config.images, config, None)
    elif config.images and not config.path.startswith(MINIATURE):
        found["images"] = _of_rows(config.path, config, config.images)
    if config.boxes:
        found["boxes"] = _of_boxes(config.boxes)
    if config.rows_in:
        found["rows_in"] = file_digest(Path(config.rows_in).expanduser())

    return found


def _of_rows(path: str, config: BenchmarkConfig, name: str | None) -> str:
    if path.startswith(MINIATURE):
        return path

    files = local_files(path, config.split, name)
    return _joined(files) if files else hub_commit(path, config.revision, kind="dataset")


def _of_boxes(boxes: str) -> str:
    """Return the identity of a file, of everything that is read in a folder, or of a hub data set."""
    path = Path(boxes).expanduser()
    if path.is_dir():
        return _joined(
            sorted(
                file
                for pattern in ("*.parquet", "*.json", "*.jsonl")
                for file in path.rglob(pattern)
            )
        )

    return (
        file_digest(path)
        if path.is_file() or is_local(boxes)
        else hub_commit(boxes, None, kind="dataset")
    )


def _joined(files: Iterable[Path]) -> str:
    """Return the SHA-256 of the digests of files, in their order."""
    return hashlib.sha256("".join(file_digest(file) for file in files).encode()).hexdigest()
