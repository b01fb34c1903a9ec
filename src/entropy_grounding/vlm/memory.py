"""Compute the memory that a model needs from its configuration, and read what is free.

The graph of a map keeps tensors of every decoder layer. Their sizes follow from the configuration:
weights are frozen, so a matrix product keeps none of its inputs. The formula is compared with the
tensors that autograd saves, for each family, in the tests.
"""

import warnings
from collections.abc import Hashable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import psutil
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, PreTrainedConfig

from entropy_grounding.vlm.config import UNQUANTIZED, VLMConfig
from entropy_grounding.vlm.contexts import counts_pixels, pixels_scaled
from entropy_grounding.vlm.family import Family

Key = TypeVar("Key", bound=Hashable)

LARGE = 2.0  # gigabytes of weights from which a CPU is worth a warning
PICTURE = (1024, 768)  # pixels (width, height) of a usual photograph, for warnings
CROPS = 2  # crops of a round by default
_FLOAT32 = torch.float32.itemsize
_NORMED_HEADS = ("qwen3", "gemma3")  # language models that normalise queries and keys


# --- The graph of a map ---


@dataclass(frozen=True, slots=True)
class _Widths:
    """Numbers of values per position of a decoder layer.

    Attributes:
        hidden: of the residual stream.
        inside: of the MLP.
        queries: of all query heads together.
        keys: of all key heads together, as many as values.
        heads: number of query heads.
        key_heads: number of key heads.
        normed: queries and keys have norms of their own.
        layers: number of layers.
    """

    hidden: int
    inside: int
    queries: int
    keys: int
    heads: int
    key_heads: int
    normed: bool
    layers: int


def _widths(config: Any) -> _Widths:
    text = config.get_text_config()
    heads = text.num_attention_heads
    key_heads = getattr(text, "num_key_value_heads", None) or heads
    width = getattr(text, "head_dim", None) or text.hidden_size // heads

    return _Widths(
        hidden=text.hidden_size,
        inside=text.intermediate_size,
        queries=heads * width,
        keys=key_heads * width,
        heads=heads,
        key_heads=key_heads,
        normed=text.model_type.startswith(_NORMED_HEADS),
        layers=text.num_hidden_layers,
    )


def map_bytes(
    config: Any, dtype: torch.dtype, positions: int, *, kernel: str = "sdpa", start: int = 0
) -> int:
    """Return how many bytes the graph of a map keeps, without checkpointing.

    Args:
        config: configuration of the model.
        dtype: of its activations.
        positions: that are run.
        kernel: of the attention; "eager" keeps the weights of all pairs of positions.
        start: number of earlier positions whose keys and values lie in a cache.
    """
    widths = _widths(config)
    # Once: the input of the last norm and its scale, and which positions hold visual tokens.
    once = positions * (_FLOAT32 * (widths.hidden + 1) + 1)

    return widths.layers * _layer_bytes(widths, dtype, positions, kernel, start) + once


def checkpointed_map_bytes(
    config: Any, dtype: torch.dtype, positions: int, *, kernel: str = "sdpa"
) -> int:
    """Return how many bytes a map needs with checkpointing.

    The input of every layer is kept, and in the backward pass the graph of one layer at a time.
    """
    widths = _widths(config)
    inputs = positions * dtype.itemsize * widths.hidden * widths.layers

    return inputs + _layer_bytes(widths, dtype, positions, kernel, 0)


def _layer_bytes(
    widths: _Widths, dtype: torch.dtype, positions: int, kernel: str, start: int
) -> int:
    """Return how many bytes the graph of one decoder layer keeps."""
    # Two norms keep their input and its scale in float32.
    norms = 2 * _FLOAT32 * (widths.hidden + 1)
    if widths.normed:
        heads = widths.heads + widths.key_heads
        norms += _FLOAT32 * (widths.queries + widths.keys + heads)

    # The MLP keeps the gate before and after its activation, and what it multiplies.
    inside = 3 * dtype.itemsize * widths.inside
    attention = _attention_bytes(widths, dtype, positions, kernel, start)
    return positions * (norms + inside) + attention


