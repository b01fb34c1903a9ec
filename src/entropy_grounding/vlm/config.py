"""Which weights to load, and how."""

from dataclasses import dataclass, field

from entropy_grounding.core.verbatim import Place, Text
from entropy_grounding.vlm.family import NEUTRAL_QUESTION

DTYPES = ("auto", "float32", "bfloat16", "float16")
QUANTIZATIONS = ("none", "8bit", "4bit")
# Parts of the names of modules that are never quantized: towers and output layer.
# transformers compares names from their start: "vision_tower" alone would skip nothing.
UNQUANTIZED = (
    "lm_head",
    "model.vision_tower",
    "model.visual",
    "model.multi_modal_projector",
    "model.vision_model",  # SmolVLM's names
    "model.connector",
)


@dataclass(frozen=True)
class Expected:
    """What the weights of a preset must be, while they bear its name.

    Attributes:
        name: of the preset.
        architecture: the class in transformers.
        width: hidden size of the language model.
        layers: number of layers of the language model.
        weights: if given, the weights must equal these (``tiny:FAMILY``).
    """

    name: str = ""
    architecture: str = ""
    width: int = 0
    layers: int = 0
    weights: Place = ""


@dataclass(frozen=True)
class VLMConfig:
    """Which weights, and how to load them.

    Attributes:
        name: for labels and results.
        weights: a hub id, a local folder, or ``tiny:FAMILY`` for the weights of this repository.
        revision: commit, tag or branch on the hub.
        dtype: "auto" (as stored), "float32", "bfloat16" or "float16".
        attention: kernel, "sdpa" by default; gradients need one with a backward pass. Only "sdpa"
            and "eager" were verified on a GPU (docs/cost.md).
        device: "auto" takes the first GPU if there is one, else the CPU.
        device_map: of accelerate, for example "auto" to spread the layers over several GPUs;
            ``device`` is not used then.
        quantization: "none", or "8bit" or "4bit" by bitsandbytes.
        grounding: which token grid carries the map: "default", one by name ("canvas", "base",
            "thumbnail"), or "all".
        max_pixels: pixel budget of a picture, for families with dynamic resolution; None keeps the
            checkpoint's.
        min_pixels: least pixels of a picture, for families with dynamic resolution: smaller ones,
            such as crops, are enlarged to it; None keeps the checkpoint's.
        max_tiles: most tiles of a picture, for families that tile by count; None keeps the
            checkpoint's.
        image_fit: "as_released", or "pad" for the padding of the original LLaVA-1.5, whose hub port
            cuts off the ends of a wide image.
        system_prompt: the system message before the question; None keeps what the chat template
            does without one, "" is an empty message.
        image_labels: write "Image-1: " and so on before the pictures of a prompt that has several,
            as InternVL's own evaluation does.
        attention_layer: the decoder layer, from 0, of attention maps with ``method.layers=chosen``.
        neutral_question: the question whose map divides where ``method.neutral_question`` is "vlm".
        checkpointing: less memory for maps at a third more time: "on", "off" or "auto", see `VLM`.
        expects: what the weights must be to bear the name of the preset; not checked under another
            ``name``.
    """

    name: str = "tiny_llava"
    weights: Place = "tiny:llava"
    revision: str | None = None
    dtype: str = "auto"
    attention: str = "sdpa"
    device: str = "auto"
    device_map: str | None = None
    quantization: str = "none"
    grounding: str = "default"
    max_pixels: int | None = None
    min_pixels: int | None = None
    max_tiles: int | None = None
    image_fit: str = "as_released"
    system_prompt: Text | None = None
    image_labels: bool = False
    attention_layer: int | None = None
    neutral_question: Text = NEUTRAL_QUESTION
    checkpointing: str = "auto"
    expects: Expected = field(default_factory=Expected)
