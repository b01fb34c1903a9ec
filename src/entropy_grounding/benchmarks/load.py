"""Open a benchmark by its name or its configuration."""

import warnings
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

from datasets import Dataset, IterableDataset

from entropy_grounding.benchmarks.base import Benchmark, LoadedBenchmark, check_protocol
from entropy_grounding.benchmarks.config import BenchmarkConfig
from entropy_grounding.benchmarks.docvqa import DocVQA
from entropy_grounding.benchmarks.evidence import read_evidence
from entropy_grounding.benchmarks.gqa import GQA
from entropy_grounding.benchmarks.pope import POPE
from entropy_grounding.benchmarks.realworldqa import RealWorldQA
from entropy_grounding.benchmarks.sources import (
    MINIATURE,
    Drawn,
    data_folder,
    is_local,
    listed_pairs,
    open_rows,
    selected,
)
from entropy_grounding.benchmarks.textvqa import TextVQA
from entropy_grounding.benchmarks.vstar import VStar
from entropy_grounding.core.config import section_config
from entropy_grounding.core.errors import InputError

BENCHMARKS: dict[str, Benchmark] = {
    "textvqa": TextVQA(),
    "vstar": VStar(),
    "docvqa": DocVQA(),
    "infovqa": DocVQA(),
    "pope": POPE(),
    "gqa": GQA(),
    "realworldqa": RealWorldQA(),
}


def benchmark_config(name: str, **overrides: Any) -> BenchmarkConfig:
    """Return the configuration of ``conf/benchmark/NAME.yaml``, with ``overrides`` of its fields.

    Raises:
        InputError: for an unknown benchmark, field or type.
    """
    return section_config("benchmark", name, BenchmarkConfig, overrides)


def load_benchmark(config: BenchmarkConfig | str) -> LoadedBenchmark:
    """Open a benchmark, from a configuration or by its name, and check that it has what it needs, before any model is loaded.

    Raises:
        InputError: for an unknown benchmark or switch, a data set that cannot be reached or read, an empty split, a missing column.
    """
    config = with_reachable_boxes(
        benchmark_config(config) if isinstance(config, str) else config, warn=True
    )
    if config.kind not in BENCHMARKS:
        raise InputError(f"Unknown benchmark '{config.kind}': use one of {', '.join(BENCHMARKS)}.")
    benchmark = BENCHMARKS[config.kind]
    check_protocol(benchmark, config)
    columns = [column for column in benchmark.columns if not (config.images and column == "image")]
    opened = open_rows(config.path, config, columns, name=config.config)
    if config.rows_in is not None:
        pairs = listed_pairs(config.rows_in)
        opened = _listed(opened, benchmark, pairs)
    found = selected(opened, config)
    rows = _WithImages(found, config) if config.images else found
    evidence = read_evidence(config) if config.boxes else None
    return LoadedBenchmark(benchmark, rows, config, evidence, data_folder(config))


def with_reachable_boxes(config: BenchmarkConfig, *, warn: bool = False) -> BenchmarkConfig:
    """Return a configuration without boxes of the hub where the data are a local copy: such data need no network.

    Args:
        config: of a benchmark.
        warn: say so, for whoever looks for localisation.
    """
    if not config.boxes or is_local(config.boxes) or data_folder(config) is None:
        return config

    if warn:
        warnings.warn(
            f"No boxes: no localisation. '{config.path}' is a local copy, so the boxes of '{config.boxes}' are not fetched; name a local "
            "copy of them with benchmark.boxes=FOLDER.",
            stacklevel=3,
        )
    return replace(config, boxes=None)


def boxes_note(config: BenchmarkConfig) -> str:
    """Return "no boxes: no localisation" for data that have no evidence boxes, else an empty text."""
    has = config.path.startswith(MINIATURE) or bool(with_reachable_boxes(config).boxes)

    return "" if has else "no boxes: no localisation"


def _listed(
    rows: Dataset | IterableDataset, benchmark: Benchmark, pairs: Collection[tuple[str, str]]
) -> Dataset | IterableDataset:
    """Keep the rows that are among the pairs; one that cannot be compared stays, and is unusable later."""

    def stays(row: dict[str, Any]) -> bool:
        try:
            return benchmark.listed(row, pairs)
        except Exception:  # a row without the columns that are compared
            return True

    return rows.filter(
        stays, **({} if isinstance(rows, IterableDataset) else {"keep_in_memory": True})
    )


class _WithImages:
    """Rows with the image of their ``imageId``; images are read as far as they are needed, and kept encoded."""

    def __init__(self, rows: Dataset | IterableDataset | Drawn, config: BenchmarkConfig) -> None:
        path, name = (
            (config.images, None) if is_local(str(config.images)) else (config.path, config.images)
        )
        self.rows, self.features = rows, rows.features
        self.stored = open_rows(str(path), config, ("id", "image"), name=name)

    def numbered(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (number of the row, row)."""
        unread: Iterator[dict[str, Any]] = iter(self.stored)
        read: dict[str, Any] = {}
        for number, row in (
            self.rows.numbered() if isinstance(self.rows, Drawn) else enumerate(self.rows)
        ):
            wanted = str(row["imageId"])
            while wanted not in read and (found := next(unread, None)) is not None:
                read[str(found["id"])] = found["image"]
            yield number, {**row, "image": read.get(wanted)}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the rows."""
        for _, row in self.numbered():
            yield row
