"""Evaluate the ungated method on validation rows, and choose the thresholds of the gate."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from entropy_grounding.benchmarks.load import benchmark_config
from entropy_grounding.core.checks import check_at_least
from entropy_grounding.core.config import register
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.verbatim import Place
from entropy_grounding.evaluation.archive import write_results
from entropy_grounding.evaluation.config import EvaluateConfig
from entropy_grounding.evaluation.provenance import commit
from entropy_grounding.evaluation.run import check_answered, evaluate_together
from entropy_grounding.evaluation.thresholds import (
    ANSWER,
    ATTEMPTS,
    COLUMNS,
    ONE_ROUND,
    calibrate,
)
from entropy_grounding.method.budget import BudgetOptions
from entropy_grounding.method.gate import OFF, Calibration, GateOptions, calibration_path
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.tracking import TrackingConfig
from entropy_grounding.vlm.config import VLMConfig
from entropy_grounding.vlm.load import load_vlm
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.weights import short_identity, weights_identities


@dataclass(frozen=True)
class CalibrateConfig:
    """Options of a calibration.

    Attributes:
        vlm: the model, from ``conf/vlm``.
        method: the ungated method, from ``conf/method``.
        benchmarks: names from ``conf/benchmark``. Thresholds are chosen for each benchmark, and for
            all together.
        split: the split of the rows; it is not the split that is reported.
        examples: the number of rows of each benchmark.
        traced: how many of them, from the first on, also leave a trace of the cascade, from which
            budgets get their thresholds; a trace takes about 20 passes.
        accept: the score by which zoomed answers are kept, on benchmarks where that gains.
        results_dir: the folder of the evaluations. A run that was stopped is resumed there.
        rows_dir: the folder in which the rows behind the thresholds are kept.
    """

    vlm: VLMConfig = field(default_factory=VLMConfig)
    method: GroundingOptions = field(default_factory=GroundingOptions)
    benchmarks: tuple[str, ...] = ()
    split: str = "validation"
    examples: int = 300
    traced: int = 150
    accept: str = "margin"
    results_dir: Place = "outputs/calibration"
    rows_dir: Place = "results/measured/calibration"


register("calibrate_schema", CalibrateConfig)


def run(config: CalibrateConfig) -> Calibration:
    """Evaluate what is missing, choose the thresholds, and write the rows and the thresholds.

    Args:
        config: the options.

    Raises:
        InputError: for a method that is gated already, or no benchmark.
    """
    if config.method.gate.score != OFF or config.method.gate.accept != OFF:
        raise InputError(
            "method.gate is on: thresholds are chosen on rows of the ungated method, "
            "so use method=entropy_gradient."
        )

    check_at_least("traced", config.traced, 1)
    if not config.benchmarks:
        raise InputError("benchmarks is empty: name some of conf/benchmark.")

    vlm = load_vlm(config.vlm)
    parts = [validation_rows(config, name, vlm) for name in config.benchmarks]
    rows = pd.concat(parts, ignore_index=True)

    source = {
        "vlm": config.vlm.name,
        "split": config.split,
        "examples": len(rows),
        "commit": commit(),
        "weights_sha256": weights_identities(config.vlm.weights, config.vlm.revision)["weights"],
        "accept": config.accept,
    }
    write_results(Path(config.rows_dir) / config.vlm.name, rows, source)

    calibration = calibrate(rows, config.accept)
    write(config.vlm.name, calibration, source)
    return calibration


def validation_rows(config: CalibrateConfig, benchmark: str, vlm: VLM) -> pd.DataFrame:
    """Return the rows of a benchmark from which thresholds are chosen.

    The ungated method answers each example, once in full and once with a single zoom step, and a
    cascade without thresholds leaves its trace on the first of them. Examples that failed are
    left out.

    Args:
        config: the options.
        benchmark: a name from ``conf/benchmark``.
        vlm: the loaded model.

    Returns:
        A table with `COLUMNS` and `ATTEMPTS`, one row per example; without a trace it has None.
    """
    stopping = replace(config.method.stopping, rule="fixed", rounds=1)
    methods = {
        "ungated": config.method,
        "one_round": replace(config.method, stopping=stopping),
        "cascade": endless(config.method),
    }

    # The three share their passes, so the traced examples come first.
    traced = _answered(config, benchmark, vlm, methods, min(config.traced, config.examples))
    traces = traced[2][["example_id", ATTEMPTS]]
    del methods["cascade"]
    ungated, first = map(_of_answers, _answered(config, benchmark, vlm, methods, config.examples))

    # The zoomed answer of the second method is the answer after one zoom step.
    names = {}
    for what in ("score", "entropy", "margin", "passes"):
        names[f"{ANSWER}_{what}"] = f"{ONE_ROUND}_{what}"
    first = first.rename(columns=names)[["example_id", *names.values()]]

    ungated = ungated.drop(columns=ATTEMPTS).merge(first, on="example_id")
    return ungated.merge(traces, on="example_id", how="left")[[*COLUMNS, ATTEMPTS]]


def _answered(
    config: CalibrateConfig,
    benchmark: str,
    vlm: VLM,
    methods: Mapping[str, GroundingOptions],
    examples: int,
) -> list[pd.DataFrame]:
    """Return the rows of the first examples of a benchmark for every method, without failures."""
    data = replace(benchmark_config(benchmark), split=config.split, examples=examples)

    # Rows of a calibration are not tracked.
    off = TrackingConfig(mode="disabled")
    evaluations = [
        EvaluateConfig(config.vlm, data, method, off, name, config.results_dir)
        for name, method in methods.items()
    ]

    answered = []
    for rows, evaluation in zip(evaluate_together(evaluations, vlm), evaluations, strict=True):
        check_answered(rows, evaluation)
        answered.append(rows[rows["status"] == "ok"])
    return answered


def endless(method: GroundingOptions) -> GroundingOptions:
    """Return the cascade that begins with a method, is never sure, and keeps every answer."""
    return replace(
        method,
        crops="anytime",
        gate=GateOptions(score="entropy", threshold=-math.inf),
        budget=BudgetOptions(tried=-math.inf, trace=True),
    )


def _of_answers(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows with the score and the passes of the zoomed answer and of the plain answer."""
    # A backward pass counts as two forward passes; a plain answer takes one.
    passes = rows["forwards"] + 2 * rows["backwards"]
    rows = rows.rename(columns={"score": f"{ANSWER}_score"})
    return rows.assign(answer_passes=passes, plain_passes=1)


def write(vlm: str, found: Calibration, source: dict[str, Any]) -> None:
    """Write the calibration of a VLM as a configuration file.

    Args:
        vlm: the name of the VLM.
        found: the calibration.
        source: where it comes from: the number of rows, their split, weights and commit.
    """
    path = calibration_path(vlm)
    path.parent.mkdir(exist_ok=True)

    about = (
        f"{source['examples']} {source['split']} rows, "
        f"weights {short_identity(source)}, commit {source['commit']}"
    )
    head = f"# eg calibrate vlm={vlm}   wrote this: {about}.\n"

    # YAML has no tuples.
    values = {**asdict(found), "weights": list(found.weights)}
    path.write_text(head + OmegaConf.to_yaml(OmegaConf.create(values)), encoding="utf-8")
