"""Where rows come from: the hub, parquet files, or a miniature.

All of them are read through `datasets`.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from datasets import Dataset, Image, IterableDataset, load_dataset

from entropy_grounding.benchmarks.config import BenchmarkConfig
from entropy_grounding.benchmarks.data_files import (
    MINIATURE,
    SPLIT,
    rows_files,
)
from entropy_grounding.benchmarks.miniature import miniature_rows
from entropy_grounding.benchmarks.miniature.scenes import CANVAS
from entropy_grounding.core.errors import InputError, machine_remedy
from entropy_grounding.core.identity import hub_commit


def open_rows(
    path: str, config: BenchmarkConfig, columns: Iterable[str], *, name: str | None = None
) -> Dataset | IterableDataset:
    """Open a parquet file, a folder of them, or a data set of the hub, and check its columns.

    Args:
        path: the file, the folder or the hub id, or ``miniature:KIND``.
        config: gives split, revision and streaming.
        columns: the columns that the data must have.
        name: configuration of the data set, or None for the only or default one.

    Returns:
        The rows, with images still encoded.

    Raises:
        InputError: when the data cannot be reached or read, have no row, or lack a column.
    """
    try:
        rows = _undecoded(_open(path, config, name))
        first = next(iter(rows), None)
    except InputError:
        raise
    except Exception as error:  # from datasets, pyarrow, network, disk: too many kinds to list
        raise InputError(_why(path, error)) from error

    if first is None:
        raise InputError(f"The data set '{path}' has no row in split '{config.split}'.")
    if missing := [column for column in columns if column not in first]:
        raise InputError(
            f"The data set '{path}' has no column {', '.join(missing)}: it has {', '.join(first)}."
        )
    return rows


def _undecoded(rows: Dataset | IterableDataset) -> Dataset | IterableDataset:
    """Return the rows with encoded images.

    An image is decoded when its example is made, so that a broken image stops only this example.
    """
    if "image" in (rows.features or {}) and isinstance(rows.features["image"], Image):
        return rows.cast_column("image", Image(decode=False))
    return rows


def _open(path: str, config: BenchmarkConfig, name: str | None) -> Dataset | IterableDataset:
    """Open a miniature, local parquet files, or a data set of the hub."""
    if path.startswith(MINIATURE):
        return miniature_rows(
            path.removeprefix(MINIATURE), name, config.split, config.canvas or CANVAS
        )

    files = rows_files(path, config, name)
    if files:
        # `datasets` calls files without a named split "train".
        literal = [_literal(file) for file in files]
        return load_dataset("parquet", data_files=literal, split="train", streaming=True)

    # A stream, or data on the hub in another format than parquet.
    commit = hub_commit(path, config.revision, kind="dataset")
    return load_dataset(path, name, split=config.split, revision=commit, streaming=config.streaming)


def _literal(file: Path) -> str:
    """Return a path with brackets and stars escaped, since `datasets` reads them as patterns."""
    return re.sub(r"([\[\]*?])", r"[\1]", str(file))


def _why(path: str, error: Exception) -> str:
    """Return the message for data that cannot be read, with advice for this cause."""
    first = " ".join(str(error).split())[:300] or type(error).__name__
    if remedy := machine_remedy(error):
        return f"Could not read the data set '{path}' ({first}). {remedy}."

    if Path(path).expanduser().exists():
        return (
            f"Could not read the data set '{path}' ({first}): a file of it is damaged or of "
            "another layout; fetch it again."
        )

    return (
        f"Could not read the data set '{path}' ({first}). If the hub is out of reach or asks for "
        f"a login, fetch it ahead with 'hf download --repo-type dataset {path} "
        f"--local-dir data/{Path(path).name}' and pass the folder as path."
    )


class Drawn:
    """Rows drawn at random from all rows of a split. The number of a row is its place in the draw.

    The same seed draws the same rows from the hub, from a stream and from a local copy. A draw of
    fewer rows is the beginning of a draw of more rows.
    """

    def __init__(
        self, rows: Dataset | IterableDataset, total: int, examples: int | None, seed: int
    ) -> None:
        # The whole split is permuted, so that ``examples`` does not change the order.
        drawn = np.random.default_rng(seed).permutation(total)[:examples]

        self.rows, self.features = rows, rows.features
        self.place = {int(index): place for place, index in enumerate(drawn)}

    def numbered(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (place in the draw, row), in the order of the data."""
        for index, row in enumerate(self.rows):
            if index in self.place:
                yield self.place[index], row

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the rows."""
        for _, row in self.numbered():
            yield row


def selected(
    rows: Dataset | IterableDataset, config: BenchmarkConfig
) -> Dataset | IterableDataset | Drawn:
    """Return the first ``config.examples`` rows, or draw as many with ``config.sample_seed``.

    Raises:
        InputError: for less than one example.
    """
    if config.examples is not None and config.examples < 1:
        raise InputError(f"examples is {config.examples}: use at least 1, or null for all.")

    if config.sample_seed is not None:
        return Drawn(rows, row_count(rows, config), config.examples, config.sample_seed)
    if config.examples is None:
        return rows

    return rows.take(config.examples)


def row_count(rows: Dataset | IterableDataset, config: BenchmarkConfig) -> int:
    """Return the number of rows.

    A table and parquet files know their number. Other rows are all read, with images still encoded.
    """
    if isinstance(rows, Dataset):
        return len(rows)

    # ``rows_in`` removes rows, so the files have too many then.
    if config.rows_in is None and not config.path.startswith(MINIATURE):
        files = rows_files(config.path, config, config.config)
        if files:
            return sum(pq.read_metadata(file).num_rows for file in files)

    return sum(1 for _ in rows)


def data_folder(config: BenchmarkConfig) -> Path | None:
    """Return the folder of a local data set and its pictures, or None for other data."""
    local = Path(config.path).expanduser()
    if config.path.startswith(MINIATURE) or not local.exists():
        return None
    return local if local.is_dir() else local.parent


def of_boxes(config: BenchmarkConfig) -> BenchmarkConfig:
    """Return the configuration that opens the table of boxes.

    The table has its own data set. Its split is the first that a file name says, or "train".
    """
    path = str(config.boxes)
    folder = Path(path).expanduser()
    files = sorted(folder.rglob("*.parquet")) if folder.is_dir() else []
    split = next((match[1] for file in files if (match := SPLIT.match(file.name))), "train")

    return replace(config, path=path, config=None, revision=None, split=split, streaming=False)


def listed_pairs(path: str) -> frozenset[tuple[str, str]]:
    """Return the (image name without suffix, question) pairs of a JSON-lines file.

    Raises:
        InputError: when the file cannot be read, or a line lacks "image" or "text".
    """
    pairs = set()
    try:
        for line in Path(path).expanduser().read_text().splitlines():
            if line.strip():
                entry = json.loads(line)
                pairs.add((PurePath(entry["image"]).stem, entry["text"].strip()))
        return frozenset(pairs)
    except Exception as error:  # of the file system, of JSON, of values of other types
        raise InputError(
            f"benchmark.rows_in '{path}' is no JSON-lines file with image and text ({error!r})."
        ) from error
