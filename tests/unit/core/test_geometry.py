import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from entropy_grounding.core.geometry import Box, View
from entropy_grounding.core.images import cut

FRACTION = st.floats(0, 1)


def test_iou_by_hand():
    assert Box(0, 0, 2, 2).iou(Box(1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert Box(0, 0, 1, 1).iou(Box(1, 0, 2, 1)) == 0.0


def test_boxes_are_half_open():
    box = Box(0, 0, 2, 2)
    assert box.contains(0, 0)
    assert not box.contains(2, 1)


@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.floats(-50, 50),
    st.floats(-50, 50),
    st.floats(1, 300),
    st.floats(1, 300),
)
def test_cells_tile_the_box_of_a_view(rows, cols, x, y, width, height):
    view = View(0, np.arange(rows * cols).reshape(rows, cols), Box(x, y, x + width, y + height))
    boxes = [view.cell_box((r, c, r + 1, c + 1)) for r in range(rows) for c in range(cols)]
    assert sum(box.area for box in boxes) == pytest.approx(view.box.area)
    assert view.cell_box((0, 0, rows, cols)).xyxy() == pytest.approx(view.box.xyxy())
    for row in range(rows):
        for col in range(1, cols):
            assert boxes[row * cols + col].x0 == pytest.approx(boxes[row * cols + col - 1].x1)


@given(
    st.lists(st.tuples(FRACTION, FRACTION, FRACTION, FRACTION), min_size=1, max_size=4),
    st.integers(8, 400),
    st.integers(8, 400),
)
def test_boxes_survive_a_round_trip_through_nested_crops(fractions, width, height):
    """Every pixel carries its own coordinates.

    A crop of a crop must show the coordinates that its box in the original names.
    """
    y, x = np.mgrid[0:height, 0:width]
    image = Image.fromarray(
        np.stack([x % 256, y % 256, (x // 256) * 16 + y // 256], -1).astype(np.uint8)
    )
    place = Box(0, 0, width, height)
    for left, top, right, bottom in fractions:
        x0, x1 = sorted((place.x0 + left * place.width, place.x0 + right * place.width))
        y0, y1 = sorted((place.y0 + top * place.height, place.y0 + bottom * place.height))
        crop, place = cut(
            image, Box(min(x0, width - 1), min(y0, height - 1), max(x1, x0 + 1), max(y1, y0 + 1))
        )
        pixels = np.asarray(crop).astype(int)
        found_x = pixels[..., 0] + 256 * (pixels[..., 2] // 16)
        found_y = pixels[..., 1] + 256 * (pixels[..., 2] % 16)
        assert (found_x[0, 0], found_y[0, 0]) == (place.x0, place.y0)
        assert (found_x[-1, -1], found_y[-1, -1]) == (place.x1 - 1, place.y1 - 1)


@pytest.mark.parametrize(
    ("shown", "rows"),
    [
        (Box(0, 5, 40, 35), [True, True, True, True]),  # half of the outer rows
        (Box(0, 6, 40, 34), [False, True, True, False]),
        (Box(0, 18, 40, 22), [False, True, True, False]),  # thinner than a row, on a border of two
        (Box(0, 19, 40, 26), [False, False, True, False]),
    ],
)
def test_cells_inside_show_the_picture_rather_than_its_padding(shown, rows):
    view = View(0, np.arange(16).reshape(4, 4), Box(0, 0, 40, 40), shown)
    assert view.cells_inside().tolist() == [[row] * 4 for row in rows]
