"""Join the part files of a working store into one file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from entropy_grounding.core.errors import InputError
from entropy_grounding.evaluation.coverage import coverage
from entropy_grounding.evaluation.files import MANIFEST, ROWS, locked_file, write_rows
from entropy_grounding.evaluation.provenance import read_manifest
from entropy_grounding.evaluation.store import as_parquet, stored_rows


def merge(folder: str | Path, most_retried: float | None = None) -> tuple[Path, int]:
    """Join the part files of a folder into ``rows.parquet``; return its path and row count.

    Rows are in the order of the data set, one per example, whatever the shards and interruptions
    were. What the shards recorded about the end of the data goes into the manifest, once no row is
    missing.

    Args:
        folder: of one evaluation.
        most_retried: share of the rows with fewer crops or pixels that tables accept from now on;
            None leaves it as it was.

    Raises:
        InputError: for a folder without rows, a broken part file, or rows of several
            configurations.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise _no_rows(folder)

    with locked_file(folder / ".merge.lock", folder, "is merging", patience=60):
        rows = stored_rows(folder)
        if rows.empty:
            raise _no_rows(folder)
        hashes = sorted(set(rows["config_hash"]))
        if len(hashes) > 1:
            raise InputError(
                f"The results folder '{folder}' mixes configurations {', '.join(hashes)}."
            )
        source = _with_end(folder, hashes[0])
        if most_retried is not None:
            source = {**source, "most_retried": most_retried}
        write_rows(folder, as_parquet(rows), source)

    return folder / ROWS, len(rows)


def _no_rows(folder: Path) -> InputError:
    return InputError(f"The results folder '{folder}' holds no rows: run 'eg evaluate' first.")


def _with_end(folder: Path, config_hash: str) -> Mapping[str, Any]:
    """Return the manifest of a folder, with the end of the data if no row is missing."""
    path = folder / MANIFEST
    source: dict[str, Any] = {"config": {}, "config_hash": config_hash}
    if path.is_file():
        source = read_manifest(path)

    asked = source["config"].get("benchmark", {}).get("examples")
    stored = coverage(folder, asked)
    if not stored.complete:
        return source

    whole = stored.total == stored.size
    end = {"examples": None if whole else asked, "rows": stored.total}
    return {**source, "complete": end}
