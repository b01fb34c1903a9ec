"""How much of an evaluation is stored."""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from entropy_grounding.core.errors import InputError
from entropy_grounding.evaluation.provenance import read_manifest
from entropy_grounding.evaluation.store import KEYS, one_per_example, stored_table


@dataclass(frozen=True)
class Coverage:
    """How much of an evaluation is stored.

    Attributes:
        rows: examples that have a row.
        total: rows of the data set that were asked for, None where nobody has read to its end yet.
        missing: of these, how many have no row; None where the total is not known.
        size: rows that the data set has, None where nobody has read to its end.
    """

    rows: int
    total: int | None
    missing: int | None
    size: int | None = None

    @property
    def complete(self) -> bool:
        """Whether every row of the data set that was asked for is stored."""
        return self.missing == 0


def coverage(folder: Path, examples: int | None) -> Coverage:
    """Return how much of an evaluation a folder holds, by the numbers of its rows, not by their count.

    Args:
        folder: of the rows.
        examples: rows of the data set that are asked for, the first ones; None for all.

    Raises:
        InputError: for broken files.
    """
    rows = one_per_example(stored_table(folder, KEYS).to_pandas())
    records = [_record(path) for path in (folder / "parts").glob("shard_*.complete.json")]
    manifest_path = folder / "manifest.json"
    source = read_manifest(manifest_path) if manifest_path.is_file() else {"config": {}}
    manifest_options = source["config"].get("benchmark", {})
    ends = [*records, *([source["complete"]] if source.get("complete") else [])]

    # A run that was asked for all rows, or for more than there are, knows their number.
    sizes = [
        end["rows"] for end in ends if end["examples"] is None or end["rows"] < end["examples"]
    ]
    size = min(sizes, default=None)
    total = size if examples is None else min([examples, *sizes])
    if manifest_options.get("protocol", {}).get("option_order") == "rotations" and not ends:
        total = None  # a row of the data has several examples, so its number does not say that all of them are there
    numbers = set(rows["number"])
    missing = None if total is None else total - sum(number in numbers for number in range(total))

    return Coverage(len(rows), total, missing, size)


def _record(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
        return {"examples": found["examples"], "rows": int(found["rows"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"The record '{path}' cannot be read ({error!r}): delete it and run its shard again."
        ) from error


def is_complete(folder: Path, examples: int | None) -> bool:
    """Tell whether a folder of joined rows holds every row that is asked for, see `coverage`; computed once while nothing changes."""
    files = (folder / "rows.parquet", folder / "manifest.json")

    return _is_complete(folder, examples, tuple(path.stat().st_mtime_ns for path in files))


@cache
def _is_complete(folder: Path, examples: int | None, changed: tuple[int, ...]) -> bool:
    return coverage(folder, examples).complete


def missing_text(folder: Path) -> str:
    """Return a sentence that says what a folder still lacks, empty where nothing is known to be missing."""
    asked = read_manifest(folder / "manifest.json")["config"].get("benchmark", {}).get("examples")
    found = coverage(folder, asked)
    if found.complete:
        return ""

    count = (
        f"{found.missing} of {found.total} rows are missing"
        if found.total is not None
        else "nobody has read the data to its end"
    )
    absent = _absent_shards(folder)
    named = f" (shard {', '.join(absent)})" if absent else ""
    return f"incomplete: {count}{named}"


def _absent_shards(folder: Path) -> list[str]:
    """Return the shards "i/n" that have not read to their end, of every n that has begun."""
    files = [*(folder / "parts").glob("shard_*")]
    begun = {
        match[0]: (int(match[1]), int(match[2]))
        for path in files
        if (match := re.match(r"shard_(\d+)_of_(\d+)", path.name))
    }
    ended = {path.name.partition(".")[0] for path in files if path.name.endswith(".complete.json")}
    counts = {count for _, count in begun.values()}

    return [
        f"{i}/{n}"
        for n in sorted(counts)
        for i in range(1, n + 1)
        if f"shard_{i:03d}_of_{n:03d}" not in ended
    ]
