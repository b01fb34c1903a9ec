"""What data are, by their content: the same rows have the same identity wherever they lie."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from entropy_grounding.benchmarks.config import BenchmarkConfig
from entropy_grounding.benchmarks.data_files import MINIATURE, is_local, local_files
from entropy_grounding.benchmarks.sources import of_boxes
from entropy_grounding.core.identity import file_digest, hub_commit


def data_identities(config: BenchmarkConfig) -> dict[str, str]:
    """Return what identifies the data of a benchmark, for the config hash.

    ``data`` is the name of a miniature, the commit of a hub data set, or the SHA-256 of the local
    files that are read. Only the files of the configuration and split count, not other files beside
    them. ``images``, ``boxes`` and ``rows_in`` identify the files that are joined to the rows; they
    are absent where there is no such file.

    Raises:
        InputError: for files that cannot be read, and for a hub data set of unknown commit.
    """
    identities = {"data": _of_rows(config.path, config, config.config)}

    # Images are in a file of their own, or in another configuration of the same data set.
    if config.images and is_local(config.images):
        identities["images"] = _of_rows(config.images, config, None)
    elif config.images and not config.path.startswith(MINIATURE):
        identities["images"] = _of_rows(config.path, config, config.images)

    if config.boxes:
        identities["boxes"] = _of_boxes(config.boxes, config)
    if config.rows_in:
        identities["rows_in"] = file_digest(Path(config.rows_in).expanduser())

    return identities


def _of_rows(path: str, config: BenchmarkConfig, name: str | None) -> str:
    """Return the identity of the rows of one configuration."""
    if path.startswith(MINIATURE):
        return path

    files = local_files(path, config.split, name)
    return _joined(files) if files else hub_commit(path, config.revision, kind="dataset")


def _of_boxes(boxes: str, config: BenchmarkConfig) -> str:
    """Return the identity of a file, of the files in a folder that are read, or of a hub data set.

    Args:
        boxes: file, folder or hub id.
        config: the configuration that names it.
    """
    path = Path(boxes).expanduser()
    if path.is_dir():
        # The folder of V* has JSON files beside its pictures, other folders hold a table.
        if (path / "test_questions.jsonl").is_file():
            return _joined(sorted([*path.rglob("*.json"), *path.rglob("*.jsonl")]))

        table = of_boxes(config)
        return _joined(local_files(boxes, table.split, table.config))

    if path.is_file() or is_local(boxes):
        return file_digest(path)
    return hub_commit(boxes, None, kind="dataset")


def _joined(files: Iterable[Path]) -> str:
    """Return the SHA-256 of the digests of files, in their order."""
    digests = "".join(file_digest(file) for file in files)
    return hashlib.sha256(digests.encode()).hexdigest()
