"""The processor of a checkpoint, the same in every environment.

Where torchvision is installed, `transformers` prefers its image processors, which make other pixels, and
asks for video processors. Here pictures are always processed by the Pillow backend, and videos never.
"""

from typing import Any

import transformers
from transformers import AutoImageProcessor, PreTrainedConfig
from transformers.image_processing_backends import PilBackend
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

from entropy_grounding.errors import InputError

BACKEND = "pil"


def without_video(processor_class: Any) -> Any:
    """Return a subclass that has no video processor; it keeps the name, which is saved with the processor."""

    def get_attributes(_: Any) -> list[str]:
        return [name for name in processor_class.get_attributes() if name != "video_processor"]

    return type(processor_class.__name__, (processor_class,), {"get_attributes": classmethod(get_attributes), "__module__": __name__})


def load_processor(source: str, config: PreTrainedConfig, revision: str | None = None) -> Any:
    """Load the processor of a checkpoint, with an image processor of the Pillow backend.

    Args:
        source: hub id or local folder.
        config: the configuration of its model.
        revision: commit on the hub.

    Raises:
        InputError: where the image processor has no Pillow backend.
    """
    hub = {"revision": revision, "trust_remote_code": False}
    name = PROCESSOR_MAPPING_NAMES[config.model_type]
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
            f"The image processor {type(processor.image_processor).__name__} is not of the Pillow backend: its pixels, and with them "
            "answers, differ from those of the stored rows. Load it with backend='pil'."
        )
