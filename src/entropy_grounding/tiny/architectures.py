"""Untrained tiny VLMs and their processors, one recipe per family.

They use the real ``transformers`` classes, with a few million weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from transformers import (
    CLIPVisionConfig,
    GotOcr2ImageProcessorPil,
    Idefics3Processor,
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
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessorPil,
    LlavaOnevisionProcessor,
    LlavaProcessor,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Config,
    Qwen2VLImageProcessorPil,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    SiglipVisionConfig,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessorPil,
    SmolVLMVisionConfig,
)

from entropy_grounding.benchmarks.miniature.scenes import canvas_of
from entropy_grounding.tiny.tokenizer import build_tokenizer
from entropy_grounding.vlm.processors import without_video

HEADS = 4  # attention heads of both transformers
# Rows and columns of tiles that LLaVA-1.6 allows.
RELEASED_GRIDS = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))


def _template(
    user: str, assistant: str, generation: str, image: str, *, images_first: bool = False
) -> str:
    """Return a chat template in Jinja.

    ``TEXT`` in ``user`` and ``assistant`` marks the content of a turn. ``image`` is written for
    every picture, and ``generation`` in front of the answer. With ``images_first`` all pictures of
    a turn come before its text.
    """
    content = (
        "{% for c in m['content'] %}{% if c['type'] == 'image' %}IMAGE"
        "{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    )
    if images_first:
        content = (
            "{% for c in m['content'] if c['type'] == 'image' %}IMAGE{% endfor %}"
            "{% for c in m['content'] if c['type'] == 'text' %}{{ c['text'] }}{% endfor %}"
        )

    content = content.replace("IMAGE", "{{ '" + image + "' }}")
    return (
        "{% for m in messages %}{% if m['role'] == 'user' %}"
        + user.replace("TEXT", content)
        + "{% else %}"
        + assistant.replace("TEXT", content)
        + "{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}" + generation + "{% endif %}"
    )


# The published formats: LLaVA-1.5 (all images first, one per line), LLaVA-1.6 Mistral, and ChatML.
LLAVA_TEMPLATE = _template(
    "USER: TEXT ", "ASSISTANT: TEXT </s>", "ASSISTANT:", "<image>\\n", images_first=True
)
MISTRAL_TEMPLATE = _template("[INST] TEXT [/INST]", " TEXT </s>", "", "<image>\\n")
CHATML = (
    "{{ '<|im_start|>user\\n' }}TEXT{{ '<|im_end|>\\n' }}",
    "{{ '<|im_start|>assistant\\n' }}TEXT{{ '<|im_end|>\\n' }}",
)
CHATML_TOKENS = {
    "turn_start": "<|im_start|>",
    "turn_end": "<|im_end|>",
    "user_role": "user",
    "assistant_role": "assistant",
}
QWEN_TOKENS = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_start": "<|vision_start|>",
    "vision_end": "<|vision_end|>",
}
INTERNVL_TEMPLATE = _template(*CHATML, "{{ '<|im_start|>assistant\\n' }}", "<IMG_CONTEXT>\\n")
# All images first, then each text on a line of its own.
ONEVISION_TEMPLATE = _template(
    *CHATML, "{{ '<|im_start|>assistant\\n' }}", "<image>", images_first=True
).replace("{{ c['text'] }}", "{{ '\\n' + c['text'] }}")
SMOLVLM_TEMPLATE = "<|im_start|>" + _template(
    "{{ 'User:' }}TEXT{{ '<end_of_utterance>\\n' }}",
    "{{ 'Assistant: ' }}TEXT{{ '<end_of_utterance>\\n' }}",
    "{{ 'Assistant:' }}",
    "<image>",
)
QWEN_TEMPLATE = _template(
    *CHATML, "{{ '<|im_start|>assistant\\n' }}", "<|vision_start|><|image_pad|><|vision_end|>"
)


@dataclass(frozen=True, slots=True)
class Size:
    """Sizes of both transformers.

    The defaults are those of the tiny VLMs. They are the same in every family, so that weights can
    be copied from one family to another.
    """

    width: int = 128
    vision_layers: int = 4
    text_layers: int = 4
    key_value_heads: int = HEADS


TINY = Size()


def _text(tokenizer: PreTrainedTokenizerFast, size: Size) -> dict[str, Any]:
    """Return the keywords of a language model's configuration."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": size.width,
        "intermediate_size": 3 * size.width,
        "num_hidden_layers": size.text_layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": size.key_value_heads,
        "max_position_embeddings": 2048,
        # Input and output share one matrix, which halves the weights for the vocabulary.
        "tie_word_embeddings": True,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _clip(size: Size, tile: int, patch: int) -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=size.width,
        intermediate_size=3 * size.width,
        num_hidden_layers=size.vision_layers,
        num_attention_heads=HEADS,
        image_size=tile,
        patch_size=patch,
    )


