"""Where rows come from: the hub, parquet files, or a miniature drawn here; all through `datasets`."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml
from datasets import Dataset, Image, IterableDataset, load_dataset

from entropy_grounding.benchmarks.config import BenchmarkConfig
from entropy_grounding.benchmarks.miniature import miniature_rows
from entropy_grounding.benchmarks.miniature.scenes import CANVAS
from entropy_grounding.core.errors import InputError, machine_remedy
from entropy_grounding.core.identity import hub_commit

MINIATURE = "miniature:"
_SPLIT = re.compile(r"(train|validation|val|dev|test|testdev)(?=[-._\d]|$)", re.IGNORECASE)
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def open_rows(
    path: str, config: BenchmarkConfig, columns: Iterable[str], *, name: str | None = None
) -> Dataset | IterableDataset:
    """Open a parquet file, a folder of them, or a data set of the hub, and check its columns.

    Args:
        path: which one.
        config: split, revision and streaming.
        columns: those that it must have.
        name: its configuration, None for the only or default one.

    Raises:
        InputError: when it cannot be reached or read, has no row, or lacks a column.
    """
    try:
        rows = _undecoded(_open(path, config, name))
        first = next(iter(rows), None)
    except InputError:
        raise
    except (
        Exception
    ) as error:  # of datasets, pyarrow, the network, file systems: no list of theirs is complete
        raise InputError(_why(path, error)) from error

    if first is None:
        raise InputError(f"The data set '{path}' has no row in split '{config.split}'.")
    if missing := [column for column in columns if column not in first]:
        raise InputError(
            f"The data set '{path}' has no column {', '.join(missing)}: it has {', '.join(first)}."
        )
    return rows


def _undecoded(rows: Dataset | IterableDataset) -> Dataset | IterableDataset:
    """Keep images encoded until an example is made, so that a broken one fails alone."""
    if "image" in (rows.features or {}) and isinstance(rows.features["image"], Image):
        return rows.cast_column("image", Image(decode=False))
    return rows


def _open(path: str, config: BenchmarkConfig, name: str | None) -> Dataset | IterableDataset:
    if path.startswith(MINIATURE):
        return miniature_rows(
            path.removeprefix(MINIATURE), name, config.split, config.canvas or CANVAS
        )

    files = local_files(path, config.split, name)
    if files:
        return load_dataset(
            "parquet", data_files=[_literal(file) for file in files], split="train", streaming=True
        )

    commit = hub_commit(path, config.revision, kind="dataset")
    return load_dataset(path, name, split=config.split, revision=commit, streaming=config.streaming)


def _literal(file: Path) -> str:
    """Return a path for `datasets`, which takes brackets and stars for patterns."""
    return re.sub(r"([\[\]*?])", r"[\1]", str(file))


def local_files(path: str, split: str, name: str | None) -> list[Path]:
    """Return the parquet files of a local copy that hold one configuration and split, in the order of their names.

    The README.md of a hub data set names the files of each configuration; without it, a subfolder of that name holds them.

    Args:
        path: a file, a folder, or a hub id, for which there are none.
        split: of the data.
        name: of the configuration, None for the only or default one.

    Raises:
        InputError: for a path that is nowhere, and where several configurations or splits remain.
    """
    local = Path(path).expanduser()
    if local.is_file():
        return [local]
    if not local.is_dir():
        if is_local(path) or not _HUB_ID.fullmatch(path):
            raise InputError(f"No data set at '{path}': check the path.")
        return []

    files = sorted(local.rglob("*.parquet"))
    if not files:
        raise InputError(f"The folder '{path}' holds no parquet file.")
    named = _files_of_card(local, split, name)
    return named if named else _of_split(path, _of_configuration(path, local, files, name), split)


def _files_of_card(folder: Path, split: str, name: str | None) -> list[Path]:
    """Return the files that the card (README.md) names for a configuration and split; none where it says nothing."""
    card = folder / "README.md"
    head = (
        re.match(r"---\n(.*?)\n---", card.read_text(errors="replace"), re.DOTALL)
        if card.is_file()
        else None
    )
    if head is None:
        return []

    try:
        configs = [
            each
            for each in yaml.safe_load(head[1])["configs"]
            if isinstance(each["data_files"], list)
        ]
    except (yaml.YAMLError, KeyError, TypeError):
        return []
    usual = [
        each for each in configs if each.get("default") or each["config_name"] == "default"
    ] or configs[: len(configs) == 1]
    wanted = [each for each in configs if each["config_name"] == name] if name else usual
    patterns = [
        part["path"] for each in wanted for part in each["data_files"] if part["split"] == split
    ]

    found = {
        file
        for pattern in patterns
        for one in ([pattern] if isinstance(pattern, str) else pattern)
        for file in folder.glob(one)
    }
    return sorted(found)


def _of_configuration(path: str, folder: Path, files: list[Path], name: str | None) -> list[Path]:
    """Return the files of one configuration: those below the subfolder of its name, or all where there is one folder only."""
    below = [file for file in files if name and name in file.relative_to(folder).parts[:-1]]
    if below:
        return below

    folders = sorted({str(file.parent.relative_to(folder)) for file in files})
    if len(folders) == 1:
        return files
    asked = (
        f"configuration '{name}' is none of them"
        if name
        else "name one with benchmark.config=NAME, or pass its folder as path"
    )
    raise InputError(
        f"The folder '{path}' holds several configurations, {', '.join(folders)}: {asked}."
    )


def _of_split(path: str, files: list[Path], split: str) -> list[Path]:
    """Return the files that are named after a split, or all where no name says one."""
    named = [file for file in files if re.match(rf"{re.escape(split)}(?=[-._\d]|$)", file.name)]
    if named:
        return named

    others = sorted({found[1] for file in files if (found := _SPLIT.match(file.name))})
    if others:
        raise InputError(
            f"The folder '{path}' has no split '{split}', only {', '.join(others)}: choose one with benchmark.split=NAME."
        )
    return files


def _why(path: str, error: Exception) -> str:
    """Return the sentence for data that cannot be read, with the advice for its cause."""
    first = " ".join(str(error).split())[:300] or type(error).__name__
    if remedy := machine_remedy(error):
        return f"Could not read the data set '{path}' ({first}). {remedy}."
    if Path(path).expanduser().exists():
        return f"Could not read the data set '{path}' ({first}): a file of it is damaged or of another layout; fetch it again."
    return (
        f"Could not read the data set '{path}' ({first}). If the hub is out of reach or asks for a login, fetch it ahead with "
        f"'hf download --repo-type dataset {path} --local-dir data/{Path(path).name}' and pass the folder as path."
    )


class Drawn:
    """Rows that are drawn at random from all rows of a split; their numbers are their places in the draw.

    The same seed draws the same rows of the hub, of a stream and of a local copy; a smaller number draws the first of a larger one.
    """

    def __init__(
        self, rows: Dataset | IterableDataset, total: int, examples: int | None, seed: int
    ) -> None:
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
    """Return the first ``config.examples`` rows, or as many drawn from all of them with ``config.sample_seed``.

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
    """Return how many rows there are: as a table or parquet files say, else by reading all without decoding their images."""
    if isinstance(rows, Dataset):
        return len(rows)
    if config.rows_in is None and not config.path.startswith(MINIATURE):
        files = local_files(config.path, config.split, config.config)
        if files:
            return sum(pq.read_metadata(file).num_rows for file in files)

    return sum(1 for _ in rows)


