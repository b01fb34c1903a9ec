"""Intervals and paired tests for the scores of examples.

All functions are pure. They take arrays with one score per example; arrays of two methods hold the
same examples in the same order.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from entropy_grounding.core.errors import InputError

RESAMPLES = 9_999
# How many scores are resampled at a time: below 160 MB, and as fast as all of them at once.
_AT_ONCE = 2_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its confidence interval.

    Attributes:
        mean: mean of the scores.
        low: lower end of the interval.
        high: upper end of the interval.
    """

    mean: float
    low: float
    high: float


def interval(
    scores: Sequence[float] | np.ndarray, *, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Return the mean with its BCa bootstrap interval (Efron 1987).

    The interval is exactly binomial if all scores are 0, or all are 1. It has no width if all
    scores are another same value.

    Args:
        scores: one score per example.
        confidence: the share of such intervals that hold the true mean.
        seed: of the resamples.

    Raises:
        InputError: without scores, or with a score that is not finite.
    """
    values = _finite(scores)
    mean = float(values.mean())
    if np.ptp(values) == 0:
        if mean not in (0.0, 1.0):
            return Interval(mean, mean, mean)

        # A bootstrap of equal scores has no width, but few examples do not prove a score of 1.
        exact = stats.binomtest(round(mean * len(values)), len(values)).proportion_ci(confidence)
        return Interval(mean, float(exact.low), float(exact.high))

    ends = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=_batch(len(values)),
        confidence_level=confidence,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval

    return Interval(mean, float(ends.low), float(ends.high))


@dataclass(frozen=True, slots=True)
class PairedTest:
    """A test of a method against a baseline on the same examples.

    Attributes:
        p_value: two-sided, for the hypothesis of no difference.
        test: "exact McNemar" for scores of 0 and 1, else "paired permutation".
        gained: examples on which the method scores higher (wrong to right).
        lost: examples on which it scores lower (right to wrong).
    """

    p_value: float
    test: str
    gained: int
    lost: int


@dataclass(frozen=True, slots=True)
class Comparison(PairedTest):
    """A paired test with the size of the difference.

    Attributes:
        difference: mean of (method - baseline), with its interval.
    """

    difference: Interval


def compare(
    baseline: Sequence[float] | np.ndarray, method: Sequence[float] | np.ndarray, *, seed: int = 0
) -> Comparison:
    """Compare the scores of the same examples, in the same order, under two methods.

    Args:
        baseline: one score per example.
        method: one score per example.
        seed: of the interval and of the permutations.

    Raises:
        InputError: for arrays of different lengths, no example, or a score that is not finite.
    """
    test = paired_test(baseline, method, seed=seed)
    change = np.asarray(method, float) - np.asarray(baseline, float)

    return Comparison(**asdict(test), difference=interval(change, seed=seed))


def paired_test(
    baseline: Sequence[float] | np.ndarray, method: Sequence[float] | np.ndarray, *, seed: int = 0
) -> PairedTest:
    """Test a method against a baseline as `compare`, without the interval of the difference."""
    before, after = _finite(baseline), _finite(method)
    if len(before) != len(after):
        raise InputError(
            f"{len(before)} scores against {len(after)}: "
            "a paired test needs the same examples under both methods."
        )

    change = after - before
    gained, lost = int((change > 0).sum()), int((change < 0).sum())

    # Scores of 0 and 1 have an exact test; it needs no resamples.
    if np.isin(np.concatenate([before, after]), (0.0, 1.0)).all():
        return PairedTest(mcnemar(gained, lost), "exact McNemar", gained, lost)

    return PairedTest(permutation(change, seed=seed), "paired permutation", gained, lost)


def mcnemar(gained: int, lost: int) -> float:
    """Return the two-sided exact p-value of McNemar's test.

    The hypothesis is that changes in both directions are equally likely.

    Args:
        gained: number of examples that went from wrong to right.
        lost: number of examples that went from right to wrong.
    """
    return float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def permutation(change: np.ndarray, *, seed: int = 0) -> float:
    """Return the two-sided p-value of a mean difference of 0, by a paired permutation test.

    Args:
        change: difference of each example, float array ``(examples,)``. Signs are flipped at
            random.
        seed: of the flips.
    """
    # A difference of 0 has no sign to flip, and most examples have none. One alone is as far from
    # 0 with either sign.
    moved = change[change != 0]
    if len(moved) < 2:
        return 1.0

    result = stats.permutation_test(
        (moved,),
        np.sum,
        permutation_type="samples",
        n_resamples=RESAMPLES,
        batch=_batch(len(moved)),
        alternative="two-sided",
        rng=np.random.default_rng(seed),
        vectorized=True,
    )

    return float(result.pvalue)


def share_explained(
    method: Sequence[float] | np.ndarray,
    random: Sequence[float] | np.ndarray,
    oracle: Sequence[float] | np.ndarray,
    *,
    seed: int = 0,
) -> Interval:
    """Return (method - random) / (oracle - random) of mean scores.

    The interval is the 95 % percentile interval over resampled examples. All values are NaN if the
    interval of (oracle - random) does not lie above 0, because then there is no gain to explain.

    Args:
        method: one score per example.
        random: one score per example, with regions at random places.
        oracle: one score per example, with the regions of the evidence.
        seed: of the resamples.

    Raises:
        InputError: for arrays of different lengths, no example, or a score that is not finite.
    """
    undefined = Interval(float("nan"), float("nan"), float("nan"))
    scores = [_finite(method), _finite(random), _finite(oracle)]
    counts = [len(values) for values in scores]
    if len(set(counts)) > 1:
        raise InputError(
            f"{', '.join(map(str, counts))} scores: "
            "a share needs the same examples under all three methods."
        )
    if interval(scores[2] - scores[1], seed=seed).low <= 0:
        return undefined

    def share(m: np.ndarray, r: np.ndarray, o: np.ndarray, axis: int = -1) -> Any:
        return (m.mean(axis) - r.mean(axis)) / (o.mean(axis) - r.mean(axis))

    # An example is drawn with its three scores together. The gain may be 0 in a resample.
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = stats.bootstrap(
            scores,
            share,
            paired=True,
            n_resamples=RESAMPLES,
            batch=_batch(len(scores[0])),
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval

    if not np.isfinite([ends.low, ends.high]).all():
        return undefined

    value = float(share(scores[0], scores[1], scores[2]))
    return Interval(value, float(ends.low), float(ends.high))


def _batch(examples: int) -> int:
    """Return how many resamples are held in memory at a time.

    The draws are the same for any number.
    """
    return max(1, min(RESAMPLES, _AT_ONCE // examples))


def _finite(scores: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return scores as a float array ``(examples,)``; refuse an empty one and values not finite."""
    values = np.asarray(scores, dtype=float)
    if values.size == 0:
        raise InputError("There is no score: an interval needs at least one example.")

    is_finite = np.isfinite(values)
    if not is_finite.all():
        raise InputError(
            f"{int((~is_finite).sum())} of {values.size} scores are not finite: "
            "leave undefined examples out first."
        )

    return values
