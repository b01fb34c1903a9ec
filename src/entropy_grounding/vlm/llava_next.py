"""LLaVA-1.6 (LLaVA-NeXT): a base tile of the whole image, then an any-resolution canvas without its padding, a newline after each row."""

import math
from typing import Any

import numpy as np
from torch import Tensor
from transformers.image_processing_utils import select_best_resolution

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box, View
from entropy_grounding.vlm.llava import LlavaFamily


class LlavaNextFamily(LlavaFamily):
    """Adapter of ``LlavaNextForConditionalGeneration``; grounding on the canvas (default) or the base tile."""

    architecture = "LlavaNextForConditionalGeneration"
    view_names = ("canvas", "base")

    def views(
        self, config: Any, processor: Any, inputs: dict[str, Tensor], size: tuple[int, int]
    ) -> dict[str, View]:
        """Return the canvas of the tiles and the base tile, which shows the whole image squashed to a square."""
        vision = config.vision_config
        side = vision.image_size // vision.patch_size
        base = View(
            0,
            np.arange(side * side).reshape(side, side),
            Box(0.0, 0.0, float(size[0]), float(size[1])),
        )
        canvas = select_best_resolution((size[1], size[0]), config.image_grid_pinpoints)
        return {"canvas": _canvas(size, canvas, vision.patch_size, side * side), "base": base}

    def picture(
        self,
        config: Any,
        processor: Any,
        inputs: dict[str, Tensor],
        pixels: Tensor,
        size: tuple[int, int],
    ) -> Tensor:
        """Return the canvas of the tiles as far as its rows and columns of tokens are kept."""
        side, patch = config.vision_config.image_size, config.vision_config.patch_size
        height, width = select_best_resolution((size[1], size[0]), config.image_grid_pinpoints)
        tiles = pixels[0, 1 : 1 + height * width // side**2].reshape(
            height // side, width // side, -1, side, side
        )
        canvas = tiles.permute(2, 0, 3, 1, 4).reshape(-1, height, width)
        rows, cols = _kept(height // patch, width // patch, size)
        return canvas[
            :, rows.start * patch : rows.stop * patch, cols.start * patch : cols.stop * patch
        ]


def _canvas(size: tuple[int, int], canvas: tuple[int, int], patch: int, first: int) -> View:
    """Return the token grid of the canvas: newline tokens belong to no cell, cells reach into padding at the borders.

    Args:
        size: (width, height) of the picture.
        canvas: (height, width) in pixels of the best resolution.
        patch: side of a token in pixels of the canvas.
        first: index of the canvas' first token.
    """
    width, height = size
    rows, cols = _kept(canvas[0] // patch, canvas[1] // patch, size)
    if not rows or not cols:
        raise InputError(
            f"The picture of {width} x {height} pixels leaves no row of visual tokens "
            f"on a canvas of {canvas[1]} x {canvas[0]}: crop its longer side."
        )
    scale = min(canvas[1] / width, canvas[0] / height)
    drawn_width = (
        canvas[1] if scale == canvas[1] / width else min(math.ceil(width * scale), canvas[1])
    )
    drawn_height = (
        canvas[0] if scale == canvas[0] / height else min(math.ceil(height * scale), canvas[0])
    )
    left, top = (canvas[1] - drawn_width) // 2, (canvas[0] - drawn_height) // 2
    x0, x1 = ((patch * col - left) * width / drawn_width for col in (cols.start, cols.stop))
    y0, y1 = ((patch * row - top) * height / drawn_height for row in (rows.start, rows.stop))
    indices = first + np.arange(len(rows))[:, None] * (len(cols) + 1) + np.arange(len(cols))
    return View(0, indices, Box(x0, y0, x1, y1))


def _kept(rows: int, cols: int, size: tuple[int, int]) -> tuple[range, range]:
    """Return the rows and columns of the canvas' token grid that the model keeps (its own unpadding rule)."""
    width, height = size
    if width / height > cols / rows:
        cut = (rows - int(round(height * (cols / width), 7))) // 2
        return range(cut, rows - cut), range(cols)
    cut = (cols - int(round(width * (rows / height), 7))) // 2
    return range(rows), range(cut, cols - cut)
