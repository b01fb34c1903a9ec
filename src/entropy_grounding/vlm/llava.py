"""LLaVA-1.5: one square token grid per picture (24 x 24 at 336 pixels).

The original pads a picture to a square, its port on the hub cuts a square from the centre.
"""

from typing import Any

import numpy as np
from torch import Tensor

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box, View
from entropy_grounding.vlm.family import Family


class LlavaFamily(Family):
    """Adapter of ``LlavaForConditionalGeneration``."""

    architecture = "LlavaForConditionalGeneration"
    image_processors: tuple[str, ...] = ("CLIPImageProcessor", "LlavaImageProcessor")

    def prepare(self, config: Any, processor: Any) -> None:
        """Refuse tokens that belong to no patch; complete the processor of an older checkpoint."""
        if config.vision_feature_select_strategy != "default":
            raise InputError(
                f"vision_feature_select_strategy is '{config.vision_feature_select_strategy}': "
                "LLaVA is supported with 'default' (patch tokens only)."
            )
        complete_processor(config, processor)

    def views(
        self, config: Any, processor: Any, inputs: dict[str, Tensor], size: tuple[int, int]
    ) -> dict[str, View]:
        """Return the one token grid, over the padded square or what the centre crop keeps."""
        side = config.vision_config.image_size // config.vision_config.patch_size
        tokens = np.arange(side * side).reshape(side, side)
        return {"image": View(0, tokens, _visible(processor.image_processor, size))}

    def picture(
        self,
        config: Any,
        processor: Any,
        inputs: dict[str, Tensor],
        pixels: Tensor,
        size: tuple[int, int],
    ) -> Tensor:
        """Return the one square."""
        return pixels[0]


def complete_processor(config: Any, processor: Any) -> None:
    """Tell the processor of an older checkpoint the patch size and token counts of its model."""
    if processor.patch_size is not None:
        return

    processor.patch_size = config.vision_config.patch_size
    processor.vision_feature_select_strategy = config.vision_feature_select_strategy
    processor.num_additional_image_tokens = 1  # the class token of CLIP, which "default" leaves out


def _visible(image_processor: Any, size: tuple[int, int]) -> Box:
    """Return the part of a picture that the model sees, in pixels.

    It reaches outside the picture if the processor pads.
    """
    width, height = size
    if getattr(image_processor, "do_pad", False):
        side = max(width, height)
        left, top = (side - width) // 2, (side - height) // 2
        return Box(float(-left), float(-top), float(side - left), float(side - top))

    if not image_processor.do_center_crop:
        return Box(0.0, 0.0, float(width), float(height))

    # The shorter side is scaled to ``short`` pixels; then a square is cut from the centre.
    short = image_processor.size["shortest_edge"]
    scale = min(width, height) / short
    crop = image_processor.crop_size["height"] * scale
    left, top = (width - crop) / 2, (height - crop) / 2
    return Box(left, top, left + crop, top + crop)
