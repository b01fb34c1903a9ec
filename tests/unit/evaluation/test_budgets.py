"""Thresholds of the cascade, chosen on traces."""

import json

import numpy as np
import pytest

from entropy_grounding.evaluation.budgets import BUDGETS, choose_limits, read_traces, replay
from entropy_grounding.method.budget import Limits

PLAIN, ZOOMED, TRIED = range(3)
# Stage, entropy, passes, score, covered.
SURE = [[PLAIN, 0.1, 1, 1, 0], [ZOOMED, 0.5, 4, 0, 0], [TRIED, 0.6, 5, 0, 0]]
ZOOM = [[PLAIN, 2.0, 1, 0, 0], [ZOOMED, 0.3, 4, 1, 1], [TRIED, 0.4, 5, 0, 0.5]]
LAST = [[PLAIN, 2, 1, 0, 0], [ZOOMED, 1.5, 4, 0, 0], [TRIED, 1, 5, 0, 0], [TRIED, 0.2, 6, 1, 1]]
LONG = [[PLAIN, 2, 1, 0, 0], [ZOOMED, 1, 4, 0, 0], [ZOOMED, 0.1, 7, 1, 1], [TRIED, 0.5, 8, 0, 0]]
NEVER = -1.0


def of(*rows):
    return read_traces([json.dumps(row) for row in rows])


@pytest.mark.parametrize(
    ("limits", "score", "passes"),
    [
        ((0.5, 0.5, 0.5, 16), [1, 1, 1], [1, 4, 6]),
        ((np.inf, 0.5, 0.5, 16), [1, 0, 0], [1, 1, 1]),
        ((NEVER, NEVER, NEVER, 0), [1, 1, 0], [4, 4, 4]),
        ((NEVER, NEVER, NEVER, 1), [1, 1, 0], [5, 5, 5]),
        ((NEVER, NEVER, 1.0, 16), [1, 1, 0], [5, 5, 5]),
        ((NEVER, NEVER, NEVER, 16), [1, 1, 1], [5, 5, 6]),
    ],
)
def test_a_replay_ends_at_the_first_answer_that_stands(limits, score, passes):
    found = replay(of(SURE, ZOOM, LAST), Limits(0, 0, *limits, rounds=15))
    assert (list(found.score), list(found.passes)) == (score, passes)


def test_of_equal_entropies_the_earlier_answer_is_given():
    row = [[PLAIN, 0.5, 1, 1, 0], [ZOOMED, 0.5, 4, 0, 0]]
    assert list(replay(of(row), Limits(0, 0, NEVER, NEVER, NEVER, 0, 15)).score) == [1.0]


@pytest.mark.parametrize(("rounds", "score", "passes"), [(1, 0, 5), (2, 1, 8), (15, 1, 8)])
def test_rounds_that_are_not_made_cost_nothing(rounds, score, passes):
    found = replay(of(LONG), Limits(0, 0, NEVER, NEVER, NEVER, 16, rounds))
    assert (found.score[0], found.passes[0]) == (score, passes)


def test_the_evidence_is_covered_by_the_crops_of_the_answer():
    found = replay(of(SURE, ZOOM, LAST), Limits(0, 0, NEVER, NEVER, NEVER, 16, 15))
    assert list(found.covered) == [0, 1, 1]


def test_evidence_that_is_not_known_is_undefined():
    row = [[PLAIN, 0.5, 1, 1, None]]
    assert np.isnan(replay(of(row), Limits(0, 0, NEVER, NEVER, NEVER, 0, 15)).covered[0])


def test_each_budget_is_kept_and_costs_more_only_for_a_higher_score():
    chosen = choose_limits(of(*[SURE] * 6, *[ZOOM] * 3, LAST))
    assert [each.score for each in chosen] == sorted({each.score for each in chosen})
    assert all(each.passes <= max(BUDGETS) for each in chosen)
    assert chosen[-1].score == 1.0
    assert chosen[0].passes == 1.0


def test_the_stored_values_are_those_of_a_replay():
    traces = of(*[SURE] * 6, *[ZOOM] * 3, LAST)
    for limits in choose_limits(traces):
        found = replay(traces, limits)
        assert limits.score == round(found.score.mean(), 4)
        assert limits.passes == round(found.passes.mean(), 3)
