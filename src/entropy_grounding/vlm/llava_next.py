"""LLaVA-1.6 (LLaVA-NeXT): a base tile of the whole image, then a canvas of tiles of any resolution.

The canvas is shown without its padding, with a newline token after each row.
"""

import math
from typing import Any

import numpy as np
from torch import Tensor
from transformers.image_processing_utils import select_best_resolution

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box, View
from entropy_grounding.vlm.llava import LlavaFamily


class LlavaNextFamily(LlavaFamily):
    """Adapter of ``LlavaNextForConditionalGeneration``.

    It grounds on the canvas of tiles (default) or on the base tile.
    """

    architecture = "LlavaNextForConditionalGeneration"
    image_processors = ("LlavaNextImageProcessor",)
    view_names = ("canvas", "base")

    def views(
        self, config: Any, processor: Any, inputs: dict[str, Tensor], size: tuple[int, int]
    ) -> dict[str, View]:
        """Return the canvas of the tiles, and the base tile: the image squashed to a square."""
        vision = config.vision_config
        side = vision.image_size // vision.patch_size
        whole = Box(0.0, 0.0, float(size[0]), float(size[1]))
        base = View(0, np.arange(side * side).reshape(side, side), whole)

        canvas = select_best_resolution((size[1], size[0]), config.image_grid_pinpoints)
        first = side * side  # the tokens of the base tile come before those of the canvas
        return {"canvas": _canvas(size, canvas, vision.patch_size, first), "base": base}

    def picture(
        self,
        config: Any,
        processor: Any,
        inputs: dict[str, Tensor],
        pixels: Tensor,
        size: tuple[int, int],
    ) -> Tensor:
        """Return the canvas of the tiles, as far as its rows and columns of tokens are kept."""
        side, patch = config.vision_config.image_size, config.vision_config.patch_size
        height, width = select_best_resolution((size[1], size[0]), config.image_grid_pinpoints)
        rows, cols = height // side, width // side  # of tiles

        tiles = pixels[0, 1 : 1 + rows * cols].reshape(rows, cols, -1, side, side)
        canvas = tiles.permute(2, 0, 3, 1, 4).reshape(-1, height, width)
        down, across = kept(height // patch, width // patch, size, (height, width))
        return canvas[
            :, down.start * patch : down.stop * patch, across.start * patch : across.stop * patch
        ]


def _canvas(size: tuple[int, int], canvas: tuple[int, int], patch: int, first: int) -> View:
    """Return the token grid of the canvas.

    Newline tokens belong to no cell, and cells reach into padding at the borders.

    Args:
        size: (width, height) of the picture.
        canvas: (height, width) in pixels of the best resolution.
        patch: side of a token in pixels of the canvas.
        first: index of the canvas' first token.
    """
    width, height = size
    rows, cols = kept(canvas[0] // patch, canvas[1] // patch, size, canvas)
    left, top, drawn_width, drawn_height = drawn(size, canvas)

    x0 = (patch * cols.start - left) * width / drawn_width
    x1 = (patch * cols.stop - left) * width / drawn_width
    y0 = (patch * rows.start - top) * height / drawn_height
    y1 = (patch * rows.stop - top) * height / drawn_height

    return View(0, lines(first, len(rows), len(cols)), Box(x0, y0, x1, y1))


def drawn(size: tuple[int, int], canvas: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return where a picture is drawn on its canvas: (left, top, width, height) in pixels of it.

    It is drawn in the middle, at the largest scale that fits.

    Args:
        size: (width, height) of the picture.
        canvas: (height, width).
    """
    width, height = size
    scale = min(canvas[1] / width, canvas[0] / height)
    drawn_width, drawn_height = canvas[1], canvas[0]
    if scale != canvas[1] / width:
        drawn_width = min(math.ceil(width * scale), canvas[1])
    if scale != canvas[0] / height:
        drawn_height = min(math.ceil(height * scale), canvas[0])

    left, top = (canvas[1] - drawn_width) // 2, (canvas[0] - drawn_height) // 2
    return left, top, drawn_width, drawn_height


def lines(first: int, rows: int, cols: int) -> np.ndarray:
    """Return the token indices of a grid ``(rows, cols)`` with a newline token behind each row."""
    newline = 1
    starts = first + np.arange(rows) * (cols + newline)
    return starts[:, None] + np.arange(cols)


def kept(
    rows: int, cols: int, size: tuple[int, int], canvas: tuple[int, int]
) -> tuple[range, range]:
    """Return the rows and columns of the canvas that the model keeps, by its own unpadding rule.

    Args:
        rows: of tokens on the whole canvas.
        cols: of tokens on it.
        size: (width, height) of the picture.
        canvas: (height, width) in pixels, for the message.

    Raises:
        InputError: for a picture so thin that no row of tokens is left.
    """
    width, height = size
    down, across = range(rows), range(cols)
    if width / height > cols / rows:
        cut = (rows - int(round(height * (cols / width), 7))) // 2
        down = range(cut, rows - cut)
    else:
        cut = (cols - int(round(width * (rows / height), 7))) // 2
        across = range(cut, cols - cut)

    if not down or not across:
        raise InputError(
            f"The picture of {width} x {height} pixels leaves no row of visual tokens "
            f"on a canvas of {canvas[1]} x {canvas[0]}: crop its longer side."
        )
    return down, across