def _attention_bytes(
    widths: _Widths, dtype: torch.dtype, positions: int, kernel: str, start: int
) -> int:
    """Return how many bytes the attention of one decoder layer keeps."""
    size, seen = dtype.itemsize, start + positions

    # The eager kernel, and every kernel with a mask, copies keys and values for each query head.
    copied = kernel == "eager" or start > 0
    keys = widths.queries if copied else widths.keys
    kept = size * (positions * widths.queries + 2 * seen * keys)  # queries; keys and values
    pairs = positions * seen

    if kernel == "eager":  # its weights in float32, and in the type that is multiplied
        return kept + widths.heads * pairs * sum({_FLOAT32, size})

    kept += positions * (size * widths.queries + _FLOAT32 * widths.heads)  # its output; its sums
    return kept + size * pairs if start > 0 else kept  # the mask, which each layer converts


# --- Keys and values ---


def cache_bytes(config: Any, dtype: torch.dtype, positions: int) -> int:
    """Return how many bytes the keys and values of so many positions take."""
    widths = _widths(config)
    return 2 * dtype.itemsize * widths.keys * widths.layers * positions


def bytes_in(caches: Iterable[Any]) -> int:
    """Return how many bytes the keys and values of caches take; equal ones count once."""
    sizes = {}
    for cache in caches:
        for layer in cache.layers:
            for kept in (layer.keys, layer.values):
                sizes[kept.data_ptr()] = kept.numel() * kept.element_size()
    return sum(sizes.values())


KEPT_SHARE = 0.25  # of the free memory: a session and a shared model may each keep as much


def surplus(passes: Mapping[Key, Any], device: torch.device, limit: int | None = None) -> list[Key]:
    """Return the keys of the passes whose keys and values are too many, the oldest first.

    The newest pass is never among them.

    Args:
        passes: passes by key, the oldest first.
        device: where their caches lie.
        limit: bytes that may be kept; None for a share of what would be free without them.
    """
    caches = {key: done.cache for key, done in passes.items() if done.cache is not None}
    kept = bytes_in(caches.values())
    if limit is None:
        limit = int(KEPT_SHARE * (free_bytes(device) + kept))

    dropped = []
    for key in list(caches)[:-1]:
        if kept <= limit:
            break
        del caches[key]
        dropped.append(key)
        kept = bytes_in(caches.values())
    return dropped


# --- What is free ---


def free_bytes(device: torch.device) -> int:
    """Return how many bytes of a device torch can still allocate."""
    if device.type != "cuda":
        return int(psutil.virtual_memory().available)

    driver, _ = torch.cuda.mem_get_info(device)
    reserved, allocated = torch.cuda.memory_reserved(device), torch.cuda.memory_allocated(device)
    return allocatable(driver, reserved, allocated)


def allocatable(driver_free: int, reserved: int, allocated: int) -> int:
    """Return how many bytes torch can still allocate on a GPU.

    Its allocator keeps freed memory, which the driver counts as used. After a few examples the
    driver has hardly any left, although most of it can be used again.

    Args:
        driver_free: bytes that the driver has free.
        reserved: bytes that the allocator took from the driver.
        allocated: bytes of them that tensors use.
    """
    return driver_free + reserved - allocated


