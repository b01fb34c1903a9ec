import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from kneed import KneeLocator

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box, View
from entropy_grounding.core.records import RelevanceMap
from entropy_grounding.method.regions import (
    RegionOptions,
    elbow_threshold,
    find_regions,
    fit_box,
    propose_regions,
    smooth,
    threshold_value,
)

BLOBS = np.zeros((8, 8))
BLOBS[1:3, 1:3] = 1.0  # sum 4, peak 1
BLOBS[5, 6] = 3.0  # sum 3, peak 3


def distances_from_chord(ordered):
    """Perpendicular distance of every point from the chord, by the point-line formula."""
    last, span = len(ordered) - 1, ordered[-1] - ordered[0]
    points = [(index / last, (value - ordered[0]) / span) for index, value in enumerate(ordered)]
    return [abs(y - x) / 2**0.5 for x, y in points]


@given(
    arrays(
        np.float64,
        st.integers(3, 60),
        elements=st.floats(0, 100).map(lambda v: round(v, 3)),
        unique=True,
    )
)
def test_elbow_is_the_farthest_point_from_the_chord(values):
    ordered = sorted(values.tolist())
    distances = distances_from_chord(ordered)
    assert distances[ordered.index(elbow_threshold(values))] == pytest.approx(
        max(distances), abs=1e-9
    )


def test_elbow_agrees_with_kneed_on_a_convex_curve():
    values = np.linspace(0, 1, 200) ** 6
    theirs = KneeLocator(np.arange(200), values, curve="convex", direction="increasing", S=0).knee
    assert elbow_threshold(values) == pytest.approx(values[theirs], abs=0.02)


def test_elbow_does_not_depend_on_scale_or_order():
    values = np.random.default_rng(0).exponential(size=50)
    assert elbow_threshold(values[::-1] * 7 + 3) == pytest.approx(elbow_threshold(values) * 7 + 3)


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_a_constant_map_has_no_region(value):
    assert find_regions(np.full((6, 6), value), sigma=1.0, threshold="elbow", connectivity=8) == []


def test_elbow_of_nothing_is_refused():
    with pytest.raises(InputError, match="empty map"):
        elbow_threshold(np.array([]))


def test_known_blobs_are_found_with_tight_half_open_cells():
    found = find_regions(BLOBS, sigma=0, threshold=0.5, connectivity=4)
    assert [region.cells for region in found] == [(1, 1, 3, 3), (5, 6, 6, 7)]


@pytest.mark.parametrize(("score", "best"), [("sum", 4.0), ("mean", 3.0), ("peak", 3.0)])
def test_score_ranks_regions(score, best):
    assert find_regions(BLOBS, sigma=0, threshold=0.5, connectivity=4, score=score)[0].score == best


def test_score_counts_unsmoothed_relevance():
    (region,) = find_regions(np.pad([[8.0]], 5), sigma=1.0, threshold=0.1, connectivity=4)
    assert region.score == 8.0
    assert region.cells[2] - region.cells[0] > 1


@pytest.mark.parametrize(("connectivity", "count"), [(4, 2), (8, 1)])
def test_diagonal_neighbours_join_only_under_eight_connectivity(connectivity, count):
    assert len(find_regions(np.eye(2), sigma=0, threshold=0.5, connectivity=connectivity)) == count


def test_threshold_is_strict():
    assert find_regions(BLOBS, sigma=0, threshold=3.0, connectivity=4) == []


@pytest.mark.parametrize(
    ("rule", "value"),
    [("max:0.25", 0.75), ("max", 1.5), ("quantile:0.5", 0.0), ("1.5", 1.5), (1.5, 1.5)],
)
def test_threshold_rules(rule, value):
    assert threshold_value(BLOBS, rule) == value


def test_otsu_separates_two_populations():
    assert 0.09 < threshold_value(np.array([0.0, 0.05, 0.1] * 10 + [0.9, 1.0] * 5), "otsu") < 0.9


@pytest.mark.parametrize("rule", ["elbows", "max:x", ""])
def test_unknown_threshold_is_refused(rule):
    with pytest.raises(InputError, match="Unknown threshold"):
        threshold_value(BLOBS, rule)


def test_unknown_connectivity_is_refused():
    with pytest.raises(InputError, match="4 or 8"):
        find_regions(BLOBS, sigma=0, threshold=0.5, connectivity=6)


