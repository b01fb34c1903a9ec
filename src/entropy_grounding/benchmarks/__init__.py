"""The seven benchmarks of the paper under one protocol."""

from collections.abc import Iterator
from typing import Any

from datasets import Dataset, IterableDataset
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from entropy_grounding.benchmarks.base import (
    Benchmark,
    BenchmarkConfig,
    LoadedBenchmark,
    Protocol,
    Unusable,
    check_evidence,
    check_protocol,
)
from entropy_grounding.benchmarks.choice import RealWorldQA, VStar
from entropy_grounding.benchmarks.evidence import read_evidence
from entropy_grounding.benchmarks.presence import POPE
from entropy_grounding.benchmarks.short_answer import GQA, DocVQA, TextVQA
from entropy_grounding.benchmarks.sources import is_local, listed_pairs, open_rows, selected
from entropy_grounding.configs import CONF_DIR, build, schema_of
from entropy_grounding.errors import InputError

BENCHMARKS: dict[str, Benchmark] = {
    "textvqa": TextVQA(),
    "vstar": VStar(),
    "docvqa": DocVQA(),
    "infovqa": DocVQA(),
    "pope": POPE(),
    "gqa": GQA(),
    "realworldqa": RealWorldQA(),
}

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "BenchmarkConfig",
    "LoadedBenchmark",
    "Protocol",
    "Unusable",
    "benchmark_config",
    "check_evidence",
    "load_benchmark",
]


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
    check_protocol(benchmark, config)
    columns = [column for column in benchmark.columns if not (config.images and column == "image")]
    opened = open_rows(config.path, config, columns, name=config.config)
    if config.rows_in is not None:
        pairs = listed_pairs(config.rows_in)
        opened = opened.filter(
            lambda row: benchmark.listed(row, pairs), **({} if isinstance(opened, IterableDataset) else {"keep_in_memory": True})
        )
    found = selected(opened, config)
    rows = _WithImages(found, config) if config.images else found
    evidence = read_evidence(config) if config.boxes else None
    return LoadedBenchmark(benchmark, rows, config, evidence)


class _WithImages:
    """Rows with the image of their ``imageId``; images are read as far as they are needed, and kept encoded."""

    def __init__(self, rows: Dataset | IterableDataset, config: BenchmarkConfig) -> None:
        path, name = (config.images, None) if is_local(str(config.images)) else (config.path, config.images)
        self.rows, self.features = rows, rows.features
        self.stored = open_rows(str(path), config, ("id", "image"), name=name)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the rows."""
        unread, read = iter(self.stored), {}
        for row in self.rows:
            wanted = str(row["imageId"])
            while wanted not in read and (found := next(unread, None)) is not None:
                read[str(found["id"])] = found["image"]
            yield {**row, "image": read.get(wanted)}
