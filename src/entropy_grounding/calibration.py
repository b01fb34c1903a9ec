"""Thresholds of the gate, chosen on validation rows, never on those that are reported: ``python -m entropy_grounding.calibrate vlm=NAME``.

They are kept as configuration (``conf/calibration/VLM.yaml``), the rows that they come from in ``results/calibration``.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from omegaconf import OmegaConf
from scipy.optimize import minimize

from entropy_grounding.configs import CONF_DIR
from entropy_grounding.errors import InputError
from entropy_grounding.gate import CALIBRATED, OF_ALL, OFF, SCORES, GateOptions, score
from entropy_grounding.results import load_rows
from entropy_grounding.structures import Uncertainty

KEEP = 0.97  # of the ungated gain that a gate must keep on the rows it is chosen on; more than the 0.95 that it should keep elsewhere
MIN_GAIN = 0.03  # score below which zooming is not worth several times a plain answer
RIGHT = 0.9  # mean score of answers that need no further map
COLUMNS = ["benchmark", "example_id", "plain_score", "score", "plain_entropy", "plain_margin", "answer_entropy", "answer_margin"]


@dataclass(frozen=True)
class Calibration:
    """What is stored for a VLM.

    Attributes:
        weights: of the probability that an answer is wrong: bias, a nat of entropy, a unit of margin.
        thresholds: by score, then by benchmark or "all".
        settle: by score, from which uncertainty of a zoomed answer on no further map is worth it.
    """

    weights: tuple[float, ...]
    thresholds: dict[str, dict[str, float]] = field(default_factory=dict)
    settle: dict[str, float] = field(default_factory=dict)


def calibration_path(vlm: str) -> Path:
    """Return the file of a VLM's calibration."""
    return CONF_DIR / "calibration" / f"{vlm}.yaml"


def calibrated(options: GateOptions, vlm: str, benchmark: str | None = None) -> GateOptions:
    """Fill in thresholds and weights from the calibration of a VLM, where the options ask for them.

    Raises:
        InputError: where it has none, or none for this benchmark.
    """
    named = options.score != OFF and (isinstance(options.threshold, str) or options.settle == CALIBRATED)
    weighted = options.weights is None and CALIBRATED in (options.score, options.accept)
    if not named and not weighted:
        return options
    path = calibration_path(vlm)
    if not path.exists():
        raise InputError(f"method.gate needs a calibration of '{vlm}', which has none: run python -m entropy_grounding.calibrate vlm={vlm}")
    stored: Any = OmegaConf.to_container(OmegaConf.load(path))
    found = replace(options, weights=tuple(stored["weights"])) if weighted else options
    if options.settle == CALIBRATED:
        found = replace(found, settle=float(stored["settle"][options.score]))
    if not isinstance(options.threshold, str):
        return found
    key = OF_ALL if options.threshold == OF_ALL else benchmark
    thresholds = stored["thresholds"][options.score]
    if key not in thresholds:
        known = ", ".join(thresholds)
        raise InputError(f"The calibration of '{vlm}' has no threshold for '{key}', only for {known}: use method.gate.threshold=all.")
    return replace(found, threshold=float(thresholds[key]))


def calibrate(rows: pd.DataFrame, accept: str = "margin") -> Calibration:
    """Choose weights and thresholds on rows of the ungated method.

    Args:
        rows: with `COLUMNS`, of one VLM.
        accept: score by which a zoomed answer is kept.
    """
    weights = fit_weights(rows)
    parts = {OF_ALL: rows, **{str(name): part for name, part in rows.groupby("benchmark", sort=False)}}
    chosen = {name: {key: choose_threshold(part, name, weights, accept=accept) for key, part in parts.items()} for name in SCORES}
    return Calibration(weights, chosen, {name: settle_threshold(rows, name, weights) for name in SCORES})


def fit_weights(rows: pd.DataFrame) -> tuple[float, float, float]:
    """Return the logistic regression of "the plain answer is wrong" (a score below one half) on entropy and margin of its first token."""
    known = np.column_stack([np.ones(len(rows)), rows["plain_entropy"], rows["plain_margin"]])
    wrong = (rows["plain_score"] < 0.5).to_numpy(float)

    def loss(weights: np.ndarray) -> float:
        found = known @ weights
        return float(np.logaddexp(0, found).sum() - wrong @ found + 1e-3 * weights @ weights)

    bias, entropy, margin = (round(float(weight), 4) for weight in minimize(loss, np.zeros(3)).x)
    return bias, entropy, margin


