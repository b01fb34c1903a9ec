"""Localisation metrics: cases by hand, edge cases, and properties."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box, View
from entropy_grounding.core.records import RelevanceMap
from entropy_grounding.metrics.localization import (
    area_under,
    average_precision,
    best_iou,
    chance,
    deletion_curve,
    energy_in_box,
    enrichment,
    insertion_curve,
    overlap,
    pointing_game,
    recall_at_k,
    roc_auc,
    shares_on_targets,
    size_bin,
    union_area,
)

SIDES = st.integers(0, 12)
BOXES = st.lists(
    st.builds(
        lambda x, y, w, h: Box(float(x), float(y), float(x + w), float(y + h)),
        SIDES,
        SIDES,
        SIDES,
        SIDES,
    ),
    min_size=0,
    max_size=4,
)


def make_map(values, box=None, inside=None):
    values = np.asarray(values, dtype=float)
    view = View(
        0,
        np.arange(values.size).reshape(values.shape),
        box or Box(0.0, 0.0, 10.0 * values.shape[1], 10.0 * values.shape[0]),
    )
    return RelevanceMap(
        view, values, values, np.ones(values.shape, bool) if inside is None else inside
    )


def rasterised(boxes):
    canvas = np.zeros((24, 24), bool)
    for box in boxes:
        canvas[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)] = True
    return canvas


@given(BOXES)
def test_union_area_equals_a_count_of_pixels(boxes):
    assert union_area(boxes) == rasterised(boxes).sum()


@given(BOXES, BOXES)
def test_overlap_equals_a_count_of_pixels(boxes, targets):
    found, on = overlap(boxes, targets), rasterised(targets)
    if not on.any():
        assert all(math.isnan(each) for each in (found.iou, found.iogt, found.iop, found.covered))
        return
    proposed = rasterised(boxes)
    both = (proposed & on).sum()
    assert found.iou == pytest.approx(both / (proposed | on).sum())
    assert found.iogt == pytest.approx(both / on.sum())
    assert found.iop == pytest.approx(both / proposed.sum() if proposed.any() else 0.0)
    assert found.covered <= 1.0 + 1e-12


def test_the_whole_image_covers_everything_at_no_precision():
    found = overlap([Box(0, 0, 100, 100)], [Box(0, 0, 10, 10), Box(50, 50, 60, 60)])
    assert (found.iogt, found.covered) == (1.0, 1.0)
    assert found.iou == found.iop == pytest.approx(0.02)


def test_a_missed_second_target_shows_in_covered_alone():
    found = overlap([Box(0, 0, 10, 10)], [Box(0, 0, 10, 10), Box(50, 50, 51, 51)])
    assert found.iogt > 0.99
    assert found.covered == 0.0


def test_touching_edges_do_not_overlap():
    assert overlap([Box(0, 0, 10, 10)], [Box(10, 0, 20, 10)]).iou == 0.0


def test_the_best_box_alone_is_another_number_than_the_union():
    # 100 of 200 square pixels; with the second box, 100 of 300.
    boxes, targets = [Box(0, 0, 10, 10), Box(50, 50, 60, 60)], [Box(0, 0, 10, 20)]
    assert best_iou(boxes, targets) == pytest.approx(1 / 2)
    assert overlap(boxes, targets).iou == pytest.approx(1 / 3)

    # The first counts, not the one that fits best.
    assert best_iou(boxes[::-1], targets) == 0.0
    assert best_iou([], targets) == 0.0
    assert math.isnan(best_iou(boxes, []))
    assert math.isnan(best_iou(boxes, [Box(5, 5, 5, 5)]))


@given(BOXES, BOXES)
def test_the_best_box_overlaps_as_the_union_of_it_alone(boxes, targets):
    assert best_iou(boxes, targets) == pytest.approx(overlap(boxes[:1], targets).iou, nan_ok=True)


def test_recall_counts_targets_met_by_the_first_boxes():
    boxes = [Box(0, 0, 10, 10), Box(20, 0, 30, 10)]
    targets = [Box(0, 0, 10, 5), Box(20, 0, 30, 10)]  # IoU 0.5 with the first box, which is enough
    assert recall_at_k(boxes, targets, 1) == 0.5
    assert recall_at_k(boxes, targets, 2) == 1.0
    assert recall_at_k([], targets, 2) == 0.0
    assert math.isnan(recall_at_k(boxes, [], 2))
    with pytest.raises(InputError, match="k is 0"):
        recall_at_k(boxes, targets, 0)


@pytest.mark.parametrize(
    ("side", "expected"), [(7, "small"), (7.072, "medium"), (22.3, "medium"), (22.361, "large")]
)
def test_size_bins_of_textvqa(side, expected):
    assert size_bin([Box(0, 0, side, side)], (100, 100)) == expected


def test_a_target_covers_cells_by_fractions():
    shares = shares_on_targets(make_map(np.ones((2, 2))), [Box(5, 5, 15, 10), Box(5, 5, 15, 10)])
    assert shares.tolist() == [[0.25, 0.25], [0.0, 0.0]]


def test_energy_chance_and_enrichment_by_hand():
    """The upper left cell holds 6 of 9 units; the target covers half of it and nothing else."""
    found, target = make_map([[6, 1], [1, 1]]), [Box(0, 0, 5, 10)]
    assert energy_in_box(found, target) == pytest.approx(3 / 9)
    assert chance(found, target) == pytest.approx(0.5 / 4)
    assert enrichment(found, target) == pytest.approx(8 / 3)


def test_a_constant_map_is_at_chance_and_points_nowhere():
    found, target = make_map(np.ones((3, 4))), [Box(3, 3, 18, 12)]
    assert enrichment(found, target) == pytest.approx(1.0)
    assert roc_auc(found, target) == pytest.approx(0.5)
    assert average_precision(found, target) == pytest.approx(chance(found, target))
    assert math.isnan(pointing_game(found, target))


@pytest.mark.parametrize(("tolerance", "hit"), [(0.0, 0.0), (5.0, 0.0), (5.1, 1.0)])
def test_the_pointing_game_is_strict_about_its_tolerance(tolerance, hit):
    """The peak's center is (5, 5), five pixels left of the target."""
    assert pointing_game(make_map([[2, 1]]), [Box(10, 0, 20, 10)], tolerance=tolerance) == hit


