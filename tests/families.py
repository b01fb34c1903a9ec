"""Untrained models of every family, small enough to differentiate in milliseconds, with the geometry of the real ones."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    GotOcr2ImageProcessorPil,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaImageProcessorPil,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Config,
    Qwen2VLImageProcessorPil,
    Qwen3Config,
)

from entropy_grounding.tiny.build import build_llava
from entropy_grounding.vlm import FAMILIES, VLM, load_vlm
from entropy_grounding.vlm.processor import without_video

WIDTH = 32
VISION = {"hidden_size": WIDTH, "intermediate_size": 64, "num_attention_heads": 4}


def tokenizer(**special):
    words = ["<pad>", "<unk>", "<s>", "</s>", "\n", "what", "is", "it", "?", "USER", "ASSISTANT", ":", *special.values()]
    built = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    built.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Punctuation("isolated")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=built, pad_token="<pad>", unk_token="<unk>", eos_token="</s>", padding_side="left", extra_special_tokens=special
    )


def template(image):
    return (
        "{% for m in messages %}USER: {% for c in m['content'] %}{% if c['type'] == 'image' %}" + image + "\n"
        "{% else %}{{ c['text'] }} {% endif %}{% endfor %}{% endfor %}ASSISTANT:"
    )


def text(tokens):
    return {
        "vocab_size": len(tokens),
        "hidden_size": WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
    }


def llava(side=None, patch=7):
    """The tiny one without its weights, or the same class in another geometry."""
    if side is None:
        return build_llava(width=WIDTH, vision_layers=2, text_layers=2)
    tokens = tokenizer(image_token="<image>")
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION, num_hidden_layers=2, image_size=side, patch_size=patch),
        text_config=LlamaConfig(**text(tokens)),
        image_token_index=tokens.image_token_id,
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    processor = LlavaProcessor(
        image_processor=LlavaImageProcessorPil(do_pad=True, size={"height": side, "width": side}, do_center_crop=False),
        tokenizer=tokens,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template("<image>"),
    )
    return LlavaForConditionalGeneration(config), processor


def llava_next(side=56, patch=14, pinpoints=((56, 112), (112, 56), (112, 112))):
    tokens = tokenizer(image_token="<image>")
    pinpoints = [list(each) for each in pinpoints]
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**VISION, num_hidden_layers=2, image_size=side, patch_size=patch),
        text_config=LlamaConfig(**text(tokens)),
        image_token_index=tokens.image_token_id,
        image_grid_pinpoints=pinpoints,
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    pictures = LlavaNextImageProcessorPil(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}, image_grid_pinpoints=pinpoints
    )
    processor = LlavaNextProcessor(
        image_processor=pictures,
        tokenizer=tokens,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template("<image>"),
    )
    return LlavaNextForConditionalGeneration(config), processor


def internvl(side=56, patch=7, tiles=6, language=Qwen2Config):
    tokens = tokenizer(start_image_token="<img>", end_image_token="</img>", context_image_token="<IMG_CONTEXT>", video_token="<video>")
    length = (side // patch // 2) ** 2
    config = InternVLConfig(
        vision_config=InternVLVisionConfig(**VISION, num_hidden_layers=2, image_size=[side, side], patch_size=[patch, patch]),
        text_config=language(**text(tokens)),
        image_token_id=tokens.context_image_token_id,
        image_seq_length=length,
        downsample_ratio=0.5,
        tie_word_embeddings=True,
    )
    pictures = GotOcr2ImageProcessorPil(size={"height": side, "width": side}, min_patches=1, max_patches=tiles, crop_to_patches=True)
    processor = without_video(InternVLProcessor)(
        image_processor=pictures, tokenizer=tokens, image_seq_length=length, chat_template=template("<IMG_CONTEXT>")
    )
    return InternVLForConditionalGeneration(config), processor


def qwen2_5_vl(patch=4, merge=2, least=16, most=400):
    tokens = tokenizer(image_token="<|image_pad|>", video_token="<|video_pad|>", start_token="<|vision_start|>", end_token="<|vision_end|>")
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 64,
        "num_heads": 4,
        "depth": 3,
        "patch_size": patch,
        "spatial_merge_size": merge,
        "temporal_patch_size": 2,
        "window_size": 4 * patch * merge,
        "fullatt_block_indexes": [2],
        "out_hidden_size": WIDTH,
    }
    rope = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10_000.0}
    config = Qwen2_5_VLConfig(
        vision_config=vision,
        text_config={**text(tokens), "rope_parameters": rope},
        image_token_id=tokens.image_token_id,
        video_token_id=tokens.video_token_id,
        vision_start_token_id=tokens.start_token_id,
        vision_end_token_id=tokens.end_token_id,
        tie_word_embeddings=True,
    )
    cell = (patch * merge) ** 2
    pictures = Qwen2VLImageProcessorPil(
        patch_size=patch,
        merge_size=merge,
        temporal_patch_size=2,
        size={"shortest_edge": least * cell, "longest_edge": most * cell},
    )
    processor = without_video(Qwen2_5_VLProcessor)(
        image_processor=pictures, tokenizer=tokens, chat_template=template("<|vision_start|><|image_pad|><|vision_end|>")
    )
    return Qwen2_5_VLForConditionalGeneration(config), processor


def committed(family):
    vlm = load_vlm(f"tiny_{family}")
    return vlm.model, vlm.processor


@dataclass(frozen=True)
class Case:
    """A family in one geometry, asked about a picture of one size (width, height)."""

    name: str
    build: Callable
    options: dict
    size: tuple[int, int]

    def vlm(self, grounding="default"):
        torch.manual_seed(0)
        model, processor = self.build(**self.options)
        return VLM(model.eval(), processor, FAMILIES[type(model).__name__], self.name, grounding)

    def image(self):
        width, height = self.size
        return Image.fromarray(np.random.default_rng(1).integers(0, 255, (height, width, 3), dtype=np.uint8))


GEOMETRIES = {
    "llava": (llava, [{}, {"side": 42}], [(200, 120), (60, 150), (300, 40), (96, 96)]),
    "llava_next": (
        llava_next,
        [{}, {"side": 42, "pinpoints": ((42, 126), (126, 42), (84, 84))}],
        [(200, 120), (60, 150), (300, 40), (64, 64)],
    ),
    "internvl": (
        internvl,
        [{}, {"side": 28, "tiles": 12, "language": Qwen3Config}, {"tiles": 1}],
        [(200, 120), (60, 150), (300, 40), (64, 64)],
    ),
    "qwen2_5_vl": (qwen2_5_vl, [{}, {"least": 4, "most": 64}], [(200, 120), (60, 150), (300, 40), (64, 64)]),
}
UNTRAINED = [
    Case(f"{name}-{number}-{size[0]}x{size[1]}", build, options, size)
    for name, (build, variants, sizes) in GEOMETRIES.items()
    for number, options in enumerate(variants)
    for size in sizes
]
TRAINED = tuple(GEOMETRIES)
TINY = [
    Case(f"tiny_{name}-{width}x{height}", committed, {"family": name}, (width, height))
    for name in TRAINED
    for width, height in ((200, 120), (60, 150))
]
CASES = UNTRAINED + TINY
