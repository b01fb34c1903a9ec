"""A benchmark: where its rows come from (through `datasets`), and how a row becomes an example.

What is particular to a benchmark (columns, prompt, references, evidence) is in its `Benchmark`; sources, selection and checks are shared.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, IterableDataset, load_dataset
from datasets.exceptions import DatasetsError
from PIL import Image

from entropy_grounding.errors import InputError
from entropy_grounding.images import to_rgb
from entropy_grounding.metrics import SCORERS
from entropy_grounding.structures import Box, Example

SHORT = "Answer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."
OPTION_ORDERS = ("as_released", "shuffled", "rotations")


@dataclass(frozen=True)
class Protocol:
    """The switches that move published scores; a benchmark refuses one that it does not know.

    Attributes:
        ocr_tokens: put the OCR tokens of the data set into the prompt (TextVQA as LLaVA reports it).
        option_order: of lettered options: "as_released", "shuffled" by ``option_seed``, or "rotations", each an example of its own.
        option_seed: seed of the shuffle.
        max_new_tokens: length limit of an answer; None takes the benchmark's own.
    """

    ocr_tokens: bool = False
    option_order: str = "as_released"
    option_seed: int = 0
    max_new_tokens: int | None = None


@dataclass(frozen=True)
class BenchmarkConfig:
    """Which rows of which data set, and under which protocol.

    Attributes:
        name: for labels and results.
        kind: which benchmark, a key of `BENCHMARKS`.
        path: hub id, a parquet file, or a folder of parquet files.
        config: configuration on the hub.
        split: split on the hub; in a folder the files whose name starts with it, or all where none does.
        revision: commit, tag or branch on the hub.
        images: configuration (or parquet file, folder) with the images, where they are kept apart (GQA).
        boxes: parquet file or folder with evidence boxes by example id, where they are kept apart (TextVQA, V*).
        streaming: read rows from the hub as they are needed instead of downloading first.
        examples: number of examples; None for all.
        sample_seed: draw them at random with this seed; None takes the first ones.
        protocol: the switches.
    """

    name: str = "textvqa"
    kind: str = "textvqa"
    path: str = "lmms-lab/textvqa"
    config: str | None = None
    split: str = "validation"
    revision: str | None = None
    images: str | None = None
    boxes: str | None = None
    streaming: bool = False
    examples: int | None = None
    sample_seed: int | None = None
    protocol: Protocol = field(default_factory=Protocol)


@dataclass(frozen=True, slots=True)
class Unusable:
    """A row that is no example: its id and the reason, for the row of results that stands for it."""

    id: str
    reason: str


class Benchmark:
    """What differs between benchmarks.

    Attributes:
        columns: the columns that a row must have.
        metric: name of the score of an answer.
        max_new_tokens: length limit of an answer.
        switches: the fields of `Protocol` that it knows, besides ``max_new_tokens``.
    """

    columns: tuple[str, ...]
    metric: str
    max_new_tokens: int = 16
    switches: tuple[str, ...] = ()

    def identify(self, row: Mapping[str, Any], number: int) -> str:
        """Return the id of a row; its number where the data set has none."""
        return str(number)

    def examples(self, row: Mapping[str, Any], identity: str, protocol: Protocol) -> Iterator[Example]:
        """Yield the examples of a row, one unless the protocol asks for several option orders.

        Raises:
            InputError: when the row has no image, question or answer.
        """
        raise NotImplementedError

    def score(self, answer: str, example: Example) -> float:
        """Return the score in [0, 1] of a raw answer under the benchmark's own rule."""
        return SCORERS[self.metric](answer, list(example.references))


