"""LLaVA-OneVision: the base tile and the canvas of LLaVA-1.6, of tiles that SigLIP sees.

Patches do not fill a tile: 27 of 14 pixels leave 6 of its 384. A canvas of very many tokens is
shrunk to what nine tiles have.
"""

import math
from typing import Any

import numpy as np
from torch import Tensor
from transformers.image_processing_utils import select_best_resolution

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box, View
from entropy_grounding.vlm.llava_next import LlavaNextFamily, drawn, kept, lines

_SHRUNK_FROM = 1.1  # the model's own tolerance, of a side, above its number of tiles


class LlavaOnevisionFamily(LlavaNextFamily):
    """Adapter of ``LlavaOnevisionForConditionalGeneration``.

    It grounds on the canvas of tiles (default) or on the base tile. A prompt of several pictures
    keeps the tiles of each.
    """

    architecture = "LlavaOnevisionForConditionalGeneration"
    image_processors = ("LlavaOnevisionImageProcessor",)

    def prepare(self, config: Any, processor: Any) -> None:
        """Refuse a tower with a class token, and a processor that counts other tokens."""
        if config.vision_feature_select_strategy != "full":
            raise InputError(
                f"vision_feature_select_strategy is '{config.vision_feature_select_strategy}': "
                "LLaVA-OneVision is supported with 'full' (its tower has no class token)."
            )
        if processor.vision_aspect_ratio != config.vision_aspect_ratio:
            raise InputError(
                f"vision_aspect_ratio is '{config.vision_aspect_ratio}' in config.json and "
                f"'{processor.vision_aspect_ratio}' in processor_config.json: use the files that "
                "came with these weights."
            )

    def views(
        self, config: Any, processor: Any, inputs: dict[str, Tensor], size: tuple[int, int]
    ) -> dict[str, View]:
        """Return the canvas of the tiles, and the base tile: the image squashed to a square."""
        tile, patch = config.vision_config.image_size, config.vision_config.patch_size
        side = tile // patch
        seen = side * patch / tile  # of a tile, from its left and its top edge
        base = np.arange(side * side).reshape(side, side)

        return {
            "canvas": _canvas(config, size, base.size),
            "base": View(0, base, Box(0.0, 0.0, seen * size[0], seen * size[1])),
        }

    def picture(
        self,
        config: Any,
        processor: Any,
        inputs: dict[str, Tensor],
        pixels: Tensor,
        size: tuple[int, int],
    ) -> Tensor:
        """Return the patches of the canvas side by side, as far as they are kept."""
        tile, patch = config.vision_config.image_size, config.vision_config.patch_size
        canvas = select_best_resolution((size[1], size[0]), config.image_grid_pinpoints)
        rows, cols = canvas[0] // tile, canvas[1] // tile  # of tiles
        side = tile // patch * patch  # the pixels behind the last patch of a tile are not seen

        tiles = pixels[0, 1 : 1 + rows * cols, :, :side, :side].unflatten(0, (rows, cols))
        joined = tiles.permute(2, 0, 3, 1, 4).reshape(-1, rows * side, cols * side)
        down, across = kept(rows * side // patch, cols * side // patch, size, canvas)
        return joined[
            :, down.start * patch : down.stop * patch, across.start * patch : across.stop * patch
        ]


def _canvas(config: Any, size: tuple[int, int], first: int) -> View:
    """Return the token grid of the canvas, whose cells are equal also across the seams of tiles.

    Args:
        config: the configuration of the model.
        size: (width, height) of the picture.
        first: index of the canvas' first token.
    """
    tile, patch = config.vision_config.image_size, config.vision_config.patch_size
    side = tile // patch
    canvas = select_best_resolution((size[1], size[0]), config.image_grid_pinpoints)
    down, across = kept(canvas[0] // tile * side, canvas[1] // tile * side, size, canvas)
    left, top, drawn_width, drawn_height = drawn(size, canvas)

    x0, x1 = _edges(across, tile, patch)
    y0, y1 = _edges(down, tile, patch)
    right, bottom = size[0] / drawn_width, size[1] / drawn_height  # a pixel of the canvas
    box = Box((x0 - left) * right, (y0 - top) * bottom, (x1 - left) * right, (y1 - top) * bottom)

    rows, cols = _shrunk(config, len(down), len(across), side)
    return View(0, lines(first, rows, cols), box)


def _edges(patches: range, tile: int, patch: int) -> tuple[int, int]:
    """Return where the first patch begins on the canvas and where the last ends, in pixels."""
    side = tile // patch  # of a tile, in patches
    first, last = patches.start, patches.stop - 1
    start = first // side * tile + first % side * patch
    return start, last // side * tile + (last % side + 1) * patch


def _shrunk(config: Any, rows: int, cols: int, side: int) -> tuple[int, int]:
    """Return the rows and columns that are left where a canvas has too many tokens."""
    tiles = int(config.vision_aspect_ratio.removeprefix("anyres_max_"))
    ratio = math.sqrt(rows * cols / (tiles * side**2))
    return (int(rows // ratio), int(cols // ratio)) if ratio > _SHRUNK_FROM else (rows, cols)
