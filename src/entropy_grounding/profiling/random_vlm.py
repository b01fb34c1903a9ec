"""Models with random weights that have the sizes of real ones.

The cost of a pass depends on the sizes of a model, not on the values of its weights.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import PreTrainedConfig, Qwen3Config

from entropy_grounding.tiny.architectures import RECIPES
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.registry import FAMILIES


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a model.

    Attributes:
        family: a family of `RECIPES`. Class, processor and chat template are those of its tiny VLM.
        text: settings of the language model that differ from those of the tiny VLM.
        vision: settings of the vision tower that differ from those of the tiny VLM.
        options: options of the recipe: sides of tiles and patches in pixels, and the budgets of
            tiles or tokens.
    """

    family: str
    text: dict[str, Any]
    vision: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)


def _text(
    hidden: int, intermediate: int, layers: int, heads: int, key_value_heads: int, vocabulary: int
) -> dict[str, Any]:
    """Return the settings of a language model."""
    return {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
        "head_dim": hidden // heads,
        "vocab_size": vocabulary,
        "max_position_embeddings": 32_768,
    }


_CLIP = {"image_size": 336, "patch_size": 14}
# CLIP-L and InternViT-300M
_LARGE = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
}
_QWEN_VISION = {
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "depth": 32,
    "out_hidden_size": 3584,
    "fullatt_block_indexes": [7, 15, 23, 31],
}
_QWEN_ROPE = {
    "rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6}
}
_336 = {"tile": 336, "patch": 14}

MID_SIZE = Shape(
    "llava",
    _text(512, 1376, 12, 8, 8, 32_000),
    {
        **_CLIP,
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
    },
    _336,
)
# The paper's checkpoints, by their names in conf/vlm. Sizes come from the published configurations.
SHAPES = {
    "llava_1_5_7b": Shape(
        "llava", _text(4096, 11_008, 32, 32, 32, 32_064), {**_CLIP, **_LARGE}, _336
    ),
    "llava_1_6_mistral_7b": Shape(
        "llava_next", _text(4096, 14_336, 32, 32, 8, 32_064), {**_CLIP, **_LARGE}, _336
    ),
    "internvl3_5_8b": Shape(
        "internvl",
        _text(4096, 12_288, 36, 32, 8, 151_936),
        {**_LARGE, "image_size": [448, 448], "patch_size": [14, 14]},
        {"tile": 448, "patch": 14, "tiles": 12, "language": Qwen3Config},
    ),
    "qwen2_5_vl_7b": Shape(
        "qwen2_5_vl",
        {**_text(3584, 18_944, 28, 28, 4, 152_064), **_QWEN_ROPE},
        _QWEN_VISION,
        {"patch": 14, "least": 4, "most": 16_384},
    ),
}


def shaped(shape: Shape) -> tuple[PreTrainedConfig, Any, type]:
    """Return the configuration of a model of this shape, its processor, and its class."""
    tiny, processor = RECIPES[shape.family].build(**shape.options)
    described = tiny.config.to_dict()

    for name, sizes in (("text_config", shape.text), ("vision_config", shape.vision)):
        # It lists one type per layer of the tiny VLM; transformers fills it in for the new number.
        described[name].pop("layer_types", None)
        described[name].update(sizes)

    # Unlike the tiny VLMs, the released models have an output matrix of their own.
    for part in (described, described["text_config"]):
        part["tie_word_embeddings"] = False
    return type(tiny.config).from_dict(described), processor, type(tiny)


def random_vlm(shape: Shape, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> VLM:
    """Return a model of this shape with random weights, the same ones at every call.

    Its passes keep all activations: checkpointing is off.
    """
    config, processor, kind = shaped(shape)
    torch.manual_seed(0)

    # Weights are created in their final type and place: a 7B model in float32 would not fit.
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = kind(config).eval()
    finally:
        torch.set_default_dtype(usual)

    return VLM(model, processor, FAMILIES[kind.__name__], checkpointing="off")
