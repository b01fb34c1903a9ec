"""How many examples an evaluation has, and how many seconds each will take."""

import math
from dataclasses import dataclass
from functools import cache

import torch

from entropy_grounding.benchmarks.config import BenchmarkConfig
from entropy_grounding.evaluation.archive import (
    PUBLISHED,
    RESULTS,
    is_stored,
    load_rows,
    read_summary,
)
from entropy_grounding.evaluation.config import EvaluateConfig
from entropy_grounding.vlm.registry import BIG_SIBLINGS

# Rows of the published splits (docs/protocol.md), for data that were not read yet.
PUBLISHED_ROWS = {
    "textvqa": 5000,
    "vstar": 191,
    "docvqa": 5349,
    "pope": 9000,
    "infovqa": 2801,
    "gqa": 12578,
    "realworldqa": 765,
    "hr_bench_4k": 800,
    "hr_bench_8k": 800,
    "mme_realworld_lite": 1919,
}

# Figures of `eg profile passes` on a GPU, in results/measured.
GPU_PASSES = "gpu_passes.json"
PLAIN = "plain answer, s"
WHOLE = "grounding and plain answer / plain answer"  # three rounds and the plain answer
PEAK = "peak of a grounding, checkpointing, GB"
PASSES_OF_WHOLE = 10  # four forward passes, and three backward passes that cost two each

_OURS = "entropy_gradient"


@dataclass(frozen=True)
class Estimate:
    """An estimated time.

    Attributes:
        seconds: per example; NaN where nothing was measured.
        source: where the number comes from.
    """

    seconds: float
    source: str


def example_count(config: BenchmarkConfig) -> int | None:
    """Return how many examples an evaluation will have; None where nobody knows."""
    published = PUBLISHED_ROWS.get(config.name)
    if published is None:
        return config.examples
    return min(published, config.examples or published)


def seconds_each(config: EvaluateConfig) -> Estimate:
    """Estimate the seconds of an example, from rows or from passes that were measured on a GPU.

    Published rows of the same VLM, benchmark and method come first. For a released checkpoint its
    plain answer and its passes were measured on a GPU, and rows of its tiny sibling say how many
    passes the method takes.
    """
    vlm, benchmark = config.vlm.name, config.benchmark.name
    for method in (config.method_name, _OURS):
        measured = _stored_mean(vlm, benchmark, method, "seconds")
        if not math.isnan(measured):
            return Estimate(measured, f"published rows of {vlm} {benchmark} {method}")

    return _on_gpu(config, torch.cuda.get_device_name() if torch.cuda.is_available() else "")


def _on_gpu(config: EvaluateConfig, card: str) -> Estimate:
    """Estimate the seconds of an example on a card, or else on a card that was measured."""
    figures = _figures(config.vlm.name)
    if not figures:
        return Estimate(math.nan, f"'{config.vlm.name}' was not measured")

    measured = card if card in figures else next(iter(figures))
    plain = figures[measured][PLAIN]
    each = plain * (figures[measured][WHOLE] - 1) / (PASSES_OF_WHOLE - 1)
    return Estimate(plain + each * (_passes(config) - 1), f"passes measured on {measured}")


def measured_gigabytes(vlm: str) -> float:
    """Return the peak memory of a checkpointed grounding, in gigabytes; NaN if not measured."""
    cards = _figures(vlm).values()
    return max((figures[PEAK] for figures in cards), default=math.nan)


def _passes(config: EvaluateConfig) -> float:
    """Return the mean passes of a method, from rows of the tiny sibling of a checkpoint."""
    if config.method.stopping.max_rounds == 0:
        return 1.0

    siblings = {big: tiny for tiny, big in BIG_SIBLINGS.items()}
    tiny = siblings.get(config.vlm.name, "tiny_llava")
    for method in (config.method_name, _OURS):
        forwards = _stored_mean(tiny, f"mini_{config.benchmark.kind}", method, "forwards")
        backwards = _stored_mean(tiny, f"mini_{config.benchmark.kind}", method, "backwards")
        if not math.isnan(forwards):
            return forwards + 2 * backwards
    return float(PASSES_OF_WHOLE)


@cache
def _stored_mean(vlm: str, benchmark: str, method: str, column: str) -> float:
    """Return the mean of a column of published rows, or NaN where there are none."""
    evaluation = PUBLISHED / "table1" / vlm / benchmark / method
    if not is_stored(evaluation):
        return math.nan
    return float(load_rows(evaluation)[0][column].mean())


def _figures(vlm: str) -> dict[str, dict[str, float]]:
    """Return the figures of a VLM that estimates need, by card."""
    rows = read_summary(RESULTS / "measured" / GPU_PASSES)
    if rows.empty:
        return {}

    rows = rows[(rows["vlm"] == vlm) & rows["figure"].isin([PLAIN, WHOLE, PEAK])].dropna(
        subset="value"
    )
    figures = {}
    for card, part in rows.groupby("device"):
        if len(part) == 3:
            figures[str(card)] = dict(zip(part["figure"], part["value"], strict=True))
    return figures
