"""Intervals and paired tests for scores of the same examples under two methods; pure, on arrays of one score an example."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from entropy_grounding.core.errors import InputError

RESAMPLES = 9_999
_AT_ONCE = 2_000_000  # scores resampled at a time: below 160 MB, and as fast as all at once


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its confidence interval."""

    mean: float
    low: float
    high: float


def interval(
    scores: Sequence[float] | np.ndarray, *, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Return the mean with its BCa bootstrap interval (Efron 1987); exact binomial where all scores are equal to 0 or to 1.

    Raises:
        InputError: without scores, or with one that is not finite.
    """
    values = _finite(scores)
    mean = float(values.mean())
    if np.ptp(values) == 0:
        if mean not in (0.0, 1.0):
            return Interval(mean, mean, mean)
        exact = stats.binomtest(round(mean * len(values)), len(values)).proportion_ci(confidence)
        return Interval(mean, float(exact.low), float(exact.high))
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=_batch(len(values)),
        confidence_level=confidence,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high))


@dataclass(frozen=True, slots=True)
class Comparison:
    """A method against a baseline on the same examples.

    Attributes:
        difference: mean of (method - baseline), with its interval.
        p_value: two-sided, of no difference.
        test: "exact McNemar" for scores of 0 and 1, else "paired permutation".
        gained: examples on which the method scores higher (wrong to right).
        lost: examples on which it scores lower (right to wrong).
    """

    difference: Interval
    p_value: float
    test: str
    gained: int
    lost: int


def compare(
    baseline: Sequence[float] | np.ndarray, method: Sequence[float] | np.ndarray, *, seed: int = 0
) -> Comparison:
    """Compare the scores of the same examples, in the same order, under two methods.

    Raises:
        InputError: for arrays of different lengths, no example, or a score that is not finite.
    """
    before, after = _finite(baseline), _finite(method)
    if len(before) != len(after):
        raise InputError(
            f"{len(before)} scores against {len(after)}: a paired test needs the same examples under both methods."
        )
    change = after - before
    gained, lost = int((change > 0).sum()), int((change < 0).sum())
    binary = np.isin(np.concatenate([before, after]), (0.0, 1.0)).all()
    p_value = mcnemar(gained, lost) if binary else permutation(change, seed=seed)
    return Comparison(
        interval(change, seed=seed),
        p_value,
        "exact McNemar" if binary else "paired permutation",
        gained,
        lost,
    )


def mcnemar(gained: int, lost: int) -> float:
    """Return the two-sided exact p-value of McNemar's test: are flips in both directions equally likely?"""
    return float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def permutation(change: np.ndarray, *, seed: int = 0) -> float:
    """Return the two-sided p-value of a mean difference of 0 when signs of paired differences are flipped at random."""
    if not change.any():
        return 1.0
    found = stats.permutation_test(
        (change,),
        np.mean,
        permutation_type="samples",
        n_resamples=RESAMPLES,
        batch=_batch(len(change)),
        alternative="two-sided",
        rng=np.random.default_rng(seed),
        vectorized=True,
    )
    return float(found.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number (Holm 1979), in the same order, at most 1."""
    order = np.argsort(p_values)
    steps = np.asarray(p_values, float)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(p) for p in adjusted]


def share_explained(
    method: Sequence[float] | np.ndarray,
    random: Sequence[float] | np.ndarray,
    oracle: Sequence[float] | np.ndarray,
    *,
    seed: int = 0,
) -> Interval:
    """Return (method - random) / (oracle - random) of mean scores, with its 95 % percentile interval over resampled examples.

    NaN where the interval of (oracle - random) does not lie above 0: then there is no gain to explain.

    Raises:
        InputError: for arrays of different lengths, no example, or a score that is not finite.
    """
    scores = [_finite(each) for each in (method, random, oracle)]
    if len({len(each) for each in scores}) > 1:
        counts = ", ".join(str(len(each)) for each in scores)
        raise InputError(
            f"{counts} scores: a share needs the same examples under all three methods."
        )
    if interval(scores[2] - scores[1], seed=seed).low <= 0:
        return Interval(float("nan"), float("nan"), float("nan"))

    def share(m: np.ndarray, r: np.ndarray, o: np.ndarray, axis: int = -1) -> Any:
        return (m.mean(axis) - r.mean(axis)) / (o.mean(axis) - r.mean(axis))

    with np.errstate(divide="ignore", invalid="ignore"):
        found = stats.bootstrap(
            scores,
            share,
            paired=True,
            n_resamples=RESAMPLES,
            batch=_batch(len(scores[0])),
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
    if not np.isfinite([found.low, found.high]).all():  # the gain vanishes in some of the resamples
        return Interval(float("nan"), float("nan"), float("nan"))
    return Interval(
        float(share(scores[0], scores[1], scores[2])), float(found.low), float(found.high)
    )


def _batch(examples: int) -> int:
    """Return how many resamples of so many examples are held at a time; the draws are the same for any number."""
    return max(1, min(RESAMPLES, _AT_ONCE // examples))


def _finite(scores: Sequence[float] | np.ndarray) -> np.ndarray:
    values = np.asarray(scores, dtype=float)
    if values.size == 0:
        raise InputError("There is no score: an interval needs at least one example.")
    if not np.isfinite(values).all():
        raise InputError(
            f"{int((~np.isfinite(values)).sum())} of {values.size} scores are not finite: leave undefined examples out first."
        )
    return values
