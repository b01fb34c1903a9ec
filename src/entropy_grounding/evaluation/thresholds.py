"""Choose the gate's thresholds on validation rows, never on those that are reported."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.optimize import minimize

from entropy_grounding.core.records import Uncertainty
from entropy_grounding.evaluation.archive import load_rows
from entropy_grounding.method.gate import OF_ALL, OFF, SCORES, Calibration, score

PRICE = 0.005  # score that a pass through the model is worth: half a point
MIN_GAIN = 0.04  # score below which zooming is not worth several times a plain answer
PLAIN, ONE_ROUND, ANSWER = ANSWERS = (
    "plain",
    "round",
    "answer",
)  # without zoom, after a round, after the whole loop
COLUMNS = ["benchmark", "example_id"] + [
    f"{which}_{what}" for which in ANSWERS for what in ("score", "entropy", "margin", "passes")
]


def calibrate(rows: pd.DataFrame, accept: str = "margin") -> Calibration:
    """Choose on rows of the ungated method: acceptance, then from when on zoomed answers settle, then the gate.

    Args:
        rows: with `COLUMNS`, of one VLM.
        accept: score by which a zoomed answer is kept, where that gains.
    """
    weights = fit_weights(rows)
    parts = {
        OF_ALL: rows,
        **{str(name): part for name, part in rows.groupby("benchmark", sort=False)},
    }
    accepts = {key: choose_acceptance(part, accept, weights) for key, part in parts.items()}
    found = Calibration(weights, {}, {}, accepts)
    for name in SCORES:
        chosen = {
            key: choose_thresholds(part, name, weights, accept=accepts[key])
            for key, part in parts.items()
        }
        found.threshold[name] = {key: gate for key, (gate, _) in chosen.items()}
        found.settle[name] = {key: settle for key, (_, settle) in chosen.items()}
    return found


def fit_weights(rows: pd.DataFrame) -> tuple[float, float, float]:
    """Return the logistic regression of "the plain answer is wrong" (a score below one half) on entropy and margin of its first token."""
    known = np.column_stack([np.ones(len(rows)), rows["plain_entropy"], rows["plain_margin"]])
    wrong = (rows["plain_score"] < 0.5).to_numpy(float)

    def loss(weights: np.ndarray) -> float:
        found = known @ weights
        return float(np.logaddexp(0, found).sum() - wrong @ found + 1e-3 * weights @ weights)

    bias, entropy, margin = (round(float(weight), 4) for weight in minimize(loss, np.zeros(3)).x)
    return bias, entropy, margin


def uncertainties(
    rows: pd.DataFrame, which: str, name: str, weights: tuple[float, ...]
) -> Float[np.ndarray, " rows"]:
    """Return a score of every row's first token, of the answer that ``which`` names."""
    pairs = zip(rows[f"{which}_entropy"], rows[f"{which}_margin"], strict=True)
    return np.array(
        [score(Uncertainty(entropy, margin), name, weights) for entropy, margin in pairs]
    )


def kept_scores(
    rows: pd.DataFrame, which: str, accept: str, weights: tuple[float, ...]
) -> Float[np.ndarray, " rows"]:
    """Return the score of each row where the zoomed answer (``which``) is kept only if it is surer than the plain one."""
    zoomed, plain = (rows[f"{name}_score"].to_numpy(float) for name in (which, PLAIN))
    if accept == OFF:
        return zoomed
    surer = uncertainties(rows, which, accept, weights) < uncertainties(
        rows, PLAIN, accept, weights
    )
    return np.where(surer, zoomed, plain)


def choose_acceptance(rows: pd.DataFrame, accept: str, weights: tuple[float, ...]) -> str:
    """Return ``accept`` where keeping only surer answers gains, and otherwise "off"."""
    gains = kept_scores(rows, ANSWER, accept, weights).sum() > rows["answer_score"].sum()
    return accept if gains else OFF


