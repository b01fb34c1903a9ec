"""Where rows come from: the hub, parquet files, or a miniature drawn here; all through `datasets`."""

import json
from collections.abc import Iterable
from pathlib import Path, PurePath

from datasets import Dataset, Image, IterableDataset, load_dataset
from datasets.exceptions import DatasetsError

from entropy_grounding.benchmarks.base import BenchmarkConfig
from entropy_grounding.benchmarks.miniature import miniature_rows
from entropy_grounding.errors import InputError
from entropy_grounding.tiny.scenes import CANVAS

MINIATURE = "miniature:"


def open_rows(path: str, config: BenchmarkConfig, columns: Iterable[str], *, name: str | None = None) -> Dataset | IterableDataset:
    """Open a parquet file, a folder of them, or a data set of the hub, and check its columns.

    Args:
        path: which one.
        config: split, revision and streaming.
        columns: those that it must have.
        name: configuration on the hub.

    Raises:
        InputError: when it cannot be reached or read, has no row, or lacks a column.
    """
    try:
        rows = _undecoded(_open(path, config, name))
        first = next(iter(rows), None)
    except (OSError, ValueError, DatasetsError, StopIteration) as error:
        raise InputError(_why(path, error)) from error
    if first is None:
        raise InputError(f"The data set '{path}' has no row in split '{config.split}'.")
    if missing := [column for column in columns if column not in first]:
        raise InputError(f"The data set '{path}' has no column {', '.join(missing)}: it has {', '.join(first)}.")
    return rows


def _undecoded(rows: Dataset | IterableDataset) -> Dataset | IterableDataset:
    """Keep images encoded until an example is made, so that a broken one fails alone."""
    if "image" in (rows.features or {}) and isinstance(rows.features["image"], Image):
        return rows.cast_column("image", Image(decode=False))
    return rows


def _open(path: str, config: BenchmarkConfig, name: str | None) -> Dataset | IterableDataset:
    if path.startswith(MINIATURE):
        return miniature_rows(path.removeprefix(MINIATURE), name, config.split, config.canvas or CANVAS)
    local = Path(path).expanduser()
    if not local.exists():
        if is_local(path):
            raise InputError(f"No data set at '{path}': check the path.")
        return load_dataset(path, name, split=config.split, revision=config.revision, streaming=config.streaming)
    files = sorted(local.rglob("*.parquet")) if local.is_dir() else [local]
    files = [file for file in files if file.name.startswith(config.split)] or files
    if not files:
        raise InputError(f"The folder '{path}' holds no parquet file.")
    return load_dataset("parquet", data_files=[str(file) for file in files], split="train", streaming=True)


def _why(path: str, error: Exception) -> str:
    if isinstance(error, InputError):
        return str(error)
    first = " ".join(str(error).split())[:300] or type(error).__name__
    return (
        f"Could not read the data set '{path}' ({first}). If the hub is out of reach or asks for a login, fetch it ahead with "
        f"'hf download --repo-type dataset {path} --local-dir data/{Path(path).name}' and pass the folder as path."
    )


def selected(rows: Dataset | IterableDataset, config: BenchmarkConfig) -> Dataset | IterableDataset:
    """Return the first ``config.examples`` rows, or a sample of them drawn with ``config.sample_seed``."""
    if config.examples is not None and config.examples < 1:
        raise InputError(f"examples is {config.examples}: use at least 1, or null for all.")
    if config.sample_seed is not None:
        rows = rows.shuffle(seed=config.sample_seed)
    if config.examples is None:
        return rows
    return rows.take(config.examples)


def is_local(path: str) -> bool:
    """Tell whether a path that does not exist was meant to be one, rather than a hub id."""
    return path.startswith((".", "/", "~", MINIATURE)) or path.endswith(".parquet") or Path(path).expanduser().exists()


def listed_pairs(path: str) -> frozenset[tuple[str, str]]:
    """Return the (image name without suffix, question) pairs of a JSON-lines file.

    Raises:
        InputError: when it cannot be read, or a line lacks "image" or "text".
    """
    try:
        lines = [json.loads(line) for line in Path(path).expanduser().read_text().splitlines() if line.strip()]
        return frozenset((PurePath(line["image"]).stem, line["text"].strip()) for line in lines)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"benchmark.rows_in '{path}' is no JSON-lines file with image and text ({error!r}).") from error
