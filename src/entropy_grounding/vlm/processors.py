"""The processor of a checkpoint, the same in every environment.

If torchvision is installed, `transformers` prefers its image processors, which make other pixels,
and asks for video processors. Here the Pillow backend always processes pictures, and videos are
never processed.
"""

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

BACKEND = "pil"


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
        InputError: for an image processor without a Pillow backend.
    """
    hub = {"revision": revision, "trust_remote_code": False}
    name = PROCESSOR_MAPPING_NAMES[config.model_type]  # one name, or several by preference
    processor_class = getattr(transformers, name[-1] if isinstance(name, tuple) else name)

    processor = without_video(processor_class).from_pretrained(source, **hub)
    processor.image_processor = AutoImageProcessor.from_pretrained(source, backend=BACKEND, **hub)
    check_backend(processor)

    return processor


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
    for name, budget in (("max_pixels", config.max_pixels), ("max_tiles", config.max_tiles)):
        if budget is not None and budget < 1:
            raise InputError(
                f"vlm.{name} is {budget}: a picture would have no visual token; use at least 1."
            )

    if config.max_pixels is not None:
        if "longest_edge" not in image_processor.size:
            raise InputError(
                f"vlm.max_pixels has no meaning for '{config.name}': "
                "its pictures have a fixed size."
            )
        smallest = min(image_processor.size["shortest_edge"], config.max_pixels)
        image_processor.size = {"shortest_edge": smallest, "longest_edge": config.max_pixels}

    if config.max_tiles is not None:
        if not hasattr(image_processor, "max_patches"):
            raise InputError(
                f"vlm.max_tiles has no meaning for '{config.name}': it does not tile by count."
            )
        image_processor.max_patches = config.max_tiles
        image_processor.min_patches = min(image_processor.min_patches, config.max_tiles)


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
