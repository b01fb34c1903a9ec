"""The command ``python -m entropy_grounding.calibrate vlm=tiny_llava``: the ungated method on validation rows, then thresholds."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from entropy_grounding.benchmarks import benchmark_config
from entropy_grounding.calibration import ANSWER, COLUMNS, ONE_ROUND, Calibration, calibrate, calibration_path
from entropy_grounding.commands import hydra_command
from entropy_grounding.configs import CONF_DIR, register
from entropy_grounding.errors import InputError
from entropy_grounding.evaluation import EvaluateConfig, evaluate_together
from entropy_grounding.gate import OFF
from entropy_grounding.options import GroundingOptions
from entropy_grounding.results import commit, write_results
from entropy_grounding.tracking import TrackingConfig
from entropy_grounding.verbatim import Place
from entropy_grounding.vlm import VLM, VLMConfig, load_vlm
from entropy_grounding.vlm.identity import short_identity, weights_identities


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
        raise InputError("method.gate is on: thresholds are chosen on rows of the ungated method, so use method=entropy_gradient.")
    if not config.benchmarks:
        raise InputError("benchmarks is empty: name some of conf/benchmark.")
    vlm = load_vlm(config.vlm)
    rows = pd.concat([validation_rows(config, name, vlm) for name in config.benchmarks], ignore_index=True)
    source = {"vlm": config.vlm.name, "split": config.split, "examples": len(rows), "commit": commit()}
    source |= {"weights_sha256": weights_identities(config.vlm.weights, config.vlm.revision)["weights"], "accept": config.accept}
    write_results(Path(config.rows_dir) / config.vlm.name, rows, source)
    found = calibrate(rows, config.accept)
    write(config.vlm.name, found, source)
    return found


def validation_rows(config: CalibrateConfig, benchmark: str, vlm: VLM) -> pd.DataFrame:
    """Return `COLUMNS` of the ungated method on a benchmark, and of the same after a single round; examples that failed are left out."""
    asked = replace(benchmark_config(benchmark), split=config.split, examples=config.examples)
    one_round = replace(config.method, stopping=replace(config.method.stopping, rule="fixed", rounds=1))
    off = TrackingConfig(mode="disabled")
    methods = {"ungated": config.method, "one_round": one_round}
    found = evaluate_together(
        [EvaluateConfig(config.vlm, asked, method, off, name, config.results_dir) for name, method in methods.items()], vlm
    )
    ungated, first = (_of_answers(rows[rows["status"] == "ok"]) for rows in found)
    of_first = {f"{ANSWER}_{what}": f"{ONE_ROUND}_{what}" for what in ("score", "entropy", "margin", "passes")}
    return ungated.merge(first.rename(columns=of_first)[["example_id", *of_first.values()]], on="example_id")[COLUMNS]


def _of_answers(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows with the score and passes of the zoomed answer and of the plain one, which takes one pass."""
    passes = rows["forwards"] + 2 * rows["backwards"]
    return rows.rename(columns={"score": f"{ANSWER}_score"}).assign(answer_passes=passes, plain_passes=1)


def write(vlm: str, found: Calibration, source: dict[str, Any]) -> None:
    """Write the calibration of a VLM as configuration."""
    path = calibration_path(vlm)
    path.parent.mkdir(exist_ok=True)
    about = f"{source['examples']} {source['split']} rows, weights {short_identity(source)}, commit {source['commit']}"
    head = f"# python -m entropy_grounding.calibrate vlm={vlm}   wrote this: {about}.\n"
    values = {**asdict(found), "weights": list(found.weights)}
    path.write_text(head + OmegaConf.to_yaml(OmegaConf.create(values)), encoding="utf-8")
    print(f"written: {path.relative_to(CONF_DIR.parent)}")


@hydra_command("calibrate", CalibrateConfig)
def main(config: CalibrateConfig) -> None:
    """Calibrate, and print the thresholds."""
    found = run(config)
    for name, chosen in (("threshold", found.threshold), ("settle", found.settle), ("accept", {"accept": found.accept})):
        print(f"\n{name}\n{pd.DataFrame(chosen).round(3).to_string()}")


if __name__ == "__main__":
    main()