# --- A whole loop ---


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Computed memory of a loop in gigabytes (1e9 bytes).

    Attributes:
        positions: of the largest prompt: the image, its crops and the question.
        weights: of the model.
        map: activations that the map of the largest prompt keeps.
        checkpointed_map: the same with checkpointing.
        caches: keys and values of the image alone and of the largest prompt, which cannot be
            dropped.
        all_caches: keys and values of every round; a session drops the oldest where they are too
            many.
    """

    positions: int
    weights: float
    map: float
    checkpointed_map: float
    caches: float
    all_caches: float

    @property
    def least(self) -> float:
        """What a loop needs that checkpoints its maps and keeps as few caches as it can."""
        return self.weights + self.checkpointed_map + self.caches

    @property
    def usual(self) -> float:
        """What a loop needs that checkpoints nothing and keeps every cache."""
        return self.weights + self.map + self.all_caches


@dataclass(frozen=True, slots=True)
class Loop:
    """What decides the size of a loop.

    Attributes:
        picture: size (width, height) of the image, in pixels.
        crops: number of crops of a round. Each is counted with the tokens of the image.
        rounds: most rounds.
        question: the text of the prompt.
        factor: of the budget of pixels or tiles of a picture.
    """

    picture: tuple[int, int] = PICTURE
    crops: int = CROPS
    rounds: int = 15
    question: str = (
        "What is written on the sign?\nAnswer the question using a single word or phrase."
    )
    factor: float = 1.0


def memory_need(
    config: PreTrainedConfig,
    processor: Any,
    family: Family,
    dtype: torch.dtype,
    loop: Loop | None = None,
    *,
    quantization: str = "none",
    kernel: str = "sdpa",
) -> MemoryNeed:
    """Compute what the largest prompt of a loop needs, without any weights.

    Args:
        config: configuration of the model.
        processor: its processor, which counts the positions.
        family: the adapter of its family.
        dtype: of weights and activations.
        loop: how large the loop is; None for a usual photograph and the default options.
        quantization: "none", "8bit" or "4bit".
        kernel: of the attention.
    """
    loop = loop or Loop()
    alone = prompt_length(processor, family, loop, 0)
    most = prompt_length(processor, family, loop, loop.crops)
    rounds = loop.rounds if loop.crops else 0

    return MemoryNeed(
        positions=most,
        weights=weights_bytes(config, dtype, quantization) / 1e9,
        map=map_bytes(config, dtype, most, kernel=kernel) / 1e9,
        checkpointed_map=checkpointed_map_bytes(config, dtype, most, kernel=kernel) / 1e9,
        caches=cache_bytes(config, dtype, alone + most) / 1e9,
        all_caches=cache_bytes(config, dtype, alone + rounds * most) / 1e9,
    )


def prompt_length(processor: Any, family: Family, loop: Loop, crops: int) -> int:
    """Return the number of positions of the prompt of the image and so many crops."""
    pictures = [Image.new("RGB", loop.picture, "gray")] * (1 + crops)
    turn = {"role": "user", "content": family.content(loop.question, len(pictures))}
    text = processor.apply_chat_template([turn], add_generation_prompt=True, tokenize=False)

    with ExitStack() as stack:
        if loop.factor != 1:
            stack.enter_context(pixels_scaled(processor, loop.factor))
        inputs = processor(text=text, images=pictures, return_tensors="pt")
    return int(inputs["input_ids"].shape[1])


def weights_bytes(config: PreTrainedConfig, dtype: torch.dtype, quantization: str = "none") -> int:
    """Return how many bytes the weights of a model take.

    Args:
        config: configuration of the model.
        dtype: of the weights that are not quantized.
        quantization: "none", "8bit" or "4bit", which takes the matrices of the language model.
    """
    with torch.device("meta"):
        model: Any = AutoModelForImageTextToText.from_config(config)
    everything = sum(parameter.numel() for parameter in model.parameters())

    # The released InternVL has an output layer of its own, as its text configuration says. The
    # configuration around it does not, and a model without weights believes that one.
    head = model.get_output_embeddings().weight
    if head is model.get_input_embeddings().weight and not _ties(config):
        everything += head.numel()
    if quantization == "none":
        return everything * dtype.itemsize

    matrices = 0
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and not name.startswith(UNQUANTIZED):
            matrices += module.weight.numel()
    quantized = matrices if quantization == "8bit" else matrices // 2
    return (everything - matrices) * dtype.itemsize + quantized


def _ties(config: PreTrainedConfig) -> bool:
    """Say whether the output layer of released weights is the table of the embeddings."""
    text = config.get_text_config()
    return bool(getattr(text, "tie_word_embeddings", config.tie_word_embeddings))


# --- What would fit ---


def fitting(
    config: PreTrainedConfig,
    processor: Any,
    family: Family,
    dtype: torch.dtype,
    free: float,
    loop: Loop | None = None,
) -> tuple[str, float] | None:
    """Return the options that make a loop fit, and the gigabytes that it needs with them.

    Args:
        config: configuration of the model.
        processor: its processor.
        family: the adapter of its family.
        dtype: of weights and activations.
        free: gigabytes that are free before the weights are loaded.
        loop: how large the loop is.

    Returns:
        The options as they are typed, "" if none is needed; None if nothing fits.
    """
    loop = loop or Loop()
    need = memory_need(config, processor, family, dtype, loop)
    whole = need.weights + need.map + need.caches
    if whole <= free:
        return "", whole

    for options, tried, quantization in _attempts(processor, loop):
        need = memory_need(config, processor, family, dtype, tried, quantization=quantization)
        if need.least <= free:
            return options, need.least
    return None


def _attempts(processor: Any, loop: Loop) -> list[tuple[str, Loop, str]]:
    """Return options as they are typed, with the loop and the quantization that they mean."""
    one = replace(loop, crops=min(loop.crops, 1))
    fewer = "method.regions.max_regions=1"
    attempts = [
        ("vlm.checkpointing=on", loop, "none"),
        (f"vlm.checkpointing=on {fewer}", one, "none"),
        ("vlm.checkpointing=on vlm.quantization=8bit", loop, "8bit"),
        (f"vlm.checkpointing=on vlm.quantization=8bit {fewer}", one, "8bit"),
    ]

    with pixels_scaled(processor, 0.5) as possible:
        images = processor.image_processor
        half = f"vlm.max_tiles={getattr(images, 'max_patches', 0)}"
        if counts_pixels(images):
            half = f"vlm.max_pixels={images.size['longest_edge']}"
    if possible:
        smaller = replace(one, factor=0.5)
        options = f"vlm.checkpointing=on vlm.quantization=8bit {fewer} {half}"
        attempts.append((options, smaller, "8bit"))
    return attempts


def dtype_of(loaded: PreTrainedConfig, config: VLMConfig) -> torch.dtype:
    """Return the data type in which a checkpoint will run."""
    if config.dtype != "auto":
        return getattr(torch, config.dtype)
    return loaded.dtype or torch.float32  # type: ignore[return-value]


def warn_of_large_models(
    loaded: PreTrainedConfig, processor: Any, family: Family, config: VLMConfig
) -> None:
    """Say what a model of billions of weights costs on a CPU, before it is loaded."""
    dtype = dtype_of(loaded, config)
    if weights_bytes(loaded, dtype, config.quantization) / 1e9 <= LARGE:
        return

    need = memory_need(loaded, processor, family, dtype, quantization=config.quantization)
    free = free_bytes(torch.device("cpu")) / 1e9
    warnings.warn(
        f"'{config.name}' runs on the CPU: about {need.weights:.0f} GB of weights in "
        f"{str(dtype).removeprefix('torch.')}, {need.map:.1f} GB for the map of a photograph and "
        f"{CROPS} crops ({need.positions:,} positions; {need.checkpointed_map:.1f} GB with "
        f"vlm.checkpointing=on), and up to {need.all_caches:.1f} GB of keys and values, with "
        f"{free:.0f} GB free; expect minutes for one map. A GPU (vlm.device=cuda) or "
        "vlm=tiny_llava is faster.",
        stacklevel=4,
    )