def _finished(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Any:
    """Set the end and padding tokens of generation, and return the model."""
    assert model.generation_config is not None
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def build_llava(size: Size = TINY, *, tile: int = 64, patch: int = 8) -> tuple[Any, Any]:
    """Build a randomly initialised LLaVA of about 1.6 M weights, and its processor.

    Pictures are padded to a square of ``tile`` pixels. One patch of ``patch`` pixels is one visual
    token.
    """
    tokenizer = build_tokenizer({"image_token": "<image>"})

    config = LlavaConfig(
        vision_config=_clip(size, tile, patch),
        text_config=LlamaConfig(**_text(tokenizer, size)),
        image_token_index=tokenizer.image_token_id,
        vision_feature_layer=-1,  # the last layer; released LLaVA models take -2
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )

    processor = LlavaProcessor(
        image_processor=LlavaImageProcessorPil(
            do_pad=True, size={"height": tile, "width": tile}, do_center_crop=False
        ),
        tokenizer=tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # the class token, which "default" then leaves out
        chat_template=LLAVA_TEMPLATE,
    )

    return _finished(LlavaForConditionalGeneration(config), tokenizer), processor


def build_llava_next(
    size: Size = TINY,
    *,
    tile: int = 64,
    patch: int = 8,
    grids: Sequence[tuple[int, int]] = RELEASED_GRIDS,
) -> tuple[Any, Any]:
    """Build a randomly initialised LLaVA-NeXT and its processor.

    A picture becomes a base tile of 8 x 8 tokens and a canvas of up to 16 x 16 or 8 x 24 tokens. A
    newline token ends every row of the canvas. ``grids`` holds the (rows, columns) of tiles that a
    canvas may have.
    """
    tokenizer = build_tokenizer(
        {"image_token": "<image>", "start_token": "[INST]", "end_token": "[/INST]"}
    )

    # transformers wants (height, width) in pixels, not numbers of tiles.
    pinpoints = [[tile * rows, tile * cols] for rows, cols in grids]
    config = LlavaNextConfig(
        vision_config=_clip(size, tile, patch),
        text_config=MistralConfig(**_text(tokenizer, size), sliding_window=None),
        image_token_index=tokenizer.image_token_id,
        image_grid_pinpoints=pinpoints,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )

    processor = LlavaNextProcessor(
        image_processor=LlavaNextImageProcessorPil(
            size={"shortest_edge": tile},
            crop_size={"height": tile, "width": tile},
            image_grid_pinpoints=pinpoints,
        ),
        tokenizer=tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=MISTRAL_TEMPLATE,
    )

    return _finished(LlavaNextForConditionalGeneration(config), tokenizer), processor


def build_internvl(
    size: Size = TINY,
    *,
    tile: int = 64,
    patch: int = 8,
    tiles: int = 4,
    language: type[PreTrainedConfig] = Qwen2Config,
) -> tuple[Any, Any]:
    """Build a randomly initialised InternVL and its processor.

    A picture becomes two to four tiles and a thumbnail. Each of them has 8 x 8 patches, which the
    pixel shuffle turns into 4 x 4 tokens. There are at least two tiles, where ``tiles`` allows it:
    small crops are then enlarged. Otherwise a token of 16 pixels would hold two letters.
    """
    images = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    tokenizer = build_tokenizer({**images, **CHATML_TOKENS}, bos=None, eos="<|im_end|>")
    length = (tile // patch // 2) ** 2  # visual tokens per tile, after the pixel shuffle

    config = InternVLConfig(
        vision_config=InternVLVisionConfig(
            hidden_size=size.width,
            intermediate_size=3 * size.width,
            num_hidden_layers=size.vision_layers,
            num_attention_heads=HEADS,
            image_size=[tile, tile],
            patch_size=[patch, patch],
            # Biases, and layer scales of 1, as in CLIP: the tower can start from its weights.
            attention_bias=True,
            layer_scale_init_value=1.0,
        ),
        text_config=language(**_text(tokenizer, size)),
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=length,
        downsample_ratio=0.5,
        tie_word_embeddings=True,
    )

    processor = without_video(InternVLProcessor)(
        image_processor=GotOcr2ImageProcessorPil(
            size={"height": tile, "width": tile},
            min_patches=min(2, tiles),
            max_patches=tiles,
            crop_to_patches=True,
        ),
        tokenizer=tokenizer,
        image_seq_length=length,
        chat_template=INTERNVL_TEMPLATE,
    )

    return _finished(InternVLForConditionalGeneration(config), tokenizer), processor


def build_qwen2_5_vl(
    size: Size = TINY, *, patch: int = 4, merge: int = 2, least: int = 64, most: int = 64
) -> tuple[Any, Any]:
    """Build a randomly initialised Qwen2.5-VL and its processor.

    Patches of 4 pixels are merged two by two. A picture becomes about 64 tokens, in a grid with the
    picture's own aspect ratio. Positions are M-RoPE. ``least`` and ``most`` are numbers of tokens.
    """
    tokenizer = _qwen_tokenizer()
    vision = {
        **_qwen_vision(size, patch, merge),
        "window_size": 4 * patch * merge,
        # Every second layer sees the whole picture, the others see windows of 4 x 4 tokens.
        "fullatt_block_indexes": [layer for layer in range(size.vision_layers) if layer % 2],
    }

    config = Qwen2_5_VLConfig(**_qwen_config(tokenizer, size, vision))
    processor = without_video(Qwen2_5_VLProcessor)(
        image_processor=_qwen_images(patch, merge, least, most),
        tokenizer=tokenizer,
        chat_template=QWEN_TEMPLATE,
    )
    return _finished(Qwen2_5_VLForConditionalGeneration(config), tokenizer), processor


def build_qwen3_vl(
    size: Size = TINY, *, patch: int = 4, merge: int = 2, least: int = 64, most: int = 64
) -> tuple[Any, Any]:
    """Build a randomly initialised Qwen3-VL and its processor.

    Pictures become tokens as in `build_qwen2_5_vl`. Every layer of the vision tower but the last
    gives DeepStack features. ``least`` and ``most`` are numbers of tokens.
    """
    tokenizer = _qwen_tokenizer()
    vision = {
        **_qwen_vision(size, patch, merge),
        "num_position_embeddings": (merge * 8) ** 2,  # a grid of 8 x 8 tokens, interpolated
        "deepstack_visual_indexes": list(range(size.vision_layers - 1)),
    }

    config = Qwen3VLConfig(**_qwen_config(tokenizer, size, vision, head_dim=size.width // HEADS))
    processor = without_video(Qwen3VLProcessor)(
        image_processor=_qwen_images(patch, merge, least, most),
        tokenizer=tokenizer,
        chat_template=QWEN_TEMPLATE,
    )
    return _finished(Qwen3VLForConditionalGeneration(config), tokenizer), processor


def _qwen_tokenizer() -> Any:
    return build_tokenizer({**QWEN_TOKENS, **CHATML_TOKENS}, bos=None, eos="<|im_end|>")


def _qwen_vision(size: Size, patch: int, merge: int) -> dict[str, Any]:
    """Return what the vision towers of Qwen's families have in common."""
    return {
        "hidden_size": size.width,
        "intermediate_size": 2 * size.width,
        "num_heads": HEADS,
        "depth": size.vision_layers,
        "patch_size": patch,
        "spatial_merge_size": merge,
        "temporal_patch_size": 2,
        "out_hidden_size": size.width,
    }


def _qwen_config(tokenizer: Any, size: Size, vision: dict[str, Any], **text: Any) -> dict[str, Any]:
    """Return the keywords of a configuration; ``text`` are more of its language model."""
    rope = {"rope_type": "default", "mrope_section": _planes(size), "rope_theta": 1e4}
    return {
        "vision_config": vision,
        "text_config": {**_text(tokenizer, size), **text, "rope_parameters": rope},
        "image_token_id": tokenizer.image_token_id,
        "video_token_id": tokenizer.video_token_id,
        "vision_start_token_id": tokenizer.vision_start_id,
        "vision_end_token_id": tokenizer.vision_end_id,
        "tie_word_embeddings": True,
    }


def build_llava_onevision(
    size: Size = TINY,
    *,
    tile: int = 64,
    patch: int = 8,
    grids: Sequence[tuple[int, int]] = RELEASED_GRIDS,
    most: int = 9,
) -> tuple[Any, Any]:
    """Build a randomly initialised LLaVA-OneVision and its processor.

    Pictures become tiles as in `build_llava_next`. A canvas of more tokens than ``most`` tiles have
    is shrunk.
    """
    images = {"image_token": "<image>", "video_token": "<video>"}
    tokenizer = build_tokenizer({**images, **CHATML_TOKENS}, bos=None, eos="<|im_end|>")

    pinpoints = [[tile * rows, tile * cols] for rows, cols in grids]
    config = LlavaOnevisionConfig(
        vision_config=_siglip(size, tile, patch),
        text_config=Qwen2Config(**_text(tokenizer, size)),
        image_token_index=tokenizer.image_token_id,
        video_token_index=tokenizer.video_token_id,
        image_grid_pinpoints=pinpoints,
        vision_aspect_ratio=f"anyres_max_{most}",
        tie_word_embeddings=True,
    )

    processor = without_video(LlavaOnevisionProcessor)(
        image_processor=LlavaOnevisionImageProcessorPil(
            size={"height": tile, "width": tile}, image_grid_pinpoints=pinpoints
        ),
        tokenizer=tokenizer,
        num_image_tokens=(tile // patch) ** 2,
        vision_feature_select_strategy="full",
        vision_aspect_ratio=f"anyres_max_{most}",
        chat_template=ONEVISION_TEMPLATE,
    )

    return _finished(LlavaOnevisionForConditionalGeneration(config), tokenizer), processor


def _siglip(size: Size, tile: int, patch: int) -> SiglipVisionConfig:
    return SiglipVisionConfig(
        hidden_size=size.width,
        intermediate_size=3 * size.width,
        num_hidden_layers=size.vision_layers,
        num_attention_heads=HEADS,
        image_size=tile,
        patch_size=patch,
        vision_use_head=False,
    )


def build_smolvlm(
    size: Size = TINY, *, tile: int = 64, patch: int = 8, shuffle: int = 2, tiles: int = 2
) -> tuple[Any, Any]:
    """Build a randomly initialised SmolVLM and its processor.

    The longer side of a picture becomes ``tiles`` tiles, and the whole picture one more. The pixel
    shuffle turns ``shuffle`` by ``shuffle`` patches into a token.
    """
    marks = {
        "image_token": "<image>",
        "fake_image_token": "<fake_token_around_image>",
        "global_image_token": "<global-img>",
        "end_of_utterance_token": "<end_of_utterance>",
        "turn_start": "<|im_start|>",
    }
    for row, col in product(range(1, tiles + 1), repeat=2):
        marks[f"row_{row}_col_{col}"] = f"<row_{row}_col_{col}>"
    tokenizer = build_tokenizer(marks, bos=None, eos="<end_of_utterance>")

    processor = Idefics3Processor(
        image_processor=SmolVLMImageProcessorPil(
            size={"longest_edge": tiles * tile}, max_image_size={"longest_edge": tile}
        ),
        tokenizer=tokenizer,
        image_seq_len=(tile // patch // shuffle) ** 2,
        chat_template=SMOLVLM_TEMPLATE,
    )
    config = SmolVLMConfig(
        vision_config=SmolVLMVisionConfig(
            hidden_size=size.width,
            intermediate_size=3 * size.width,
            num_hidden_layers=size.vision_layers,
            num_attention_heads=HEADS,
            image_size=tile,
            patch_size=patch,
        ),
        text_config=LlamaConfig(**_text(tokenizer, size)),
        image_token_id=processor.image_token_id,
        scale_factor=shuffle,
        tie_word_embeddings=True,
    )

    return _finished(SmolVLMForConditionalGeneration(config), tokenizer), processor


def _planes(size: Size) -> list[int]:
    """Return how many frequencies of a head M-RoPE gives to time, rows and columns.

    As in the 7B model: three eighths each for rows and columns, the rest for time.
    """
    frequencies = size.width // HEADS // 2
    plane = 3 * frequencies // 8
    return [frequencies - 2 * plane, plane, plane]


def _qwen_images(patch: int, merge: int, least: int, most: int) -> Qwen2VLImageProcessorPil:
    """Return the image processor of Qwen's families; ``least`` and ``most`` count tokens."""
    cell = (patch * merge) ** 2  # pixels per visual token
    return Qwen2VLImageProcessorPil(
        patch_size=patch,
        merge_size=merge,
        temporal_patch_size=2,
        size={"shortest_edge": least * cell, "longest_edge": most * cell},
    )


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a tiny VLM is built, and how large the scenes are in which it cannot see small evidence.

    Attributes:
        build: returns the untrained model and its processor.
        canvas: side of a scene in pixels. It is twice as large where the family sees twice as many
            pixels.
        cell: side of a visual token in pixels of the model's input.
        projector: name of the projector's last layer.
    """

    build: Callable[..., tuple[Any, Any]]
    canvas: int
    cell: int
    projector: str = "multi_modal_projector.linear_2"


RECIPES = {
    "llava": Recipe(build_llava, canvas_of("llava"), 8),
    "llava_next": Recipe(build_llava_next, canvas_of("llava_next"), 8),
    "internvl": Recipe(build_internvl, canvas_of("internvl"), 16),
    "qwen2_5_vl": Recipe(build_qwen2_5_vl, canvas_of("qwen2_5_vl"), 8, "visual.merger.mlp.2"),
    "qwen3_vl": Recipe(build_qwen3_vl, canvas_of("qwen3_vl"), 8, "visual.merger.linear_fc2"),
}
