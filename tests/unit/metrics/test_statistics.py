"""Intervals and paired tests against closed forms."""

import tracemalloc

import numpy as np
import pytest
from scipy import stats

from entropy_grounding.core.errors import InputError
from entropy_grounding.metrics.statistics import (
    RESAMPLES,
    compare,
    interval,
    mcnemar,
    permutation,
    share_explained,
)


def test_the_interval_holds_the_mean_and_is_about_two_standard_errors():
    scores = np.random.default_rng(0).random(400)
    found = interval(scores)
    assert found.low < found.mean < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * scores.std(ddof=1) / 20, rel=0.05)


def test_the_interval_is_the_same_every_time():
    scores = [0.0, 1.0, 1.0, 0.0, 1.0]
    assert interval(scores) == interval(scores)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_right_or_all_wrong_still_has_an_interval(value):
    """Clopper-Pearson with 0 of 10: 1 - 0.025 ** (1 / 10)."""
    found = interval([value] * 10)
    assert found.high - found.low == pytest.approx(1 - 0.025 ** (1 / 10))


def test_the_interval_covers_the_truth_about_95_times_of_100():
    covered = 0
    for seed in range(200):
        found = interval(np.random.default_rng(seed).random(40) < 0.3)
        covered += found.low <= 0.3 <= found.high
    assert 0.9 <= covered / 200 <= 0.99


@pytest.mark.parametrize(
    ("gained", "lost", "p"), [(0, 0, 1.0), (5, 0, 2 / 32), (3, 3, 1.0), (1, 7, 2 * 9 / 256)]
)
def test_exact_mcnemar_by_hand(gained, lost, p):
    assert mcnemar(gained, lost) == pytest.approx(p)


def test_flips_are_counted_in_both_directions():
    found = compare([0, 0, 1, 1, 0], [1, 1, 0, 1, 0])
    assert (found.gained, found.lost, found.test) == (2, 1, "exact McNemar")
    assert found.difference.mean == pytest.approx(0.2)


def test_graded_scores_are_permuted():
    """All eight differences are equal: of 2 ** 8 sign patterns only two are as extreme."""
    found = compare([0.1] * 8, [0.4] * 8)
    assert found.test == "paired permutation"
    assert found.p_value == pytest.approx(2 / 2**8)


def test_no_difference_has_p_one():
    assert compare([0.5, 0.2], [0.5, 0.2]).p_value == 1.0


@pytest.mark.parametrize(
    ("scores", "complaint"),
    [([], "no score"), ([1.0, float("nan")], "1 of 2 scores are not finite")],
)
def test_scores_that_cannot_be_averaged_are_refused(scores, complaint):
    with pytest.raises(InputError, match=complaint):
        interval(scores)


def test_a_paired_test_needs_the_same_examples():
    with pytest.raises(InputError, match="2 scores against 1"):
        compare([0, 1], [1])


def test_the_share_explained_is_all_of_it_for_the_oracle_and_none_for_random():
    rng = np.random.default_rng(0)
    oracle, random = (rng.random(200) < 0.9).astype(float), (rng.random(200) < 0.4).astype(float)
    assert share_explained(oracle, random, oracle).mean == pytest.approx(1.0)
    assert share_explained(random, random, oracle).mean == pytest.approx(0.0)
    half = np.where(np.arange(200) % 2, oracle, random)
    found = share_explained(half, random, oracle)
    assert found.mean == pytest.approx(
        (half.mean() - random.mean()) / (oracle.mean() - random.mean())
    )
    assert 0 < found.low < found.mean < found.high < 1


def test_there_is_no_share_of_no_gain():
    scores = (np.random.default_rng(0).random(50) < 0.5).astype(float)
    assert np.isnan(share_explained(scores, scores, scores).mean)


def test_a_share_needs_the_same_examples():
    with pytest.raises(InputError, match="3, 2, 3 scores"):
        share_explained([1, 0, 1], [1, 0], [1, 1, 1])


def graded(n, seed=0):
    return np.random.default_rng(seed).choice([0.0, 0.3, 0.6, 0.9, 1.0], n)


@pytest.mark.parametrize("n", [10, 100, 300])
@pytest.mark.parametrize("at_once", [300, 4_000])
def test_numbers_are_those_of_all_resamples_at_once(monkeypatch, n, at_once):
    """The draws go on where the batch before stopped, so stored p-values and intervals stay."""
    monkeypatch.setattr("entropy_grounding.metrics.statistics._AT_ONCE", at_once * n)
    scores, change = graded(n), graded(n, 1) - graded(n, 2)
    whole = {"n_resamples": RESAMPLES, "rng": 0}
    low, high = stats.bootstrap((scores,), np.mean, method="BCa", **whole).confidence_interval
    p_value = stats.permutation_test(
        (change[change != 0],), np.sum, permutation_type="samples", vectorized=True, **whole
    ).pvalue

    found = interval(scores)
    assert (found.low, found.high, permutation(change)) == (low, high, p_value)


def test_examples_without_a_difference_do_not_change_the_p_value():
    """Of 8 equal differences, 2 of 256 patterns of signs are as far from 0."""
    change = np.array([0.3] * 8)
    assert permutation(np.concatenate([change, np.zeros(292)])) == permutation(change)
    assert permutation(np.concatenate([np.zeros(292), change])) == pytest.approx(2 / 2**8)
    assert permutation(np.array([0.0, 0.4, 0.0])) == 1.0


@pytest.mark.parametrize(
    ("statistic", "n"),
    [
        (lambda n: interval(graded(n)), 12_578),
        (lambda n: permutation(graded(n) - graded(n, 1)), 2_801),
        (lambda n: share_explained(graded(n), 0.5 * graded(n), np.maximum(graded(n), 0.9)), 5_349),
    ],
    ids=["interval of GQA", "permutation of InfographicVQA", "share of DocVQA"],
)
def test_whole_benchmarks_need_less_than_200_megabytes(statistic, n):
    tracemalloc.start()
    statistic(n)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6