def uncertainties(rows: pd.DataFrame, which: str, name: str, weights: tuple[float, ...]) -> Float[np.ndarray, " rows"]:
    """Return a score of every row's first token, of the "plain" answer or of the zoomed "answer"."""
    pairs = zip(rows[f"{which}_entropy"], rows[f"{which}_margin"], strict=True)
    return np.array([score(Uncertainty(entropy, margin), name, weights) for entropy, margin in pairs])


def kept_scores(rows: pd.DataFrame, accept: str, weights: tuple[float, ...]) -> Float[np.ndarray, " rows"]:
    """Return the score of each row's answer where a zoomed answer is kept only if surer."""
    if accept == OFF:
        return rows["score"].to_numpy(float)
    surer = uncertainties(rows, "answer", accept, weights) < uncertainties(rows, "plain", accept, weights)
    return np.where(surer, rows["score"].to_numpy(float), rows["plain_score"].to_numpy(float))


def choose_threshold(rows: pd.DataFrame, name: str, weights: tuple[float, ...], *, accept: str = OFF, keep: float = KEEP) -> float:
    """Return the largest threshold that keeps a share of the ungated gain; inf, never to zoom, where that gain is below `MIN_GAIN`.

    Args:
        rows: with `COLUMNS`.
        name: of the score that gates.
        weights: of the calibrated probability.
        accept: score by which a zoomed answer is kept.
        keep: the share.
    """
    gains = (rows["score"] - rows["plain_score"]).to_numpy(float)
    if gains.mean() < MIN_GAIN:
        return float("inf")
    with_gate = kept_scores(rows, accept, weights) - rows["plain_score"].to_numpy(float)
    found = uncertainties(rows, "plain", name, weights)
    order = np.argsort(found, kind="stable")
    left = with_gate.sum() - np.cumsum(with_gate[order])  # the gain of the rows above each threshold
    enough = np.flatnonzero((left >= keep * gains.sum()) & (np.append(np.diff(found[order]), np.inf) > 0))
    return round(float(found[order][enough[-1]]), 4) if len(enough) else float("-inf")


def settle_threshold(rows: pd.DataFrame, name: str, weights: tuple[float, ...], *, right: float = RIGHT) -> float:
    """Return the largest uncertainty up to which zoomed answers reach a mean score of ``right``; -inf where none do."""
    found = uncertainties(rows, "answer", name, weights)
    order = np.argsort(found, kind="stable")
    mean = np.cumsum(rows["score"].to_numpy(float)[order]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero((mean >= right) & (np.append(np.diff(found[order]), np.inf) > 0))
    return round(float(found[order][enough[-1]]), 4) if len(enough) else float("-inf")


def risk_curves(folder: Path) -> pd.DataFrame:
    """Return the risk-coverage curves of plain answers, of every calibrated VLM; columns ``vlm``, ``score``, ``coverage`` and ``risk``.

    Args:
        folder: of the stored validation rows, ``results/calibration``.
    """
    parts = []
    for path in sorted(folder.glob("*/rows.parquet")):
        rows, source = load_rows(path.parent)
        weights = fit_weights(rows)
        for name in SCORES:
            coverage, risk = risk_coverage(uncertainties(rows, "plain", name, weights), rows["plain_score"].to_numpy(float))
            parts.append(pd.DataFrame({"vlm": source["vlm"], "score": name, "coverage": coverage, "risk": risk}))
    return pd.concat(parts, ignore_index=True)


def risk_coverage(uncertainty: np.ndarray, scores: np.ndarray) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
    """Return coverage and risk: of the surest share of the rows, 1 minus the mean score (Geifman and El-Yaniv, 2017)."""
    order = np.argsort(uncertainty, kind="stable")
    count = np.arange(1, len(order) + 1)
    return count / len(order), 1 - np.cumsum(np.asarray(scores, float)[order]) / count
