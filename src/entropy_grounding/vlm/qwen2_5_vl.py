"""Qwen2.5-VL: one token grid of the image's own resolution, two by two patches a token; positions are three-dimensional (M-RoPE)."""

from typing import Any

import numpy as np
from torch import Tensor

from entropy_grounding.structures import Box, View
from entropy_grounding.vlm.base import Family


class QwenFamily(Family):
    """Adapter of ``Qwen2_5_VLForConditionalGeneration``.

    The model derives M-RoPE positions from the ids, ``image_grid_thw`` and ``mm_token_type_ids`` of the processor, all of which stay in the
    prompt, so they are right also when visual tokens are passed as embeddings.
    """

    architecture = "Qwen2_5_VLForConditionalGeneration"

    def views(self, config: Any, processor: Any, inputs: dict[str, Tensor], size: tuple[int, int]) -> dict[str, View]:
        """Return the one token grid, as the processor's metadata gives it."""
        _, rows, cols = (int(n) for n in inputs["image_grid_thw"][0])
        merge = processor.image_processor.merge_size
        rows, cols = rows // merge, cols // merge
        return {"image": View(0, np.arange(rows * cols).reshape(rows, cols), Box(0.0, 0.0, float(size[0]), float(size[1])))}
