"""Choose the thresholds of the gate on validation rows.

The rows that are reported are never used for this.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.optimize import minimize

from entropy_grounding.core.records import Uncertainty
from entropy_grounding.evaluation.archive import RESULTS, load_rows
from entropy_grounding.evaluation.budgets import choose_limits, read_traces
from entropy_grounding.method.budget import Limits
from entropy_grounding.method.gate import OF_ALL, OFF, SCORES, Calibration, score

CALIBRATION = RESULTS / "measured" / "calibration"  # the published validation rows

PRICE = 0.005  # score that one pass through the model is worth: half a point
MIN_GAIN = 0.04  # with less gain in score, zooming is not worth several times a plain answer

# The answers of a row: without zoom, after one zoom step, and after the whole zoom.
PLAIN = "plain"
ONE_ROUND = "round"
ANSWER = "answer"
ANSWERS = (PLAIN, ONE_ROUND, ANSWER)

# The columns of the rows from which thresholds are chosen: four per answer.
COLUMNS = ["benchmark", "example_id"] + [
    f"{which}_{what}" for which in ANSWERS for what in ("score", "entropy", "margin", "passes")
]
ATTEMPTS = "attempts"  # the traces of the cascade; rows that were published before lack them


def calibrate(rows: pd.DataFrame, accept: str = "margin") -> Calibration:
    """Choose all thresholds of the gate on rows of the ungated method.

    First it chooses where only surer zoomed answers are kept. Then it chooses, for each score, the
    uncertainty up to which an answer after zooming stands, and the one up to which a plain answer
    stands. Last it chooses the thresholds of the cascade for every budget.

    Args:
        rows: rows with `COLUMNS`, of one VLM; and with `ATTEMPTS` for the cascade.
        accept: the score by which a zoomed answer is kept, on benchmarks where that gains.

    Returns:
        The thresholds for each benchmark, and for all benchmarks together.
    """
    weights = fit_weights(rows)
    parts = {OF_ALL: rows}
    for benchmark, part in rows.groupby("benchmark", sort=False):
        parts[str(benchmark)] = part

    accepts = {key: choose_acceptance(part, accept, weights) for key, part in parts.items()}
    calibration = Calibration(weights, {}, {}, accepts, _choose_budgets(parts))

    for name in SCORES:
        gates, settles = {}, {}
        for key, part in parts.items():
            gates[key], settles[key] = choose_thresholds(part, name, weights, accept=accepts[key])

        calibration.threshold[name] = gates
        calibration.settle[name] = settles

    return calibration


def _choose_budgets(parts: Mapping[str, pd.DataFrame]) -> dict[str, list[Limits]]:
    """Return the thresholds of the cascade for the rows of every key; none without traces."""
    return {
        key: choose_limits(read_traces(list(part[ATTEMPTS].dropna())))
        for key, part in parts.items()
        if ATTEMPTS in part
    }


def fit_weights(rows: pd.DataFrame) -> tuple[float, float, float]:
    """Return the weights of a logistic regression that predicts whether the plain answer is wrong.

    An answer is wrong if its score is below one half. The regression knows the entropy and the
    margin of the first token of the plain answer.

    Args:
        rows: rows with `COLUMNS`.

    Returns:
        Bias, weight of the entropy and weight of the margin, rounded to four decimals.
    """
    # Shape (rows, 3); the column of ones belongs to the bias.
    inputs = np.column_stack([np.ones(len(rows)), rows["plain_entropy"], rows["plain_margin"]])
    wrong = (rows["plain_score"] < 0.5).to_numpy(float)

    def loss(weights: np.ndarray) -> float:
        # Negative log-likelihood. The small penalty keeps the weights finite when the two classes
        # can be separated without error.
        logits = inputs @ weights
        return float(np.logaddexp(0, logits).sum() - wrong @ logits + 1e-3 * weights @ weights)

    best = minimize(loss, np.zeros(3)).x
    bias, entropy, margin = (round(float(weight), 4) for weight in best)
    return bias, entropy, margin


def uncertainties(
    rows: pd.DataFrame, which: str, name: str, weights: tuple[float, ...]
) -> Float[np.ndarray, " rows"]:
    """Return the uncertainty of one answer of every row, from its first token.

    Args:
        rows: rows with `COLUMNS`.
        which: the answer, one of `ANSWERS`.
        name: the score that measures uncertainty.
        weights: the weights of the calibrated probability, from `fit_weights`.
    """
    pairs = zip(rows[f"{which}_entropy"], rows[f"{which}_margin"], strict=True)
    return np.array(
        [score(Uncertainty(entropy, margin), name, weights) for entropy, margin in pairs]
    )


def kept_scores(
    rows: pd.DataFrame, which: str, accept: str, weights: tuple[float, ...]
) -> Float[np.ndarray, " rows"]:
    """Return the score of every row if a zoomed answer must be surer than the plain one.

    Where it is not surer, the plain answer is kept.

    Args:
        rows: rows with `COLUMNS`.
        which: the zoomed answer, one of `ANSWERS`.
        accept: the score that tells which answer is surer; "off" keeps every zoomed answer.
        weights: the weights of the calibrated probability.
    """
    zoomed = rows[f"{which}_score"].to_numpy(float)
    plain = rows[f"{PLAIN}_score"].to_numpy(float)
    if accept == OFF:
        return zoomed

    after = uncertainties(rows, which, accept, weights)
    before = uncertainties(rows, PLAIN, accept, weights)
    return np.where(after < before, zoomed, plain)


def choose_acceptance(rows: pd.DataFrame, accept: str, weights: tuple[float, ...]) -> str:
    """Return ``accept`` if the scores gain when only surer answers are kept, otherwise "off"."""
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
    """Return the thresholds that make the score minus the price of the passes as large as possible.

    A benchmark on which zooming gains less than `MIN_GAIN` is not zoomed at all.

    Args:
        rows: rows with `COLUMNS`.
        name: the score that gates.
        weights: the weights of the calibrated probability.
        accept: the score by which a zoomed answer is kept.
        price: the price of one pass, as a score.

    Returns:
        The uncertainty up to which a plain answer stands (inf: never zoom), and the one up to which
        an answer after one zoom step stands.
    """
    if (rows["answer_score"] - rows["plain_score"]).mean() < MIN_GAIN:
        return math.inf, math.inf

    # What each answer is worth in every row: its score minus the price of its passes.
    worth = {}
    for which in ANSWERS:
        passes = rows[f"{which}_passes"].to_numpy(float)
        worth[which] = kept_scores(rows, which, accept, weights) - price * passes

    # The second threshold comes first: the value of zooming depends on where the zoom ends.
    after = uncertainties(rows, ONE_ROUND, name, weights)
    settle = best_threshold(after, worth[ONE_ROUND] - worth[ANSWER])

    before = uncertainties(rows, PLAIN, name, weights)
    zoomed = np.where(after <= settle, worth[ONE_ROUND], worth[ANSWER])
    return best_threshold(before, worth[PLAIN] - zoomed), settle


def best_threshold(found: Float[np.ndarray, " rows"], saved: Float[np.ndarray, " rows"]) -> float:
    """Return the uncertainty up to which the sum of what is saved is largest.

    Args:
        found: the uncertainty of every row.
        saved: what is saved where the answer of the row stands; it may be negative.

    Returns:
        A value of ``found``, rounded to four decimals; inf if every row is taken, -inf if none is.
    """
    order = np.argsort(found, kind="stable")

    # A threshold cannot part equal values, so only the last row of each value may be an end.
    ends = np.flatnonzero(np.append(np.diff(found[order]), np.inf) > 0)
    sums = np.cumsum(saved[order])[ends]

    best = int(np.argmax(sums))
    if sums[best] <= 0:
        return -math.inf

    return math.inf if best == len(ends) - 1 else round(float(found[order][ends[best]]), 4)


def cross_validated(
    rows: pd.DataFrame, name: str = "entropy", accept: str = "margin", folds: int = 10
) -> pd.DataFrame:
    """Return the rows with the score and the passes that a gate would give them.

    The thresholds for a row are chosen on the other folds of its benchmark. The real gate takes
    fewer passes, because it may also stop after later zoom steps.

    Args:
        rows: rows with `COLUMNS`, of one VLM.
        name: the score that gates.
        accept: the score by which a zoomed answer is kept, where that gains.
        folds: the number of parts; each is held out once.

    Returns:
        The rows with the columns ``score`` and ``passes`` in addition.
    """
    parts = []
    for _, part in rows.groupby("benchmark", sort=False):
        # Rows are dealt out in turn: 0, 1, ..., folds - 1, 0, 1, ...
        fold = np.arange(len(part)) % folds
        for number in range(folds):
            others, mine = part[fold != number], part[fold == number]
            parts.append(_gated(mine, others, name, accept))

    return pd.concat(parts, ignore_index=True)


def _gated(rows: pd.DataFrame, others: pd.DataFrame, name: str, accept: str) -> pd.DataFrame:
    """Return rows with the score and the passes of a gate that was calibrated on other rows."""
    weights = fit_weights(others)
    kept = choose_acceptance(others, accept, weights)
    gate, settle = choose_thresholds(others, name, weights, accept=kept)

    before = uncertainties(rows, PLAIN, name, weights)
    after = uncertainties(rows, ONE_ROUND, name, weights)
    scores = [kept_scores(rows, which, kept, weights) for which in ANSWERS]
    passes = [rows[f"{which}_passes"] for which in ANSWERS]

    # The first condition that holds decides; the whole zoom is the default.
    ends = [before <= gate, after <= settle]
    return rows.assign(
        score=np.select(ends, scores[:2], scores[2]),
        passes=np.select(ends, passes[:2], passes[2]),
    )


def risk_curves(folder: Path = CALIBRATION) -> pd.DataFrame:
    """Return the risk-coverage curves of plain answers, for every calibrated VLM.

    Args:
        folder: the folder of the validation rows; by default the published one.

    Returns:
        A table with the columns ``vlm``, ``score``, ``coverage`` and ``risk``.
    """
    parts = []
    for path in sorted(folder.glob("*/rows.parquet")):
        rows, source = load_rows(path.parent)
        weights = fit_weights(rows)
        right = rows["plain_score"].to_numpy(float)

        for name in SCORES:
            coverage, risk = risk_coverage(uncertainties(rows, PLAIN, name, weights), right)
            curve = {"vlm": source["vlm"], "score": name, "coverage": coverage, "risk": risk}
            parts.append(pd.DataFrame(curve))

    return pd.concat(parts, ignore_index=True)


def gate_points(folder: Path = CALIBRATION) -> pd.DataFrame:
    """Return where the gate for all benchmarks ends on the curves of `risk_curves`.

    Args:
        folder: the folder of the validation rows; by default the published one.

    Returns:
        A table with the columns ``vlm``, ``score``, ``coverage`` and ``risk``, one row per VLM and
        uncertainty score. A gate that answers nothing at once has no row.
    """
    points = []
    for path in sorted(folder.glob("*/rows.parquet")):
        rows, source = load_rows(path.parent)
        calibration = calibrate(rows)

        for name in SCORES:
            uncertainty = uncertainties(rows, PLAIN, name, calibration.weights)
            inside = uncertainty <= calibration.threshold[name][OF_ALL]
            if inside.any():
                risk = 1 - rows["plain_score"].to_numpy(float)[inside].mean()
                points.append((source["vlm"], name, inside.mean(), risk))

    return pd.DataFrame(points, columns=["vlm", "score", "coverage", "risk"])


def risk_coverage(
    uncertainty: np.ndarray, scores: np.ndarray
) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
    """Return coverage and risk of the surest rows (Geifman and El-Yaniv, 2017).

    Args:
        uncertainty: the uncertainty of every row.
        scores: the score of every row.

    Returns:
        Coverage, the share of the rows that are answered, surest first; and risk, 1 minus the mean
        score of these rows.
    """
    order = np.argsort(uncertainty, kind="stable")
    count = np.arange(1, len(order) + 1)
    return count / len(order), 1 - np.cumsum(np.asarray(scores, float)[order]) / count
