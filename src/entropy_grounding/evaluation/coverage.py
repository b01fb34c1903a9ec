"""How much of an evaluation is stored."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from entropy_grounding.core.errors import InputError
from entropy_grounding.evaluation.files import KEYS, MANIFEST
from entropy_grounding.evaluation.provenance import read_manifest
from entropy_grounding.evaluation.store import one_per_example, stored_table


@dataclass(frozen=True)
class Coverage:
    """How much of an evaluation is stored.

    Attributes:
        rows: number of examples that have a row.
        total: number of rows of the data set that were asked for; None if nobody has read to its
            end.
        missing: how many of these have no row; None if the total is not known.
        size: number of rows of the data set; None if nobody has read to its end.
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
    """Return how much of an evaluation a working store holds.

    Args:
        folder: of one evaluation.
        examples: how many rows of the data set are asked for, the first ones; None for all.

    Raises:
        InputError: for broken files.
    """
    rows = one_per_example(stored_table(folder, KEYS).to_pandas())
    records = [_record(path) for path in (folder / "parts").glob("shard_*.complete.json")]
    manifest = folder / MANIFEST
    source = read_manifest(manifest) if manifest.is_file() else {"config": {}}

    return coverage_of(rows, source, examples, records)


def coverage_of(
    rows: pd.DataFrame,
    source: Mapping[str, Any],
    examples: int | None,
    records: Iterable[Mapping[str, Any]] = (),
) -> Coverage:
    """Return how much of an evaluation some rows are, by their numbers, not by their count.

    Args:
        rows: with a column ``number``, one per example.
        source: the manifest.
        examples: how many rows of the data set are asked for, the first ones; None for all.
        records: what shards recorded about the end of the data.
    """
    ends = [*records, *([source["complete"]] if source.get("complete") else [])]

    # A run that was asked for all rows, or for more than there are, knows their number.
    sizes = []
    for end in ends:
        if end["examples"] is None or end["rows"] < end["examples"]:
            sizes.append(end["rows"])
    size = min(sizes, default=None)
    total = size if examples is None else min([examples, *sizes])

    # With rotations a row of the data has several examples: its number does not say that all of
    # them are there.
    protocol = source["config"].get("benchmark", {}).get("protocol", {})
    if protocol.get("option_order") == "rotations" and not ends:
        total = None

    missing = None
    if total is not None:
        numbers = set(rows["number"])
        missing = total - sum(number in numbers for number in range(total))
    return Coverage(len(rows), total, missing, size)


def _record(path: Path) -> dict[str, Any]:
    """Return what a shard recorded about the end of its data."""
    try:
        content = json.loads(path.read_text())
        return {"examples": content["examples"], "rows": int(content["rows"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"The record '{path}' cannot be read ({error!r}): delete it and run its shard again."
        ) from error


def missing_text(folder: Path) -> str:
    """Return a sentence about what a working store still lacks, empty if nothing is missing."""
    asked = read_manifest(folder / MANIFEST)["config"].get("benchmark", {}).get("examples")
    stored = coverage(folder, asked)
    if stored.complete:
        return ""

    count = "nobody has read the data to its end"
    if stored.total is not None:
        count = f"{stored.missing} of {stored.total} rows are missing"
    absent = _absent_shards(folder)
    named = f" (shard {', '.join(absent)})" if absent else ""
    return f"incomplete: {count}{named}"


def _absent_shards(folder: Path) -> list[str]:
    """Return the shards "i/n" that have not read to their end, of every n that has begun."""
    counts, ended = set(), set()
    for path in (folder / "parts").glob("shard_*"):
        match = re.match(r"shard_\d+_of_(\d+)", path.name)
        if match:
            counts.add(int(match[1]))
        if path.name.endswith(".complete.json"):
            ended.add(path.name.partition(".")[0])

    absent = []
    for n in sorted(counts):
        for i in range(1, n + 1):
            if f"shard_{i:03d}_of_{n:03d}" not in ended:
                absent.append(f"{i}/{n}")
    return absent