def data_folder(config: BenchmarkConfig) -> Path | None:
    """Return the folder of a local data set, inside which its pictures lie."""
    local = Path(config.path).expanduser()
    if config.path.startswith(MINIATURE) or not local.exists():
        return None
    return local if local.is_dir() else local.parent


def is_local(path: str) -> bool:
    """Tell whether a path that does not exist was meant to be one, rather than a hub id."""
    return (
        path.startswith((".", "/", "~", MINIATURE))
        or path.endswith(".parquet")
        or Path(path).expanduser().exists()
    )


def of_boxes(config: BenchmarkConfig) -> BenchmarkConfig:
    """Return the configuration under which a table of boxes is opened: of its own, in whatever split it has."""
    path = str(config.boxes)
    files = (
        sorted(Path(path).expanduser().rglob("*.parquet"))
        if Path(path).expanduser().is_dir()
        else []
    )
    split = next((found[1] for file in files if (found := _SPLIT.match(file.name))), "train")

    return replace(config, path=path, config=None, revision=None, split=split, streaming=False)


def listed_pairs(path: str) -> frozenset[tuple[str, str]]:
    """Return the (image name without suffix, question) pairs of a JSON-lines file.

    Raises:
        InputError: when it cannot be read, or a line lacks "image" or "text".
    """
    try:
        lines = [
            json.loads(line)
            for line in Path(path).expanduser().read_text().splitlines()
            if line.strip()
        ]
        return frozenset((PurePath(line["image"]).stem, line["text"].strip()) for line in lines)
    except Exception as error:  # of the file system, of JSON, of values of other types
        raise InputError(
            f"benchmark.rows_in '{path}' is no JSON-lines file with image and text ({error!r})."
        ) from error
