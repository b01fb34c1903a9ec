"""Models with random weights that have the sizes of real ones.

The cost of a pass depends on the sizes of a model, not on the values of its weights. Its precision
depends on the scale of the weights too, so they are drawn such that hidden states keep the scale
that they have in a trained model.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, Qwen3Config

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
        whole: settings of the whole model that differ from those of the tiny VLM.
        images: attributes of the image processor that differ from those of the tiny VLM.
    """

    family: str
    text: dict[str, Any]
    vision: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    whole: dict[str, Any] = field(default_factory=dict)
    images: dict[str, Any] = field(default_factory=dict)


def _text(
    hidden: int,
    intermediate: int,
    layers: int,
    heads: int,
    key_value_heads: int,
    vocabulary: int,
    positions: int = 32_768,
    **others: Any,
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
        "max_position_embeddings": positions,
        **others,
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
    "tokens_per_second": 2,
}
_ROPE = {"rope_type": "default", "rope_theta": 1e6}
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
        "llava",
        _text(4096, 11_008, 32, 32, 32, 32_064, 4096, rms_norm_eps=1e-5),
        {**_CLIP, **_LARGE},
        _336,
        {"vision_feature_layer": -2},
    ),
    "llava_1_6_mistral_7b": Shape(
        "llava_next",
        _text(4096, 14_336, 32, 32, 8, 32_064, rms_norm_eps=1e-5, rope_parameters=_ROPE),
        {**_CLIP, **_LARGE},
        _336,
        {"vision_feature_layer": -2},
    ),
    "internvl3_5_8b": Shape(
        "internvl",
        _text(4096, 12_288, 36, 32, 8, 151_936, 40_960, rope_parameters=_ROPE),
        {**_LARGE, "image_size": [448, 448], "patch_size": [14, 14], "layer_scale_init_value": 0.1},
        {"tile": 448, "patch": 14, "tiles": 12, "language": Qwen3Config},
        images={"min_patches": 1},
    ),
    "qwen2_5_vl_7b": Shape(
        "qwen2_5_vl",
        _text(
            *(3584, 18_944, 28, 28, 4, 152_064, 128_000),
            rope_parameters={**_ROPE, "mrope_section": [16, 24, 24]},
        ),
        _QWEN_VISION,
        {"patch": 14, "least": 4, "most": 16_384},
    ),
}


def with_layers(shape: Shape, layers: int) -> Shape:
    """Return a shape with so many layers in the language model and in the vision tower.

    Widths, vocabulary and token geometry stay.
    """
    text = {**shape.text, "num_hidden_layers": layers}
    if "depth" not in shape.vision:
        return replace(shape, text=text, vision={**shape.vision, "num_hidden_layers": layers})

    # The last layer sees the whole picture, the ones before it see windows.
    vision = {**shape.vision, "depth": layers, "fullatt_block_indexes": [layers - 1]}
    return replace(shape, text=text, vision=vision)


def twin(shape: Shape, layers: int = 2) -> Shape:
    """Return a shape with few layers and narrow ones, which a CPU runs in seconds.

    Only the token geometry stays.
    """
    cut = with_layers(shape, layers)
    text = {
        **_text(64, 128, layers, 4, cut.text["num_key_value_heads"] // 8 or 1, 512),
        "max_position_embeddings": cut.text["max_position_embeddings"],
    }
    vision = {**cut.vision, "hidden_size": 32, "intermediate_size": 64}

    if "depth" in vision:
        vision |= {"num_heads": 2, "out_hidden_size": 64}
        # Of the 8 frequencies of a head.
        text["rope_parameters"] = {**_ROPE, "mrope_section": [2, 3, 3]}
    else:
        vision["num_attention_heads"] = 2
    return replace(cut, text=text, vision=vision)


def shaped(shape: Shape) -> tuple[PreTrainedConfig, Any, type]:
    """Return the configuration of a model of this shape, its processor, and its class."""
    tiny, processor = RECIPES[shape.family].build(**shape.options)
    described = {**tiny.config.to_dict(), **shape.whole}
    processor.tokenizer.model_max_length = shape.text["max_position_embeddings"]
    for name, value in shape.images.items():
        setattr(processor.image_processor, name, value)

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
            scale_weights(model)
    finally:
        torch.set_default_dtype(usual)

    # No token ends an answer: all answers have the same length, so that their times compare.
    model.generation_config.eos_token_id = None
    return VLM(model, processor, FAMILIES[kind.__name__], checkpointing="off")


# Names of the matrices that write into the residual stream, of language models and vision towers.
_WRITERS = ("o_proj", "out_proj", "projection_layer", "attn.proj", "down_proj", "fc2")
_LOGITS = 3.0  # standard deviation of the logits: an entropy of some nats below that of a constant
_SCORES = 2.0  # of attention scores: a position looks at a few per cent of the others


@torch.no_grad()
def scale_weights(model: PreTrainedModel) -> None:
    """Draw weights anew, so that hidden states neither explode nor vanish over the layers.

    A matrix keeps the scale of its input. What a layer adds to the residual stream is smaller with
    more layers, so that the stream grows by less than half over all of them. The scale of attention
    scores and logits is that of a model which is sure of little, but not of nothing.
    """
    depth = model.config.get_text_config().num_hidden_layers

    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight)
        elif isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
            fan_in = module.weight[0].numel()
            nn.init.normal_(module.weight, std=_gain(name, depth) / fan_in**0.5)
        elif name.endswith((".q_norm", ".k_norm")) and hasattr(module, "weight"):
            nn.init.constant_(module.weight, _SCORES**0.5)


def _gain(name: str, depth: int) -> float:
    """Return by how much a matrix of this name scales its input."""
    if name.endswith(_WRITERS):
        return (2 * depth) ** -0.5
    if name.endswith((".q_proj", ".k_proj")):
        return _SCORES**0.5
    return _LOGITS if name.endswith("lm_head") else 1.0
