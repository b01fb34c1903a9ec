"""Qwen2.5-VL: one token grid of the image's own resolution, two by two patches per token.

Positions are three-dimensional (M-RoPE).
"""

from typing import Any

import numpy as np
from torch import Tensor

from entropy_grounding.core.geometry import Box, View
from entropy_grounding.vlm.family import Family


class QwenFamily(Family):
    """Adapter of ``Qwen2_5_VLForConditionalGeneration``.

    The model derives M-RoPE positions from the ids, ``image_grid_thw`` and ``mm_token_type_ids`` of
    the processor. All of them stay in the prompt, so positions are right also when visual tokens
    are passed as embeddings.
    """

    architecture = "Qwen2_5_VLForConditionalGeneration"
    image_processors = ("Qwen2VLImageProcessor",)
    line_end = "\n"

    def views(
        self, config: Any, processor: Any, inputs: dict[str, Tensor], size: tuple[int, int]
    ) -> dict[str, View]:
        """Return the one token grid, as the processor's metadata gives it."""
        _, rows, cols = (int(n) for n in inputs["image_grid_thw"][0])  # of patches
        merge = processor.image_processor.merge_size
        rows, cols = rows // merge, cols // merge

        tokens = np.arange(rows * cols).reshape(rows, cols)
        return {"image": View(0, tokens, Box(0.0, 0.0, float(size[0]), float(size[1])))}

    def picture(
        self,
        config: Any,
        processor: Any,
        inputs: dict[str, Tensor],
        pixels: Tensor,
        size: tuple[int, int],
    ) -> Tensor:
        """Return the patches side by side; the two equal frames of a still picture are averaged."""
        _, rows, cols = (int(n) for n in inputs["image_grid_thw"][0])
        images = processor.image_processor
        merge, patch = images.merge_size, images.patch_size
        frames = pixels.shape[1] // (3 * patch * patch)

        # Patches come in blocks of merge x merge, one block per token.
        blocks = pixels.reshape(
            rows // merge, cols // merge, merge, merge, 3, frames, patch, patch
        ).mean(5)
        return blocks.permute(4, 0, 2, 5, 1, 3, 6).reshape(3, rows * patch, cols * patch)

    def input_side(self, config: Any, processor: Any) -> int:
        """Return eight cells in pixels, 224 for the released models, which is ViCrop's choice."""
        images = processor.image_processor
        return 8 * images.patch_size * images.merge_size

    def positions(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        """Return the three-dimensional positions of a prompt.

        The model remembers them for the tokens that it generates next: it would number those after
        its last prompt.
        """
        positions, deltas = model.model.get_rope_index(**inputs)
        model.model.rope_deltas = deltas
        return positions
