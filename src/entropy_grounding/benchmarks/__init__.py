"""The seven benchmarks of the paper under one protocol."""

from collections.abc import Iterator
from typing import Any

from datasets import Dataset, IterableDataset
from datasets import Image as ImageFeature
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from entropy_grounding.benchmarks.base import (
    Benchmark,
    BenchmarkConfig,
    LoadedBenchmark,
    Protocol,
    Unusable,
    box_of,
    check_protocol,
    open_rows,
    selected,
)
from entropy_grounding.benchmarks.choice import RealWorldQA, VStar
from entropy_grounding.benchmarks.presence import POPE
from entropy_grounding.benchmarks.short_answer import GQA, DocVQA, TextVQA
from entropy_grounding.configs import CONF_DIR, build, schema_of
from entropy_grounding.errors import InputError
from entropy_grounding.structures import Box

BENCHMARKS: dict[str, Benchmark] = {
    "textvqa": TextVQA(),
    "vstar": VStar(),
    "docvqa": DocVQA(),
    "infovqa": DocVQA(),
    "pope": POPE(),
    "gqa": GQA(),
    "realworldqa": RealWorldQA(),
}

__all__ = ["BENCHMARKS", "Benchmark", "BenchmarkConfig", "LoadedBenchmark", "Protocol", "Unusable", "benchmark_config", "load_benchmark"]


def benchmark_config(name: str, **overrides: Any) -> BenchmarkConfig:
    """Return the configuration of ``conf/benchmark/NAME.yaml``, with ``overrides`` of its fields.

    Raises:
        InputError: for an unknown benchmark, field or type.
    """
    known = {path.stem: path for path in sorted((CONF_DIR / "benchmark").glob("*.yaml"))}
    if name not in known:
        raise InputError(f"Unknown benchmark '{name}': use one of {', '.join(known)}.")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema_of(BenchmarkConfig)), OmegaConf.load(known[name]), overrides)
    except OmegaConfBaseException as error:
        raise InputError(f"Benchmark '{name}': {' '.join(str(error).split())}.") from error
    return build(BenchmarkConfig, merged)


def load_benchmark(config: BenchmarkConfig | str) -> LoadedBenchmark:
    """Open a benchmark, from a configuration or by its name, and check that it has what it needs, before any model is loaded.

    Raises:
        InputError: for an unknown benchmark or switch, a data set that cannot be reached or read, an empty split, a missing column.
    """
    config = benchmark_config(config) if isinstance(config, str) else config
    if config.kind not in BENCHMARKS:
        raise InputError(f"Unknown benchmark '{config.kind}': use one of {', '.join(BENCHMARKS)}.")
    benchmark = BENCHMARKS[config.kind]
    check_protocol(benchmark, config.protocol)
    columns = [column for column in benchmark.columns if not (config.images and column == "image")]
    found = selected(open_rows(config.path, config, columns, name=config.config), config)
    rows = _WithImages(found, config) if config.images else found
    evidence = _evidence(config) if config.boxes else {}
    return LoadedBenchmark(benchmark, rows, config, evidence)


class _WithImages:
    """Rows with the image of their ``imageId``; images are kept encoded until a row is used."""

    def __init__(self, rows: Dataset | IterableDataset, config: BenchmarkConfig) -> None:
        path, name = (config.images, None) if _is_local(str(config.images)) else (config.path, config.images)
        stored = open_rows(str(path), config, ("id", "image"), name=name).cast_column("image", ImageFeature(decode=False))
        self.encoded = {str(row["id"]): row["image"] for row in stored}
        self.rows = rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the rows."""
        decoder = ImageFeature()
        for row in self.rows:
            image = self.encoded.get(str(row["imageId"]))
            yield {**row, "image": decoder.decode_example(image) if image else None}


def _is_local(path: str) -> bool:
    return path.startswith((".", "/", "~")) or path.endswith(".parquet")


def _evidence(config: BenchmarkConfig) -> dict[str, tuple[Box, ...]]:
    """Return evidence boxes by example id; the columns are those of TextVQA-GT-bbox (``dataset_id``, ``bbox`` as x, y, width, height)."""
    found: dict[str, list[Box]] = {}
    for row in open_rows(str(config.boxes), config, ("dataset_id", "bbox")):
        found.setdefault(str(row["dataset_id"]), []).append(box_of(row["bbox"]))
    return {identity: tuple(boxes) for identity, boxes in found.items()}
