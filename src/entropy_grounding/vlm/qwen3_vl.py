"""Qwen3-VL: the token grid of Qwen2.5-VL, and visual tokens that enter at four decoder layers.

Features of three earlier layers of the vision tower (DeepStack) are added to the visual positions
behind the first decoder layers. A visual token is the row of all that enters: ``(1 + 3) x dim``.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

from entropy_grounding.vlm.family import joined
from entropy_grounding.vlm.qwen2_5_vl import QwenFamily


class Qwen3VLFamily(QwenFamily):
    """Adapter of ``Qwen3VLForConditionalGeneration``."""

    architecture = "Qwen3VLForConditionalGeneration"

    def collect(self, encoded: Any) -> Tensor:
        """Return the visual tokens ``(tokens, (1 + levels) x dim)``, the embeddings first."""
        levels = [encoded.pooler_output, *encoded.deepstack_features]
        return torch.cat([joined(level) for level in levels], dim=-1)

    def pack(self, config: Any, tokens: list[Tensor]) -> BaseModelOutputWithPooling:
        """Return embeddings and DeepStack features, each of them by picture."""
        count = 1 + len(config.vision_config.deepstack_visual_indexes)
        chunks = [part.chunk(count, dim=-1) for part in tokens]
        first, *levels = zip(*chunks, strict=True)

        by_picture: Any = list(first)  # the model takes a list, its annotation says a tensor
        deepstack: Any = [list(level) for level in levels]
        return BaseModelOutputWithDeepstackFeatures(
            pooler_output=by_picture, deepstack_features=deepstack
        )