class LoadedBenchmark:
    """Examples of a benchmark in the order of its rows; a row that cannot be used comes as `Unusable`."""

    def __init__(
        self, benchmark: Benchmark, rows: Iterable[Mapping[str, Any]], config: BenchmarkConfig, evidence: Mapping[str, tuple[Box, ...]]
    ) -> None:
        self.benchmark, self.rows, self.config, self.evidence = benchmark, rows, config, evidence

    def __iter__(self) -> Iterator[Example | Unusable]:
        """Yield the examples."""
        seen: set[str] = set()
        for number, row in enumerate(self.rows):
            identity = self.benchmark.identify(row, number)
            if identity in seen:
                yield Unusable(f"{identity}#{number}", f"The id '{identity}' occurs twice in '{self.config.path}': only the first is used.")
                continue
            seen.add(identity)
            yield from self._examples(row, identity)

    def _examples(self, row: Mapping[str, Any], identity: str) -> Iterator[Example | Unusable]:
        try:
            for example in self.benchmark.examples(row, identity, self.config.protocol):
                boxes = self.evidence.get(identity, example.boxes)
                yield replace(example, boxes=_on_image(boxes, example.image.size))
        except InputError as error:
            yield Unusable(identity, str(error))

    @property
    def max_new_tokens(self) -> int:
        """Length limit of an answer under this protocol."""
        return self.config.protocol.max_new_tokens or self.benchmark.max_new_tokens


def _on_image(boxes: Iterable[Box], size: tuple[int, int]) -> tuple[Box, ...]:
    whole = Box(0.0, 0.0, float(size[0]), float(size[1]))
    return tuple(common for box in boxes if (common := box.intersection(whole)) is not None)


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
        rows = _open(path, config, name)
        first = next(iter(rows), None)
    except (OSError, ValueError, DatasetsError, StopIteration) as error:
        raise InputError(_why(path, error)) from error
    if first is None:
        raise InputError(f"The data set '{path}' has no row in split '{config.split}'.")
    if missing := [column for column in columns if column not in first]:
        raise InputError(f"The data set '{path}' has no column {', '.join(missing)}: it has {', '.join(first)}.")
    return rows


def _open(path: str, config: BenchmarkConfig, name: str | None) -> Dataset | IterableDataset:
    local = Path(path).expanduser()
    if not local.exists():
        if path.startswith((".", "/", "~")) or path.endswith(".parquet"):
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


def check_protocol(benchmark: Benchmark, protocol: Protocol) -> None:
    """Refuse a switch that this benchmark does not know, and values that are none."""
    if protocol.option_order not in OPTION_ORDERS:
        raise InputError(f"Unknown option_order '{protocol.option_order}': use one of {', '.join(OPTION_ORDERS)}.")
    if protocol.max_new_tokens is not None and protocol.max_new_tokens < 1:
        raise InputError(f"max_new_tokens is {protocol.max_new_tokens}: use at least 1.")
    for switch, moved in (("ocr_tokens", protocol.ocr_tokens), ("option_order", protocol.option_order != "as_released")):
        if moved and switch not in benchmark.switches:
            raise InputError(f"protocol.{switch} has no meaning for {type(benchmark).__name__}: leave it as it is.")


def picture_of(row: Mapping[str, Any], identity: str, column: str = "image") -> Image.Image:
    """Return the image of a row in RGB, or say which example has none."""
    image = row.get(column)
    if not isinstance(image, Image.Image):
        raise InputError(f"Example '{identity}' has no readable image.")
    return to_rgb(image)


def text_of(row: Mapping[str, Any], identity: str, column: str) -> str:
    """Return a text of a row, or say which example has none."""
    text = row.get(column)
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"Example '{identity}' has no {column}.")
    return text.strip()


def texts_of(row: Mapping[str, Any], identity: str, column: str) -> tuple[str, ...]:
    """Return a list of texts of a row, or say which example has none."""
    texts = row.get(column)
    if texts is None or not len(texts):
        raise InputError(f"Example '{identity}' has no {column}.")
    return tuple(str(text) for text in texts)


def box_of(xywh: Iterable[float]) -> Box:
    """Convert ``x, y, width, height`` in pixels, as the data sets have them; the only place that does."""
    x, y, width, height = (float(value) for value in xywh)
    return Box(x, y, x + width, y + height)


def orders(count: int, protocol: Protocol, identity: str) -> list[tuple[int, ...]]:
    """Return the orders in which ``count`` options are shown: one, or all rotations."""
    plain = tuple(range(count))
    if protocol.option_order == "rotations":
        return [plain[shift:] + plain[:shift] for shift in range(count)]
    if protocol.option_order == "shuffled":
        digits = [int(byte) for byte in identity.encode()]
        return [tuple(int(i) for i in np.random.default_rng([protocol.option_seed, *digits]).permutation(count))]
    return [plain]
