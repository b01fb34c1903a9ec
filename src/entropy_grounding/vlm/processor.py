"""Processors without torchvision: some refuse to load because their *video* processor needs it; pictures do not."""

import logging
from typing import Any

import transformers
from transformers import AutoConfig, AutoProcessor
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES
from transformers.utils import is_torchvision_available

logger = logging.getLogger(__name__)


def without_video(processor_class: Any) -> Any:
    """Return a subclass that has no video processor; it keeps the name, which is saved with the processor."""

    def get_attributes(_: Any) -> list[str]:
        return [name for name in processor_class.get_attributes() if name != "video_processor"]

    return type(processor_class.__name__, (processor_class,), {"get_attributes": classmethod(get_attributes), "__module__": __name__})


def load_processor(source: str, revision: str | None = None) -> Any:
    """Load the processor of a checkpoint; without torchvision, and where it has a video processor, everything but that.

    Raises:
        OSError: when a file is missing or the hub cannot be reached.
    """
    name = PROCESSOR_MAPPING_NAMES.get(AutoConfig.from_pretrained(source, revision=revision).model_type)
    processor_class = getattr(transformers, name[-1] if isinstance(name, tuple) else name) if name else AutoProcessor
    if is_torchvision_available() or "video_processor" not in getattr(processor_class, "get_attributes", list)():
        return AutoProcessor.from_pretrained(source, revision=revision)
    logger.info("torchvision is not installed: %s is loaded without its video processor", processor_class.__name__)
    return without_video(processor_class).from_pretrained(source, revision=revision)
