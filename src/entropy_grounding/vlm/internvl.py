"""InternVL-3.5: tiles on a canvas of the image's shape, each pixel-shuffled to a square token grid, and a thumbnail behind them."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

from entropy_grounding.core.geometry import Box, View
from entropy_grounding.vlm.family import Family


class InternVLFamily(Family):
    """Adapter of ``InternVLForConditionalGeneration``; grounding on the tile canvas (default) or the thumbnail."""

    architecture = "InternVLForConditionalGeneration"
    view_names = ("canvas", "thumbnail")

    def views(
        self, config: Any, processor: Any, inputs: dict[str, Tensor], size: tuple[int, int]
    ) -> dict[str, View]:
        """Return the canvas of all tiles in true row-major order and, behind more than one tile, the thumbnail; both squash the image."""
        tiles = len(inputs["pixel_values"])
        side = round(processor.image_seq_length**0.5)
        cols, rows = self._tiling(processor.image_processor, size) if tiles > 1 else (1, 1)
        tokens = np.arange(rows * cols * side * side).reshape(rows, cols, side, side)
        box = Box(0.0, 0.0, float(size[0]), float(size[1]))
        found = {
            "canvas": View(0, tokens.transpose(0, 2, 1, 3).reshape(rows * side, cols * side), box)
        }
        if tiles > rows * cols:
            found["thumbnail"] = View(
                0, tokens.size + np.arange(side * side).reshape(side, side), box
            )
        return found

    def picture(
        self,
        config: Any,
        processor: Any,
        inputs: dict[str, Tensor],
        pixels: Tensor,
        size: tuple[int, int],
    ) -> Tensor:
        """Return the canvas of all tiles, without the thumbnail."""
        cols, rows = self._tiling(processor.image_processor, size) if len(pixels) > 1 else (1, 1)
        tiles, (channels, height, width) = pixels[: rows * cols], pixels.shape[1:]
        return (
            tiles.reshape(rows, cols, channels, height, width)
            .permute(2, 0, 3, 1, 4)
            .reshape(channels, rows * height, cols * width)
        )

    def input_side(self, config: Any, processor: Any) -> int:
        """Return the side of a tile."""
        return int(processor.image_processor.size["height"])

    def pack(self, tokens: list[Tensor]) -> Tensor:
        """Return one tensor, as the model expects."""
        return torch.cat(tokens)

    @staticmethod
    def _tiling(image_processor: Any, size: tuple[int, int]) -> tuple[int, int]:
        tile = image_processor.size
        return get_optimal_tiled_canvas(
            (size[1], size[0]),
            (tile["height"], tile["width"]),
            image_processor.min_patches,
            image_processor.max_patches,
        )
