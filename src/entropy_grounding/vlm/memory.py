"""Estimate the memory that a model needs, before it is loaded."""

import warnings
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from transformers import AutoModelForImageTextToText, PreTrainedConfig

from entropy_grounding.vlm.config import VLMConfig

LARGE = 2.0  # gigabytes of weights from which a CPU is worth a warning

# Bytes per position, layer and hidden unit that the graph of a map keeps; measured on small models.
_GRAPH_FLOAT32, _GRAPH_HALF = 56, 32


@dataclass(frozen=True, slots=True)
class Memory:
    """Estimated memory in gigabytes (1e9 bytes).

    Attributes:
        weights: of the model.
        map_per_1000_tokens: of the activations that a map keeps for 1,000 visual tokens.
    """

    weights: float
    map_per_1000_tokens: float


def map_bytes(config: Any, dtype: torch.dtype) -> int:
    """Return how many bytes the graph of a map keeps for each position, without checkpointing."""
    text = config.get_text_config()
    per_unit = _GRAPH_FLOAT32 if dtype == torch.float32 else _GRAPH_HALF

    return per_unit * text.hidden_size * text.num_hidden_layers


def estimate_memory(config: PreTrainedConfig, dtype: torch.dtype) -> Memory:
    """Estimate the memory of a model from its configuration, without its weights."""
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    parameters = sum(parameter.numel() for parameter in model.parameters())

    return Memory(parameters * dtype.itemsize / 1e9, 1000 * map_bytes(config, dtype) / 1e9)


def warn_of_large_models(loaded: PreTrainedConfig, config: VLMConfig) -> None:
    """Say what a model of billions of weights costs on a CPU, before it is loaded."""
    dtype: Any = loaded.dtype or torch.float32
    if config.dtype != "auto":
        dtype = getattr(torch, config.dtype)

    need = estimate_memory(loaded, dtype)
    if need.weights <= LARGE:
        return

    free = psutil.virtual_memory().available / 1e9
    warnings.warn(
        f"'{config.name}' runs on the CPU: about {need.weights:.0f} GB of weights "
        f"in {str(dtype).removeprefix('torch.')} and {need.map_per_1000_tokens:.1f} "
        f"GB per 1,000 visual tokens of a map, with {free:.0f} GB free; "
        "expect minutes for one map. A GPU (vlm.device=cuda) or vlm=tiny_llava is faster.",
        stacklevel=4,
    )