def choose_thresholds(
    rows: pd.DataFrame,
    name: str,
    weights: tuple[float, ...],
    *,
    accept: str = OFF,
    price: float = PRICE,
) -> tuple[float, float]:
    """Return up to which uncertainty plain answers stand (inf: never zoom), and answers after a round of zooming.

    Both make the score less the price of the passes as large as it gets. To zoom on a benchmark at all, it must gain `MIN_GAIN`.

    Args:
        rows: with `COLUMNS`.
        name: of the score that gates.
        weights: of the calibrated probability.
        accept: score by which a zoomed answer is kept.
        price: of a pass.
    """
    if (rows["answer_score"] - rows["plain_score"]).mean() < MIN_GAIN:
        return math.inf, math.inf
    plain, first, last = (
        kept_scores(rows, which, accept, weights) - price * rows[f"{which}_passes"].to_numpy(float)
        for which in ANSWERS
    )
    before, after = (uncertainties(rows, which, name, weights) for which in (PLAIN, ONE_ROUND))
    settle = best_threshold(after, first - last)
    return best_threshold(before, plain - np.where(after <= settle, first, last)), settle


def best_threshold(found: Float[np.ndarray, " rows"], saved: Float[np.ndarray, " rows"]) -> float:
    """Return the value of ``found`` up to which most is saved in all: inf where that is to take every row, -inf for none."""
    order = np.argsort(found, kind="stable")
    ends = np.flatnonzero(
        np.append(np.diff(found[order]), np.inf) > 0
    )  # equal values are never parted
    sums = np.cumsum(saved[order])[ends]
    best = int(np.argmax(sums))
    if sums[best] <= 0:
        return -math.inf
    return math.inf if best == len(ends) - 1 else round(float(found[order][ends[best]]), 4)


def cross_validated(
    rows: pd.DataFrame, name: str = "entropy", accept: str = "margin", folds: int = 10
) -> pd.DataFrame:
    """Return rows with ``score`` and ``passes`` as the gate would make them, each chosen on the other folds of its benchmark.

    The gate itself takes fewer passes, for it settles after later rounds too.

    Args:
        rows: with `COLUMNS`, of one VLM.
        name: of the score that gates.
        accept: score by which a zoomed answer is kept, where that gains.
        folds: parts that are held out in turn.
    """
    parts = []
    for _, part in rows.groupby("benchmark", sort=False):
        fold = np.arange(len(part)) % folds
        for number in range(folds):
            others, mine = part[fold != number], part[fold == number]
            weights = fit_weights(others)
            kept = choose_acceptance(others, accept, weights)
            gate, settle = choose_thresholds(others, name, weights, accept=kept)
            before, after = (
                uncertainties(mine, which, name, weights) for which in (PLAIN, ONE_ROUND)
            )
            scores, passes = zip(
                *(
                    (kept_scores(mine, which, kept, weights), mine[f"{which}_passes"])
                    for which in ANSWERS
                ),
                strict=True,
            )
            ends = [before <= gate, after <= settle]
            parts.append(
                mine.assign(
                    score=np.select(ends, scores[:2], scores[2]),
                    passes=np.select(ends, passes[:2], passes[2]),
                )
            )
    return pd.concat(parts, ignore_index=True)


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
            coverage, risk = risk_coverage(
                uncertainties(rows, PLAIN, name, weights), rows["plain_score"].to_numpy(float)
            )
            parts.append(
                pd.DataFrame(
                    {"vlm": source["vlm"], "score": name, "coverage": coverage, "risk": risk}
                )
            )
    return pd.concat(parts, ignore_index=True)


def risk_coverage(
    uncertainty: np.ndarray, scores: np.ndarray
) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
    """Return coverage and risk: of the surest share of the rows, 1 minus the mean score (Geifman and El-Yaniv, 2017)."""
    order = np.argsort(uncertainty, kind="stable")
    count = np.arange(1, len(order) + 1)
    return count / len(order), 1 - np.cumsum(np.asarray(scores, float)[order]) / count
