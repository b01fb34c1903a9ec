"""The processor of a checkpoint, the same in every environment.

If torchvision is installed, `transformers` prefers its image processors, which make other pixels,
and asks for video processors. Here the Pillow backend always processes pictures, and videos are
never processed.
"""

import re
from typing import Any

import transformers
from transformers import (
    AutoImageProcessor,
    CLIPImageProcessorPil,
    LlavaImageProcessorPil,
    PreTrainedConfig,
    ProcessorMixin,
)
from transformers.image_processing_backends import PilBackend
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

from entropy_grounding.core.errors import InputError
from entropy_grounding.vlm.config import VLMConfig
from entropy_grounding.vlm.contexts import counts_pixels
from entropy_grounding.vlm.family import Family
from entropy_grounding.vlm.prompts import check_chat_template

BACKEND = "pil"
# SmolVLM's processor needs its video processor even to write a prompt. That of Idefics3, which has
# no videos, writes the same prompts of pictures.
_WITHOUT_VIDEOS = {"SmolVLMProcessor": "Idefics3Processor"}


def without_video(processor_class: Any) -> Any:
    """Return a subclass without a video processor; it keeps the name, which is saved too."""

    def get_attributes(_: Any) -> list[str]:
        return [name for name in processor_class.get_attributes() if name != "video_processor"]

    members = {"get_attributes": classmethod(get_attributes), "__module__": __name__}
    return type(processor_class.__name__, (processor_class,), members)


def load_processor(source: str, config: PreTrainedConfig, revision: str | None = None) -> Any:
    """Load the processor of a checkpoint, with an image processor of the Pillow backend.

    Args:
        source: hub id or local folder.
        config: the configuration of its model.
        revision: commit on the hub.

    Raises:
        InputError: for an image processor without a Pillow backend, and for a tokenizer without a
            special token of this processor.
    """
    hub = {"revision": revision, "trust_remote_code": False}
    name = PROCESSOR_MAPPING_NAMES[config.model_type]  # one name, or several by preference
    name = name[-1] if isinstance(name, tuple) else name
    processor_class = getattr(transformers, _WITHOUT_VIDEOS.get(name, name))

    try:
        processor = without_video(processor_class).from_pretrained(source, **hub)
    except AttributeError as error:
        token = re.search(r"has no attribute (\w+_token)\b", str(error))
        if token is None:
            raise
        raise InputError(
            f"The tokenizer of '{source}' names no {token[1]}: use the tokenizer_config.json and "
            "tokenizer.json that came with these weights."
        ) from error
    processor.image_processor = AutoImageProcessor.from_pretrained(source, backend=BACKEND, **hub)
    check_backend(processor)

    return processor


def check_processor(processor: Any, config: PreTrainedConfig, family: Family, weights: str) -> None:
    """Refuse a processor of another family, before the weights are loaded.

    Args:
        processor: from `load_processor`.
        config: the configuration of its model.
        family: the adapter of the model.
        weights: the checkpoint, for messages.

    Raises:
        InputError: for the image processor of another family, a tokenizer without the image token,
            and a processor without a chat template.
    """
    name = type(processor.image_processor).__name__.removesuffix("Pil")
    if family.image_processors and name not in family.image_processors:
        raise InputError(
            f"The image processor {name} of '{weights}' is of another family "
            f"({family.architecture} takes {' or '.join(family.image_processors)}): use the "
            "preprocessor_config.json and processor_config.json that came with these weights."
        )

    token, expected = processor.image_token, config.image_token_id
    actual = processor.tokenizer.convert_tokens_to_ids(token)
    if actual != expected:
        raise InputError(
            f"The tokenizer of '{weights}' does not know the image token: config.json gives it the "
            f"number {expected}, and '{token}' has {actual}; use the tokenizer.json and "
            "tokenizer_config.json that came with these weights."
        )
    check_chat_template(processor, weights)


def check_backend(processor: Any) -> None:
    """Refuse an image processor of another backend: its pixels differ, and so do answers.

    Raises:
        InputError: naming the class.
    """
    if not isinstance(processor.image_processor, PilBackend):
        raise InputError(
            f"The image processor {type(processor.image_processor).__name__} "
            "is not of the Pillow backend: its pixels, and with them answers, "
            "differ from those of the stored rows. Load it with backend='pil'."
        )


def apply_budgets(image_processor: Any, config: VLMConfig) -> None:
    """Apply the pixel and tile budgets.

    Raises:
        InputError: for a budget below 1, and for one that the family does not know.
    """
    for name in ("max_pixels", "min_pixels", "max_tiles"):
        budget = getattr(config, name)
        if budget is not None and budget < 1:
            raise InputError(
                f"vlm.{name} is {budget}: a picture would have no visual token; use at least 1."
            )

    for name in ("max_pixels", "min_pixels"):
        if getattr(config, name) is not None and not counts_pixels(image_processor):
            raise InputError(
                f"vlm.{name} has no meaning for '{config.name}': its pictures have a fixed size."
            )
    if config.max_pixels is not None or config.min_pixels is not None:
        image_processor.size = _pixel_budget(image_processor.size, config)

    if config.max_tiles is not None:
        if not hasattr(image_processor, "max_patches"):
            raise InputError(
                f"vlm.max_tiles has no meaning for '{config.name}': it does not tile by count."
            )
        image_processor.max_patches = config.max_tiles
        image_processor.min_patches = min(image_processor.min_patches, config.max_tiles)


def _pixel_budget(released: Any, config: VLMConfig) -> dict[str, int]:
    """Return the least and the most pixels of a picture, under the names of the processor.

    Args:
        released: those of the checkpoint. Its least is lowered to a smaller ``max_pixels``.
        config: the options.

    Raises:
        InputError: for a least above the most.
    """
    most = config.max_pixels or released["longest_edge"]
    if config.min_pixels is None:
        return {"shortest_edge": min(released["shortest_edge"], most), "longest_edge": most}

    if config.min_pixels > most:
        raise InputError(
            f"vlm.min_pixels is {config.min_pixels}, more than the {most} pixels that a picture "
            "may have: lower it, or raise vlm.max_pixels."
        )
    return {"shortest_edge": config.min_pixels, "longest_edge": most}


def padded(processor: ProcessorMixin, config: VLMConfig | None = None) -> LlavaImageProcessorPil:
    """Return an image processor that pads to a square, as the original LLaVA-1.5.

    Raises:
        InputError: for a family whose pictures are no centre crop of a fixed size.
    """
    released = processor.image_processor
    if isinstance(released, LlavaImageProcessorPil) and released.do_pad:
        return released

    if not isinstance(released, CLIPImageProcessorPil | LlavaImageProcessorPil):
        name = config.name if config else type(processor).__name__
        raise InputError(
            f"vlm.image_fit=pad has no meaning for '{name}': "
            "only LLaVA-1.5 cuts pictures to a square; use as_released."
        )

    side = released.crop_size["height"]
    return LlavaImageProcessorPil(
        do_pad=True,
        size={"height": side, "width": side},
        do_center_crop=False,
        image_mean=released.image_mean,
        image_std=released.image_std,
        resample=released.resample,
    )
