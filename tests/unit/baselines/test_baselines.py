"""ViCrop's window search, candidate crops and control crops: pure functions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropy_grounding.baselines import METHODS
from entropy_grounding.baselines.controls import budget_boxes, center_box, lowest_boxes, oracle_box
from entropy_grounding.baselines.vicrop import RATIOS, search_window
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box, View
from entropy_grounding.core.records import RelevanceMap
from entropy_grounding.method.budget import BudgetOptions
from entropy_grounding.method.candidates import candidate_boxes
from entropy_grounding.method.options import CROPS, GroundingOptions


def test_every_name_has_one_method():
    assert set(CROPS) == {"found", "anytime", *METHODS}


def by_hand(values, size, window):
    """Search as ViCrop does, loop by loop (arXiv 2502.17422, constants as released)."""
    rows, cols = values.shape
    cell = size[0] / cols, size[1] / rows
    results = []
    for ratio in RATIOS:
        n = (
            min(max(int(window * ratio / cell[0]), 1), cols),
            min(max(int(window * ratio / cell[1]), 1), rows),
        )
        if n == (cols, rows):
            break
        sums = {
            (x, y): values[y : y + n[1], x : x + n[0]].sum()
            for x in range(cols - n[0] + 1)
            for y in range(rows - n[1] + 1)
        }
        x, y = max(sums, key=sums.get)
        beside = [sums[p] for p in ((x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)) if p in sums]
        center = (x + n[0] / 2) * cell[0], (y + n[1] / 2) * cell[1]
        results.append(((sums[x, y] - np.mean(beside)) / (n[0] * n[1]), center, window * ratio))
    if not results:
        return 0, 0, *size
    _, center, side = max(results, key=lambda result: result[0])
    low = [
        min(max(c - side / 2, 0), max(limit - side, 0))
        for c, limit in zip(center, size, strict=True)
    ]
    return *low, *(min(a + side, limit) for a, limit in zip(low, size, strict=True))


@given(st.integers(0, 10_000), st.integers(3, 14), st.integers(3, 14), st.integers(20, 200))
def test_the_window_follows_the_description(seed, rows, cols, window):
    values = np.random.default_rng(seed).exponential(size=(rows, cols))
    size = (cols * 25, rows * 30)
    np.testing.assert_allclose(
        search_window(values, size, window), by_hand(values, size, window), atol=1e-6
    )


def test_the_window_is_a_square_of_its_ratio_around_a_peak():
    values = np.zeros((24, 24))
    values[10, 5] = 1.0
    x0, y0, x1, y1 = search_window(values, (2400, 2400), 336)
    assert x1 - x0 == pytest.approx(y1 - y0)
    assert (x1 - x0) / 336 in [pytest.approx(ratio) for ratio in RATIOS]
    assert x0 <= 550 <= x1
    assert y0 <= 1050 <= y1


def test_the_window_stays_inside_the_image():
    values = np.zeros((8, 8))
    values[0, 7] = 1.0
    x0, y0, x1, y1 = search_window(values, (800, 800), 250)
    assert (y0, x1) == (0, 800)
    assert x0 >= 0
    assert y1 <= 800


def test_a_window_that_covers_the_map_is_the_whole_image():
    assert search_window(np.random.default_rng(0).random((24, 24)), (300, 200), 336) == (
        0,
        0,
        300,
        200,
    )


def test_a_window_smaller_than_a_cell_is_one_cell():
    values = np.zeros((4, 4))
    values[2, 1] = 1.0
    x0, y0, x1, y1 = search_window(values, (400, 400), 10)
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == (150, 250)


def test_a_window_below_one_pixel_is_refused():
    with pytest.raises(InputError, match="window is 0"):
        search_window(np.ones((4, 4)), (400, 400), 0)


@pytest.mark.parametrize("count", [8, 16, 32])
@pytest.mark.parametrize("size", [(256, 256), (640, 480), (100, 900)])
def test_candidates_cover_the_image(size, count):
    boxes = candidate_boxes(size, count)
    assert len(boxes) == len(set(boxes)) == count
    covered = np.zeros(size[::-1], bool)
    for box in boxes:
        assert Box(0, 0, *size).intersection(box) == box
        covered[round(box.y0) : round(box.y1), round(box.x0) : round(box.x1)] = True
    assert covered.all()


def map_of(values, box=None):
    rows, cols = values.shape
    view = View(
        0, np.arange(values.size).reshape(values.shape), box or Box(0, 0, cols * 10.0, rows * 10.0)
    )
    return RelevanceMap(view, values, values, np.ones(values.shape, bool))


def test_the_lowest_box_lies_where_no_relevance_is():
    values = np.ones((10, 10))
    values[6:8, 2:4] = 0.0
    (box,) = lowest_boxes(map_of(values), [Box(50, 50, 65, 65)], (100, 100))
    assert (box.width, box.height) == (15, 15)
    assert Box(20, 60, 40, 80).intersection(box) == box


def test_two_lowest_boxes_are_apart_where_there_is_room():
    first, second = lowest_boxes(
        map_of(np.random.default_rng(0).random((10, 10))), [Box(0, 0, 20, 20)] * 2, (100, 100)
    )
    assert first.iou(second) < 0.5


def test_a_lowest_box_as_large_as_the_image_is_the_image():
    assert (
        lowest_boxes(map_of(np.ones((4, 4))), [Box(0, 0, 40, 40)] * 2, (40, 40))
        == [Box(0, 0, 40, 40)] * 2
    )


def test_a_center_box_keeps_its_sides():
    assert center_box(Box(0, 0, 20, 10), (100, 60)) == Box(40, 25, 60, 35)


def test_the_oracle_at_a_budget_has_as_many_crops():
    evidence = [Box(20, 20, 30, 30), Box(100, 100, 110, 110)]
    for count in range(5):
        assert len(budget_boxes(evidence, count, (256, 256))) == count
    assert budget_boxes(evidence[:1], 2, (256, 256)) == [
        oracle_box(evidence[0], (256, 256)),
        oracle_box(evidence[0], (256, 256), 6.0),
    ]
    (hull,) = budget_boxes(evidence, 1, (256, 256))
    assert all(hull.intersection(box) == box for box in evidence)
    assert budget_boxes([], 2, (256, 256)) == []


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"signal": "pixels"}, "Unknown signal 'pixels'"),
        ({"crops": "somewhere"}, "Unknown crops 'somewhere'"),
        ({"layers": "last"}, "Unknown layers 'last': use one of mean, chosen"),
        ({"candidates": 0}, "candidates is 0"),
        ({"mask": "edges"}, "Unknown mask 'edges': use one of default, detail, none"),
        (
            {"signal": "pixel_gradient", "crop_scale": 0.5},
            "method.crop_scale is 0.5: pixel gradients and detail masks read .* use 1",
        ),
        (
            {"mask": "detail", "crop_scale": 0.5},
            "method.crop_scale is 0.5: pixel gradients and detail masks read .* use 1",
        ),
        (
            {"crops": "window", "budget": BudgetOptions(tries=4)},
            "its tries for method.crops=search: method.crops is 'window'",
        ),
        (
            {"crops": "search", "budget": BudgetOptions(seconds=3.0)},
            "method.budget.seconds is 3.0: a search has only tries",
        ),
        (
            {"crops": "search", "budget": BudgetOptions(tries=0)},
            "method.budget.tries is 0: a search tries at least 1",
        ),
    ],
)
def test_bad_options_are_refused(options, complaint):
    with pytest.raises(InputError, match=complaint):
        GroundingOptions(**options)