def test_ties_share_the_hit_of_the_pointing_game():
    assert pointing_game(make_map([[2, 2, 1]]), [Box(0, 0, 10, 10)]) == 0.5


def test_padding_neither_counts_nor_is_pointed_at():
    inside = np.array([[False, True, True]])
    found = make_map([[9, 3, 1]], inside=inside)
    assert energy_in_box(found, [Box(10, 0, 20, 10)]) == 0.75
    assert pointing_game(found, [Box(10, 0, 20, 10)]) == 1.0
    assert chance(found, [Box(10, 0, 20, 10)]) == 0.5


def test_ranking_metrics_by_hand():
    """Ranked by value the cells are on, off, on, off: AUC 3 of 4 pairs, AP (1 + 2/3) / 2."""
    found, targets = make_map([[4, 3, 2, 1]]), [Box(0, 0, 10, 10), Box(20, 0, 30, 10)]
    assert roc_auc(found, targets) == 0.75
    assert average_precision(found, targets) == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize(
    "rule", [energy_in_box, chance, enrichment, pointing_game, roc_auc, average_precision]
)
def test_without_a_target_a_map_has_no_score(rule):
    assert math.isnan(rule(make_map([[2, 1]]), []))


def test_an_empty_map_has_no_energy():
    assert math.isnan(energy_in_box(make_map([[0, 0]]), [Box(0, 0, 10, 10)]))


@given(st.lists(st.floats(0.01, 100), min_size=4, max_size=4), st.floats(0.1, 10))
def test_scaling_a_map_changes_nothing(values, factor):
    plain, scaled = (make_map(np.reshape(values, (2, 2)) * f) for f in (1.0, factor))
    target = [Box(2, 3, 14, 9)]
    assert energy_in_box(plain, target) == pytest.approx(energy_in_box(scaled, target))
    assert energy_in_box(plain, target) <= 1.0


def test_deletion_and_insertion_of_a_score_that_one_token_carries():
    """Token 2 alone carries the score: deleted or inserted first, it decides at once."""
    order = [2, 0, 1, 3]

    def score(removed):
        return 0.0 if 2 in removed else 1.0

    assert deletion_curve(order, score, steps=4).tolist() == [1, 0, 0, 0, 0]
    assert insertion_curve(order, score, steps=4).tolist() == [0, 1, 1, 1, 1]
    assert area_under(np.array([1.0, 0, 0, 0, 0])) == pytest.approx(0.125)