def test_smoothing_is_the_same_blur_on_every_grid():
    """The paper's 1.5 cells of 24 are 2.56 on 41 x 61 cells.

    The authors' Qwen script uses 2.5 there.
    """
    options = RegionOptions()
    assert options.sigma_for((24, 24)) == 1.5
    assert options.sigma_for((8, 8)) == 0.5
    assert options.sigma_for((41, 61)) == pytest.approx(2.5, abs=0.1)


def test_smoothing_keeps_a_constant_map():
    np.testing.assert_allclose(smooth(np.full((5, 7), 2.0), 1.3), 2.0)


SIDES = st.integers(8, 600)
COORDINATES = st.floats(-300, 900)


@given(
    COORDINATES,
    COORDINATES,
    st.floats(0, 900),
    st.floats(0, 900),
    SIDES,
    SIDES,
    st.floats(1, 4),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from(["two_sided", "released"]),
)
def test_boxes_stay_inside_and_are_never_empty(
    x, y, width, height, image_width, image_height, aspect, margin, least, rule
):
    options = RegionOptions(max_aspect=aspect, margin=margin, min_side=least, aspect_rule=rule)
    box = fit_box(Box(x, y, x + width, y + height), (image_width, image_height), options)
    assert -1e-9 <= box.x0 <= box.x1 - 0.999
    assert -1e-9 <= box.y0 <= box.y1 - 0.999
    assert box.x1 <= image_width + 1e-9
    assert box.y1 <= image_height + 1e-9


@pytest.mark.parametrize(
    ("box", "sides"), [(Box(50, 0, 52, 60), (20, 60)), (Box(0, 50, 60, 52), (60, 20))]
)
def test_aspect_is_limited_on_both_sides(box, sides):
    fitted = fit_box(box, (100, 100), RegionOptions(max_aspect=3.0, min_side=0.0))
    assert (fitted.width, fitted.height) == pytest.approx(sides)


def test_released_aspect_rule_turns_tall_boxes_wide():
    """In the authors' code w/h < 1/3 becomes a 3:1 wide box (docs/deviations.md)."""
    fitted = fit_box(
        Box(200, 100, 210, 160), (400, 400), RegionOptions(aspect_rule="released", min_side=0.0)
    )
    assert (fitted.width, fitted.height) == (180, 60)


def test_minimum_side_and_margin():
    fitted = fit_box(Box(50, 50, 51, 51), (200, 100), RegionOptions(min_side=0.2))
    assert fitted == Box(40.5, 40.5, 60.5, 60.5)
    assert fit_box(Box(40, 40, 60, 60), (200, 100), RegionOptions(margin=0.5)) == Box(
        30, 30, 70, 70
    )


def make_map(values, box, image_index=0):
    values = np.asarray(values, dtype=float)
    view = View(image_index, np.arange(values.size).reshape(values.shape), box)
    return RelevanceMap(view, values, values, np.ones(values.shape, bool))


def test_components_of_all_views_compete():
    full = make_map(BLOBS, Box(0, 0, 80, 80))
    crop = make_map(BLOBS * 10, Box(40, 40, 80, 80), image_index=1)
    found = propose_regions([full, crop], (80, 80), RegionOptions(threshold=0.5, max_regions=3))
    assert [region.map_index for region in found] == [1, 1, 0]
    assert found[0].box == Box(45, 45, 55, 55)


def test_overlapping_worse_regions_can_be_dropped():
    full = make_map(BLOBS, Box(0, 0, 80, 80))
    found = propose_regions(
        [full, full], (80, 80), RegionOptions(threshold=0.5, max_regions=4, max_iou=0.5)
    )
    assert len(found) == 2


def test_cells_in_the_padding_never_become_regions():
    values = np.zeros((4, 4))
    values[0] = 9.0
    view = View(0, np.arange(16).reshape(4, 4), Box(0, -10, 40, 30), Box(0, 0, 40, 20))
    padded = RelevanceMap(view, values, values, view.cells_inside())
    assert propose_regions([padded], (40, 20), RegionOptions(threshold=0.5)) == ()


def test_the_smallest_crop_is_two_cells_of_the_reference_grid():
    fitted = fit_box(Box(100, 100, 101, 101), (480, 240), RegionOptions())
    assert fitted.width == fitted.height == pytest.approx(240 * 2 / 24, rel=1e-3)
