"""Evaluate the ungated method on validation rows, and choose the gate's thresholds."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from entropy_grounding.benchmarks.load import benchmark_config
from entropy_grounding.core.config import register
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.paths import CONF_DIR
from entropy_grounding.core.verbatim import Place
from entropy_grounding.evaluation.archive import write_results
from entropy_grounding.evaluation.config import EvaluateConfig
from entropy_grounding.evaluation.provenance import commit
from entropy_grounding.evaluation.run import evaluate_together
from entropy_grounding.evaluation.thresholds import ANSWER, COLUMNS, ONE_ROUND, calibrate
from entropy_grounding.method.gate import OFF, Calibration, calibration_path
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
        vlm: which model, from ``conf/vlm``.
        method: the ungated method, from ``conf/method``.
        benchmarks: names from ``conf/benchmark``; thresholds are chosen for each and for all together.
        split: of the rows; not the one that is reported.
        examples: rows of each.
        accept: the score by which zoomed answers are kept, on benchmarks where that gains.
        results_dir: where the rows are evaluated; a run goes on where it stopped.
        rows_dir: where what the thresholds come from is kept.
    """

    vlm: VLMConfig = field(default_factory=VLMConfig)
    method: GroundingOptions = field(default_factory=GroundingOptions)
    benchmarks: tuple[str, ...] = ()
    split: str = "validation"
    examples: int = 300
    accept: str = "margin"
    results_dir: Place = "outputs/calibration"
    rows_dir: Place = "results/calibration"


register("calibrate_schema", CalibrateConfig)


def run(config: CalibrateConfig) -> Calibration:
    """Evaluate what is missing, choose, and write both files.

    Raises:
        InputError: for a method that is gated already, or no benchmark.
    """
    if config.method.gate.score != OFF or config.method.gate.accept != OFF:
        raise InputError(
            "method.gate is on: thresholds are chosen on rows of the ungated method, so use method=entropy_gradient."
        )
    if not config.benchmarks:
        raise InputError("benchmarks is empty: name some of conf/benchmark.")
    vlm = load_vlm(config.vlm)
    rows = pd.concat(
        [validation_rows(config, name, vlm) for name in config.benchmarks], ignore_index=True
    )
    source = {
        "vlm": config.vlm.name,
        "split": config.split,
        "examples": len(rows),
        "commit": commit(),
    }
    source |= {
        "weights_sha256": weights_identities(config.vlm.weights, config.vlm.revision)["weights"],
        "accept": config.accept,
    }
    write_results(Path(config.rows_dir) / config.vlm.name, rows, source)
    found = calibrate(rows, config.accept)
    write(config.vlm.name, found, source)
    return found


def validation_rows(config: CalibrateConfig, benchmark: str, vlm: VLM) -> pd.DataFrame:
    """Return `COLUMNS` of the ungated method on a benchmark, and of the same after a single round; examples that failed are left out."""
    asked = replace(benchmark_config(benchmark), split=config.split, examples=config.examples)
    one_round = replace(
        config.method, stopping=replace(config.method.stopping, rule="fixed", rounds=1)
    )
    off = TrackingConfig(mode="disabled")
    methods = {"ungated": config.method, "one_round": one_round}
    found = evaluate_together(
        [
            EvaluateConfig(config.vlm, asked, method, off, name, config.results_dir)
            for name, method in methods.items()
        ],
        vlm,
    )
    ungated, first = (_of_answers(rows[rows["status"] == "ok"]) for rows in found)
    of_first = {
        f"{ANSWER}_{what}": f"{ONE_ROUND}_{what}"
        for what in ("score", "entropy", "margin", "passes")
    }
    return ungated.merge(
        first.rename(columns=of_first)[["example_id", *of_first.values()]], on="example_id"
    )[COLUMNS]


def _of_answers(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows with the score and passes of the zoomed answer and of the plain one, which takes one pass."""
    passes = rows["forwards"] + 2 * rows["backwards"]
    return rows.rename(columns={"score": f"{ANSWER}_score"}).assign(
        answer_passes=passes, plain_passes=1
    )


def write(vlm: str, found: Calibration, source: dict[str, Any]) -> None:
    """Write the calibration of a VLM as configuration."""
    path = calibration_path(vlm)
    path.parent.mkdir(exist_ok=True)
    about = f"{source['examples']} {source['split']} rows, weights {short_identity(source)}, commit {source['commit']}"
    head = f"# python -m entropy_grounding.calibrate vlm={vlm}   wrote this: {about}.\n"
    values = {**asdict(found), "weights": list(found.weights)}
    path.write_text(head + OmegaConf.to_yaml(OmegaConf.create(values)), encoding="utf-8")
    print(f"written: {path.relative_to(CONF_DIR.parent)}")
