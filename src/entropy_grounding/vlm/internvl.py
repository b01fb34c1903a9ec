"""InternVL-3.5: tiles on a canvas of the image's shape, then a thumbnail.

Each tile is pixel-shuffled to a square token grid.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

from entropy_grounding.core.geometry import Box, View
from entropy_grounding.vlm.family import Family


class InternVLFamily(Family):
    """Adapter of ``InternVLForConditionalGeneration``.

    It grounds on the canvas of tiles (default) or on the thumbnail.
    """

    architecture = "InternVLForConditionalGeneration"
    image_processors = ("GotOcr2ImageProcessor",)
    view_names = ("canvas", "thumbnail")

    def views(
        self, config: Any, processor: Any, inputs: dict[str, Tensor], size: tuple[int, int]
    ) -> dict[str, View]:
        """Return the canvas of all tiles and, behind more than one tile, the thumbnail.

        Both squash the image to their shape.
        """
        tiles = len(inputs["pixel_values"])
        side = round(processor.image_seq_length**0.5)  # of a tile, in tokens
        cols, rows = self._tiling(processor.image_processor, size) if tiles > 1 else (1, 1)
        box = Box(0.0, 0.0, float(size[0]), float(size[1]))

        views = {"canvas": View(0, joined_tokens(rows, cols, side), box)}
        if tiles > rows * cols:
            thumbnail = joined_tokens(1, 1, side) + rows * cols * side * side
            views["thumbnail"] = View(0, thumbnail, box)
        return views

    def picture(
        self,
        config: Any,
        processor: Any,
        inputs: dict[str, Tensor],
        pixels: Tensor,
        size: tuple[int, int],
    ) -> Tensor:
        """Return the canvas of all tiles, without the thumbnail."""
        several = len(pixels) > 1
        cols, rows = self._tiling(processor.image_processor, size) if several else (1, 1)
        return joined_pixels(pixels, rows, cols)

    def input_side(self, config: Any, processor: Any) -> int:
        """Return the side of a tile in pixels."""
        return int(processor.image_processor.size["height"])

    def pack(self, config: Any, tokens: list[Tensor]) -> BaseModelOutputWithPooling:
        """Return the tokens of all pictures in one tensor, as the model expects."""
        return BaseModelOutputWithPooling(pooler_output=torch.cat(tokens))

    @staticmethod
    def _tiling(image_processor: Any, size: tuple[int, int]) -> tuple[int, int]:
        """Return how many columns and rows of tiles a picture has."""
        tile = image_processor.size
        return get_optimal_tiled_canvas(
            (size[1], size[0]),
            (tile["height"], tile["width"]),
            image_processor.min_patches,
            image_processor.max_patches,
        )


def joined_tokens(rows: int, cols: int, side: int) -> np.ndarray:
    """Return the token indices of a canvas of tiles ``(rows x side, cols x side)``.

    Tokens come tile by tile; the canvas needs them row by row.

    Args:
        rows: of tiles.
        cols: of tiles.
        side: of a tile, in tokens.
    """
    tokens = np.arange(rows * cols * side * side).reshape(rows, cols, side, side)
    return tokens.transpose(0, 2, 1, 3).reshape(rows * side, cols * side)


def joined_pixels(pixels: Tensor, rows: int, cols: int) -> Tensor:
    """Return a canvas ``(channels, height, width)`` of the first of these tiles."""
    channels, height, width = pixels.shape[1:]
    tiles = pixels[: rows * cols].reshape(rows, cols, channels, height, width)
    return tiles.permute(2, 0, 3, 1, 4).reshape(channels, rows * height, cols * width)
