"""SmolVLM2: tiles on a canvas of the image's shape, then the whole image in one tile.

Text tokens name the row and the column of every tile, so its visual tokens are no single run.
Patches do not fill a tile: 27 of 14 pixels leave 6 of its 384.
"""

import re
from typing import Any

from torch import Tensor

from entropy_grounding.core.geometry import Box, View
from entropy_grounding.vlm.family import Family
from entropy_grounding.vlm.internvl import joined_pixels, joined_tokens


class SmolVLMFamily(Family):
    """Adapter of ``SmolVLMForConditionalGeneration``.

    It grounds on the canvas of tiles (default) or on the tile of the whole image. Every picture, so
    also a small crop, is enlarged to as many tiles as its shape allows.
    """

    architecture = "SmolVLMForConditionalGeneration"
    image_processors = ("SmolVLMImageProcessor",)
    view_names = ("canvas", "whole")
    line_end = "\n"

    def views(
        self, config: Any, processor: Any, inputs: dict[str, Tensor], size: tuple[int, int]
    ) -> dict[str, View]:
        """Return the canvas of all tiles and, behind more than one tile, the whole image.

        Both squash the image to their shape. Cells are equal also across the seams of tiles.
        """
        rows, cols = _tiling(processor, inputs)
        tile = config.vision_config.image_size
        seen = _seen(config)  # of a tile, from its left and its top edge
        side = seen // config.vision_config.patch_size // config.scale_factor  # in tokens

        right, bottom = size[0] / cols / tile, size[1] / rows / tile  # a pixel of a tile
        box = Box(0.0, 0.0, size[0] - (tile - seen) * right, size[1] - (tile - seen) * bottom)
        views = {"canvas": View(0, joined_tokens(rows, cols, side), box)}

        if inputs["pixel_values"].shape[1] > rows * cols:
            whole = joined_tokens(1, 1, side) + rows * cols * side * side
            share = seen / tile
            views["whole"] = View(0, whole, Box(0.0, 0.0, share * size[0], share * size[1]))
        return views

    def picture(
        self,
        config: Any,
        processor: Any,
        inputs: dict[str, Tensor],
        pixels: Tensor,
        size: tuple[int, int],
    ) -> Tensor:
        """Return the patches of the canvas side by side, without the whole image."""
        seen = _seen(config)
        return joined_pixels(pixels[0, :, :, :seen, :seen], *_tiling(processor, inputs))


def _seen(config: Any) -> int:
    """Return the side of the part of a tile that its patches cover, in pixels."""
    patch = config.vision_config.patch_size
    return int(config.vision_config.image_size // patch * patch)


def _tiling(processor: Any, inputs: dict[str, Tensor]) -> tuple[int, int]:
    """Return how many rows and columns of tiles a picture has, by the name of its last tile."""
    names = " ".join(processor.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0].tolist()))
    places = re.findall(r"<row_(\d+)_col_(\d+)>", names)
    rows, cols = places[-1] if places else (1, 1)
    return int(rows), int(cols)
