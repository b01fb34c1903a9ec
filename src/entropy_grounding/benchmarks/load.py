"""Open a benchmark by its name or its configuration."""

import warnings
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

from datasets import Dataset, IterableDataset

from entropy_grounding.benchmarks.base import Benchmark, LoadedBenchmark, check_protocol
from entropy_grounding.benchmarks.config import BenchmarkConfig
from entropy_grounding.benchmarks.data_files import MINIATURE, is_local
from entropy_grounding.benchmarks.docvqa import DocVQA
from entropy_grounding.benchmarks.evidence import read_evidence
from entropy_grounding.benchmarks.gqa import GQA
from entropy_grounding.benchmarks.hr_bench import HRBench
from entropy_grounding.benchmarks.mme_realworld import MMERealWorldLite
from entropy_grounding.benchmarks.names import TITLES
from entropy_grounding.benchmarks.pope import POPE
from entropy_grounding.benchmarks.realworldqa import RealWorldQA
from entropy_grounding.benchmarks.sources import (
    Drawn,
    data_folder,
    listed_pairs,
    open_rows,
    selected,
)
from entropy_grounding.benchmarks.textvqa import TextVQA
from entropy_grounding.benchmarks.vstar import VStar
from entropy_grounding.core.checks import check_choice
from entropy_grounding.core.config import section_config

# All that can be evaluated, by their kinds.
BENCHMARKS: dict[str, Benchmark] = {
    "textvqa": TextVQA(),
    "vstar": VStar(),
    "docvqa": DocVQA(),
    "pope": POPE(),
    "infovqa": DocVQA(),
    "gqa": GQA(),
    "realworldqa": RealWorldQA(),
    "hr_bench_4k": HRBench(),
    "hr_bench_8k": HRBench(),
    "mme_realworld_lite": MMERealWorldLite(),
}
# Those of the paper, in the order of its Table 1. Each has a miniature.
PAPER_BENCHMARKS = tuple(TITLES)


def benchmark_config(name: str, **overrides: Any) -> BenchmarkConfig:
    """Return the configuration of ``conf/benchmark/NAME.yaml``, with ``overrides`` of its fields.

    Raises:
        InputError: for an unknown benchmark, field or type.
    """
    return section_config("benchmark", name, BenchmarkConfig, overrides)


def load_benchmark(config: BenchmarkConfig | str) -> LoadedBenchmark:
    """Open a benchmark from its configuration or its name, and check its options and columns.

    The checks run here so that an error comes before any model is loaded.

    Raises:
        InputError: for an unknown benchmark or switch, a data set that cannot be reached or read,
            an empty split, or a missing column.
    """
    if isinstance(config, str):
        config = benchmark_config(config)
    config = with_reachable_boxes(config, warn=True)
    check_choice("benchmark", config.kind, BENCHMARKS)
    benchmark = BENCHMARKS[config.kind]
    check_protocol(benchmark, config)

    # Images that lie apart from the questions are no column of the questions.
    columns = [column for column in benchmark.columns if not (config.images and column == "image")]
    opened = open_rows(config.path, config, columns, name=config.config)
    if config.rows_in is not None:
        pairs = listed_pairs(config.rows_in)
        opened = _listed(opened, benchmark, pairs)

    selection = selected(opened, config)
    rows = _WithImages(selection, config) if config.images else selection
    evidence = read_evidence(config) if config.boxes else None
    return LoadedBenchmark(benchmark, rows, config, evidence, data_folder(config))


def with_reachable_boxes(config: BenchmarkConfig, *, warn: bool = False) -> BenchmarkConfig:
    """Return the configuration, without boxes on the hub if the data are a local copy.

    A run on a local copy must need no network.

    Args:
        config: configuration of a benchmark.
        warn: warn that there will be no localisation scores.
    """
    if not config.boxes or is_local(config.boxes) or data_folder(config) is None:
        return config

    if warn:
        warnings.warn(
            f"No boxes: no localisation. '{config.path}' is a local copy, "
            f"so the boxes of '{config.boxes}' are not fetched; "
            "name a local copy of them with benchmark.boxes=FOLDER.",
            stacklevel=3,
        )
    return replace(config, boxes=None)


def boxes_note(config: BenchmarkConfig) -> str:
    """Return "no boxes: no localisation" for data without evidence boxes, else an empty text."""
    has = config.path.startswith(MINIATURE) or bool(with_reachable_boxes(config).boxes)

    return "" if has else "no boxes: no localisation"


def _listed(
    rows: Dataset | IterableDataset, benchmark: Benchmark, pairs: Collection[tuple[str, str]]
) -> Dataset | IterableDataset:
    """Return the rows that are among the pairs.

    A row that cannot be compared stays. It becomes an `Unusable` later.
    """

    def stays(row: dict[str, Any]) -> bool:
        try:
            return benchmark.listed(row, pairs)
        except Exception:  # a row without the columns that are compared
            return True

    if isinstance(rows, IterableDataset):
        return rows.filter(stays)
    return rows.filter(stays, keep_in_memory=True)  # no cache file beside the data


class _WithImages:
    """Rows with the image of their ``imageId``.

    Images are read only as far as the rows need them, and they stay encoded in memory.
    """

    def __init__(self, rows: Dataset | IterableDataset | Drawn, config: BenchmarkConfig) -> None:
        # On the hub, the images are another configuration of the data set itself.
        if is_local(str(config.images)):
            path, name = config.images, None
        else:
            path, name = config.path, config.images

        self.rows, self.features = rows, rows.features
        self.stored = open_rows(str(path), config, ("id", "image"), name=name)

    def numbered(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (number of the row, row)."""
        unread: Iterator[dict[str, Any]] = iter(self.stored)
        read: dict[str, Any] = {}  # encoded images by id
        pairs = self.rows.numbered() if isinstance(self.rows, Drawn) else enumerate(self.rows)

        for number, row in pairs:
            wanted = str(row["imageId"])
            while wanted not in read and (stored := next(unread, None)) is not None:
                read[str(stored["id"])] = stored["image"]

            # An image that is nowhere is None, which makes the row unusable.
            yield number, {**row, "image": read.get(wanted)}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the rows."""
        for _, row in self.numbered():
            yield row
