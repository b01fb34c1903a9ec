import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropy_grounding.core.geometry import Box
from entropy_grounding.core.records import Region, ZoomStep
from entropy_grounding.method.stopping import (
    RULES,
    Decision,
    StoppingOptions,
    decide,
    spatial_entropy,
)


def peaks(*heights, size=20):
    """A map of isolated single-cell peaks on zero ground."""
    values = np.zeros((size, size))
    for index, height in enumerate(heights):
        values[3 * (index // 5) + 1, 3 * (index % 5) + 1] = height
    return values


def test_one_peak_has_no_spatial_entropy():
    assert spatial_entropy(peaks(5), 0.0) == 0.0


@given(st.integers(0, 1000))
def test_one_component_has_no_spatial_entropy_whatever_the_rounding(seed):
    values = np.zeros((8, 8))
    values[2:5, 3:6] = np.random.default_rng(seed).uniform(2, 3, (3, 3))
    assert spatial_entropy(values, 0.0) == 0.0


@pytest.mark.parametrize("count", [2, 3, 4])
def test_equal_peaks_have_log_of_their_number(count):
    assert spatial_entropy(peaks(*[1.0] * count), 0.0) == pytest.approx(math.log(count))


def test_unequal_peaks_by_hand():
    """B = S - 2 mean at the peaks; mean = 4/400 = 0.01, so masses are 2.98 and 0.98 of 3.96."""
    shares = [2.98 / 3.96, 0.98 / 3.96]
    assert spatial_entropy(peaks(3, 1), 0.0) == pytest.approx(-sum(p * math.log(p) for p in shares))


def test_shares_are_not_renormalised_over_the_kept_components():
    """With the threshold between the peaks only the first counts, still as a share of all mass."""
    share = 2.98 / 3.96
    assert spatial_entropy(peaks(3, 1), 2.0) == pytest.approx(-share * math.log(share))


def test_no_component_gives_zero_and_no_mass_gives_infinity():
    assert spatial_entropy(peaks(3, 1), 100.0) == 0.0
    assert spatial_entropy(np.ones((4, 4)), 0.0) == math.inf
    assert spatial_entropy(np.zeros((4, 4)), 0.0) == math.inf


@pytest.mark.parametrize(("connectivity", "expected"), [(8, 0.0), (4, math.log(2))])
def test_connectivity_is_explicit(connectivity, expected):
    values = np.zeros((20, 20))
    values[4, 4] = values[5, 5] = 1.0
    assert spatial_entropy(values, 0.0, connectivity=connectivity) == pytest.approx(expected)


@given(st.floats(0.01, 1000))
def test_spatial_entropy_is_scale_free(scale):
    values = peaks(3, 1, 2)
    assert spatial_entropy(values * scale, 0.1 * scale) == pytest.approx(
        spatial_entropy(values, 0.1)
    )


def step(spatial=1.0, probability=0.5, regions=1, side=100.0):
    found = tuple(Region(Box(0, 0, side, side / 2), 1.0, 0, (0, 0, 1, 1)) for _ in range(regions))
    return ZoomStep((), (), found, 1.0, 1.0, probability, spatial, 64)


def test_spatial_entropy_rule_rolls_back_when_it_rises():
    steps = [step(1.0), step(0.8), step(0.9)]
    assert decide(steps[:2], StoppingOptions()) is None
    assert decide(steps, StoppingOptions()) == Decision("entropy_rose", 1)
    assert decide(steps, StoppingOptions(rollback=False)) == Decision("entropy_rose", 2)


def test_spatial_entropy_rule_ends_at_zero():
    assert decide([step(0.0)], StoppingOptions()) == Decision("concentrated", 0)


def test_fixed_rule_counts_rounds():
    options = StoppingOptions(rule="fixed", rounds=2)
    assert decide([step()], options) is None
    assert decide([step(), step()], options) == Decision("rounds", 1)


def test_probability_rule_returns_to_the_surest_crops():
    """Round t is asked with the crops of round t - 1.

    0.6 -> 0.9 -> 0.7 is best with the crops proposed in round 0: 0.9.
    """
    options = StoppingOptions(rule="probability")
    steps = [step(probability=p) for p in (0.6, 0.9, 0.7)]
    assert decide(steps[:2], options) is None
    assert decide(steps, options) == Decision("probability_fell", 0)


def test_resolution_rule_looks_at_the_longest_side():
    assert decide(
        [step(side=300.0)], StoppingOptions(rule="resolution", min_pixels=336)
    ) == Decision("resolution", 0)
    assert decide([step(side=400.0)], StoppingOptions(rule="resolution", min_pixels=336)) is None


def test_a_map_without_regions_means_the_plain_answer():
    assert decide([step(regions=0)], StoppingOptions()) == Decision("empty_map", None)


def test_regions_that_vanish_later_keep_the_last_crops():
    assert decide([step(), step(regions=0)], StoppingOptions()) == Decision("no_region", 0)


@pytest.mark.parametrize("rule", RULES)
@given(st.data())
def test_every_rule_ends_at_the_cap(rule, data):
    options = StoppingOptions(rule=rule, rounds=99, max_rounds=5, min_pixels=1)
    steps = []
    while True:
        steps.append(
            step(
                data.draw(st.floats(0, 3)), data.draw(st.floats(0, 1)), data.draw(st.integers(0, 2))
            )
        )
        decision = decide(steps, options)
        if decision is not None:
            break
    assert len(steps) <= 5
    assert decision.use is None or 0 <= decision.use < len(steps)
