"""Untrained tiny VLMs: real ``transformers`` classes with a few million weights, and their processors."""

from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaImageProcessorPil,
    LlavaProcessor,
)

from entropy_grounding.tiny.vocabulary import build_tokenizer

IMAGE_SIZE = 64  # pixels, input side of the vision tower
PATCH_SIZE = 8  # pixels: an 8 x 8 token grid

# The template of LLaVA-1.5: all images first, one a line, then the question.
LLAVA_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for item in message['content'] if item['type'] == 'image' %}{{ '<image>\n' }}{% endfor %}"
    "{% for item in message['content'] if item['type'] == 'text' %}{{ item['text'] + ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def build_llava(width: int = 128, vision_layers: int = 4, text_layers: int = 4) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """Build a randomly initialised LLaVA of about 1.6 M weights and its processor (pictures padded to a square)."""
    tokenizer = build_tokenizer()
    vision = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=vision_layers,
        num_attention_heads=4,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=text_layers,
        num_attention_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.image_token_id,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    processor = LlavaProcessor(
        image_processor=LlavaImageProcessorPil(
            do_pad=True,
            size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
            do_center_crop=False,
        ),
        tokenizer=tokenizer,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA_CHAT_TEMPLATE,
    )
    return model, processor
