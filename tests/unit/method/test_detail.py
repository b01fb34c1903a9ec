"""Where a picture has detail, and pixels pooled to token grids: pure functions."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from entropy_grounding.method.detail import has_detail, pooled


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 6), st.integers(1, 5))
def test_pooling_keeps_the_total(seed, rows, cols, side):
    """Cells cover equally many pixels, so the means times their number are the sum."""
    energy = np.random.default_rng(seed).exponential(size=(rows * side, cols * side))
    np.testing.assert_allclose(pooled(energy, (rows, cols)).sum() * side**2, energy.sum())


def test_a_pixel_counts_in_the_cell_that_covers_it():
    energy = np.zeros((8, 12))
    energy[5, 7] = 16.0
    expected = np.zeros((2, 3))
    expected[1, 1] = 1.0  # 16 pixels of 4 x 4
    np.testing.assert_array_equal(pooled(energy, (2, 3)), expected)


def test_an_even_picture_has_no_detail():
    assert not has_detail(torch.full((3, 16, 16), 0.5), 3).any()


def test_detail_lies_where_the_picture_changes():
    pixels = torch.zeros(3, 32, 32)
    checks = torch.arange(8)[:, None] + torch.arange(8)
    pixels[:, 12:20, 12:20] = (checks % 2).float()
    found = has_detail(pixels, 3)
    assert found[13:19, 13:19].all()
    assert not found[:8].any()
    assert not found[24:].any()


def test_a_wider_median_filter_drops_a_speck():
    pixels = torch.zeros(3, 32, 32)
    pixels[:, 16, 16] = 1.0
    assert has_detail(pixels, 1).any()
    assert not has_detail(pixels, 7).any()
