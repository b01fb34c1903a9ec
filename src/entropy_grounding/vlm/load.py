"""Load a VLM by name, hub id or local folder; the tiny ones and the 7B checkpoints take the same path."""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    BitsAndBytesConfig,
    LlavaImageProcessorPil,
    PreTrainedConfig,
    ProcessorMixin,
)
from transformers.utils import is_bitsandbytes_available
from transformers.utils import logging as transformers_logging

from entropy_grounding.errors import InputError
from entropy_grounding.verbatim import Place, Text
from entropy_grounding.vlm.base import NEUTRAL_QUESTION, VLM, Family, map_bytes
from entropy_grounding.vlm.identity import TINY, weights_folder
from entropy_grounding.vlm.internvl import InternVLFamily
from entropy_grounding.vlm.llava import LlavaFamily
from entropy_grounding.vlm.llava_next import LlavaNextFamily
from entropy_grounding.vlm.processor import load_processor
from entropy_grounding.vlm.qwen2_5_vl import QwenFamily

FAMILIES: dict[str, Family] = {family.architecture: family for family in (LlavaFamily(), LlavaNextFamily(), InternVLFamily(), QwenFamily())}
_DTYPES = ("auto", "float32", "bfloat16", "float16")
QUANTIZATIONS = ("none", "8bit", "4bit")
LARGE = 2.0  # gigabytes of weights from which a CPU is worth a warning
_NEEDED = ("config.json", "tokenizer.json", ("processor_config.json", "preprocessor_config.json"))


