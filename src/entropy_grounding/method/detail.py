"""Where a picture has detail, and values of pixels on its token grid (ViCrop, arXiv 2502.17422)."""

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor


def has_detail(
    pixels: Float[Tensor, "channels height width"], median: int
) -> Bool[np.ndarray, "height width"]:
    """Return which pixels of a picture lie where it has detail.

    Detail is the picture minus its 3 x 3 Gaussian blur, L2 over colors, through a median filter,
    above its own median.

    Args:
        pixels: of the picture.
        median: side of the median filter, in pixels.
    """
    colors = pixels.cpu().numpy()
    blurred = ndimage.gaussian_filter(colors, (0, 0.8, 0.8), truncate=1.25)  # 3 x 3
    detail = np.linalg.norm(colors - blurred, axis=0)
    detail = ndimage.median_filter(detail, median)

    return detail > np.median(detail)


def pooled(
    values: Float[np.ndarray, "height width"], shape: tuple[int, int]
) -> Float[np.ndarray, "rows cols"]:
    """Return the mean of each cell of a token grid; all cells cover the same number of pixels.

    Args:
        values: of pixels.
        shape: rows and columns of the token grid.
    """
    rows, cols = shape
    height, width = values.shape
    return values.reshape(rows, height // rows, cols, width // cols).mean((1, 3))