@dataclass(frozen=True)
class VLMConfig:
    """Which weights, and how to load them.

    Attributes:
        name: for labels and results.
        weights: a hub id, a local folder, or ``tiny:FAMILY`` for the weights of this repository.
        revision: commit, tag or branch on the hub.
        dtype: "auto" (as stored), "float32", "bfloat16" or "float16".
        attention: kernel, "sdpa" by default; gradients need one with a backward pass.
        device: "auto" takes the first GPU if there is one.
        device_map: of accelerate, for example "auto" to spread the layers over several GPUs; then ``device`` is not used.
        quantization: "none", or "8bit" or "4bit" by bitsandbytes.
        grounding: which view carries the map: "default", one by name ("canvas", "base", "thumbnail"), or "all".
        max_pixels: pixel budget of a picture, for families with dynamic resolution; None keeps the checkpoint's.
        max_tiles: most tiles of a picture, for families that tile by count; None keeps the checkpoint's.
        image_fit: "as_released", or "pad" for the padding of the original LLaVA-1.5, whose hub port cuts the ends of the image off.
        attention_layer: the decoder layer, from 0, of attention maps with ``method.layers=chosen``.
        neutral_question: what relative maps divide by where ``method.neutral_question`` is "vlm".
        checkpointing: less memory for maps at a third more time: "on", "off" or "auto", see `VLM`.
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
    max_tiles: int | None = None
    image_fit: str = "as_released"
    attention_layer: int | None = None
    neutral_question: Text = NEUTRAL_QUESTION
    checkpointing: str = "auto"


def load_vlm(config: VLMConfig | str = "tiny_llava") -> VLM:
    """Load a VLM, from a configuration or by its name in ``conf/vlm``; parameters are frozen.

    Raises:
        InputError: for an unknown name, a folder without a needed file, an unsupported architecture, or an unreachable hub.
    """
    if isinstance(config, str):
        from entropy_grounding.configs import compose_config

        config = compose_config([f"vlm={config}"]).vlm
    if config.dtype not in _DTYPES:
        raise InputError(f"Unknown dtype '{config.dtype}': use one of {', '.join(_DTYPES)}.")
    if config.image_fit not in ("as_released", "pad"):
        raise InputError(f"Unknown image_fit '{config.image_fit}': use as_released or pad.")
    if config.quantization not in QUANTIZATIONS:
        raise InputError(f"Unknown quantization '{config.quantization}': use one of {', '.join(QUANTIZATIONS)}.")
    if config.device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"vlm.device is '{config.device}', but torch sees no GPU: use vlm.device=cpu or auto.")
    source, device = _source(config.weights), _device(config)
    try:
        family = _family(source, config)
        processor = load_processor(source, config.revision)
        if device.type == "cpu":
            _warn_of_large_models(source, config)
        model = AutoModelForImageTextToText.from_pretrained(
            source,
            revision=config.revision,
            dtype=config.dtype,
            attn_implementation=config.attention,
            device_map=config.device_map or (device if config.quantization != "none" else None),
            quantization_config=_quantization(config, device),
        )
    except (OSError, ValueError, ImportError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(_why(config, error)) from error
    _limit(processor.image_processor, config)
    if config.image_fit == "pad":
        processor.image_processor = padded(processor)
    if not getattr(model, "hf_device_map", None):
        model.to(device)  # type: ignore[arg-type]
    return VLM(
        model.eval().requires_grad_(False),
        processor,
        family,
        config.name,
        config.grounding,
        attention_layer=config.attention_layer,
        neutral_question=config.neutral_question,
        checkpointing=config.checkpointing,
    )


def _device(config: VLMConfig) -> torch.device:
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device)


def _quantization(config: VLMConfig, device: torch.device) -> BitsAndBytesConfig | None:
    """Return the settings of bitsandbytes: towers and output layer stay as they are.

    Its 4-bit kernels for CPUs with AVX512-BF16 repack the weights and pass no gradient through the layer: a map would be silently wrong.
    """
    if config.quantization == "none":
        return None
    if not is_bitsandbytes_available():
        raise InputError("vlm.quantization needs bitsandbytes: pip install -c constraints.txt 'entropy-grounding[quantization]'.")
    if config.quantization == "4bit" and device.type == "cpu":
        raise InputError("vlm.quantization=4bit needs a GPU: on a CPU its kernels drop gradients. Use 8bit or none.")
    skipped = ["lm_head", "vision_tower", "visual", "multi_modal_projector"]
    if config.quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skipped)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.bfloat16, llm_int8_skip_modules=skipped)


@dataclass(frozen=True, slots=True)
class Memory:
    """Estimated memory in gigabytes (1e9 bytes): of the weights, and of the activations that a map keeps for 1,000 visual tokens."""

    weights: float
    map_per_1000_tokens: float


def estimate_memory(config: PreTrainedConfig, dtype: torch.dtype) -> Memory:
    """Estimate what a model of this configuration needs, without its weights (built on the meta device)."""
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Memory(parameters * dtype.itemsize / 1e9, 1000 * map_bytes(config, dtype) / 1e9)


def _warn_of_large_models(source: str, config: VLMConfig) -> None:
    """Say what a model of billions of weights costs on a CPU, before it is loaded."""
    loaded = AutoConfig.from_pretrained(source, revision=config.revision)
    dtype = getattr(torch, config.dtype) if config.dtype != "auto" else loaded.dtype or torch.float32
    need = estimate_memory(loaded, dtype)
    if need.weights > LARGE:
        free = psutil.virtual_memory().available / 1e9
        warnings.warn(
            f"'{config.name}' runs on the CPU: about {need.weights:.0f} GB of weights in {str(dtype).removeprefix('torch.')} and "
            f"{need.map_per_1000_tokens:.1f} GB per 1,000 visual tokens of a map, with {free:.0f} GB free; expect minutes for one map. "
            "A GPU (vlm.device=cuda) or vlm=tiny_llava is faster.",
            stacklevel=3,
        )


def _limit(image_processor: Any, config: VLMConfig) -> None:
    """Apply the pixel and tile budgets; a budget that the family does not know is an error, not ignored."""
    for name, budget in (("max_pixels", config.max_pixels), ("max_tiles", config.max_tiles)):
        if budget is not None and budget < 1:
            raise InputError(f"vlm.{name} is {budget}: a picture would have no visual token; use at least 1.")
    if config.max_pixels is not None:
        if "longest_edge" not in image_processor.size:
            raise InputError(f"vlm.max_pixels has no meaning for '{config.name}': its pictures have a fixed size.")
        smallest = min(image_processor.size["shortest_edge"], config.max_pixels)
        image_processor.size = {"shortest_edge": smallest, "longest_edge": config.max_pixels}
    if config.max_tiles is not None:
        if not hasattr(image_processor, "max_patches"):
            raise InputError(f"vlm.max_tiles has no meaning for '{config.name}': it does not tile by count.")
        image_processor.max_patches = config.max_tiles
        image_processor.min_patches = min(image_processor.min_patches, config.max_tiles)


def padded(processor: ProcessorMixin) -> LlavaImageProcessorPil:
    """Return an image processor that pads to a square with the mean color, as the original LLaVA-1.5 does."""
    released = processor.image_processor
    side = released.crop_size["height"]
    return LlavaImageProcessorPil(
        do_pad=True,
        size={"height": side, "width": side},
        do_center_crop=False,
        image_mean=released.image_mean,
        image_std=released.image_std,
        resample=released.resample,
    )


def _source(weights: str) -> str:
    """Return the hub id, or the checked local folder, that ``weights`` names."""
    folder = weights_folder(weights)
    if folder is not None:
        _check_folder(folder)
        return str(folder)
    if weights.startswith("tiny:"):
        have = ", ".join(f"tiny:{each.name}" for each in sorted(TINY.glob("*")) if each.is_dir())
        raise InputError(f"No tiny weights '{weights}': this repository has {have or 'none'}.")
    if weights.startswith((".", "/", "~")):
        raise InputError(f"No weights folder at '{weights}': check the path (vlm.weights=...).")
    return weights


def _check_folder(folder: Path) -> None:
    for needed in _NEEDED:
        names = (needed,) if isinstance(needed, str) else needed
        if not any((folder / name).is_file() for name in names):
            raise InputError(f"The weights folder '{folder}' has no {' or '.join(names)}: save model and processor with save_pretrained.")
    index = folder / "model.safetensors.index.json"
    shards = sorted(set(json.loads(index.read_text())["weight_map"].values())) if index.is_file() else ["model.safetensors"]
    for shard in shards:
        if not (folder / shard).is_file():
            raise InputError(f"The weights folder '{folder}' has no {shard}: copy it there, or download the checkpoint again.")


def _family(source: str, config: VLMConfig) -> Family:
    architecture = (AutoConfig.from_pretrained(source, revision=config.revision).architectures or ["none"])[0]
    if architecture not in FAMILIES:
        raise InputError(f"The architecture {architecture} of '{config.weights}' is not supported: supported are {', '.join(FAMILIES)}.")
    return FAMILIES[architecture]


def _why(config: VLMConfig, error: Exception) -> str:
    first = " ".join(str(error).split())[:300]
    return (
        f"Could not load the VLM '{config.name}' from '{config.weights}' ({first}). If the hub is out of reach, fetch it ahead with "
        f"'hf download {config.weights} --local-dir weights/{config.name}' and pass vlm.weights=weights/{config.name}."
    )


transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()
