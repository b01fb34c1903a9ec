"""Untrained models of every family: small, with the geometry of the real ones."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from PIL import Image
from transformers import Qwen3Config

from entropy_grounding.tiny.architectures import (
    Size,
    build_internvl,
    build_llava,
    build_llava_next,
    build_llava_onevision,
    build_qwen2_5_vl,
    build_qwen3_vl,
    build_smolvlm,
)
from entropy_grounding.vlm.load import load_vlm
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.registry import FAMILIES
from entropy_grounding.vlm.weights import TINY as WEIGHTS

SMALL = Size(width=32, vision_layers=2, text_layers=2, key_value_heads=2)


def committed(_, family):
    vlm = load_vlm(f"tiny_{family}")
    return vlm.model, vlm.processor


@cache
def _made(build, options, sizes):
    """Return model and processor; hundreds of tests ask for the same few."""
    torch.manual_seed(0)
    model, processor = build(sizes, **dict(options))
    return model.eval(), processor


@dataclass(frozen=True)
class Case:
    """A family in one geometry, asked about a picture of one size (width, height)."""

    name: str
    build: Callable
    options: dict
    size: tuple[int, int]

    def vlm(self, grounding="default", sizes=SMALL):
        made = _made(self.build, tuple(self.options.items()), sizes)
        model, processor = copy.deepcopy(made)  # a test may change either
        torch.manual_seed(0)
        return VLM(model, processor, FAMILIES[type(model).__name__], self.name, grounding)

    def image(self):
        width, height = self.size
        return Image.fromarray(
            np.random.default_rng(1).integers(0, 255, (height, width, 3), dtype=np.uint8)
        )


THREE_TILES = ((1, 2), (2, 1), (2, 2))
SIZES = [(200, 120), (60, 150), (300, 40), (64, 64)]  # (width, height)
GEOMETRIES = {
    "llava": (build_llava, [{}, {"tile": 42, "patch": 7}], [*SIZES[:3], (96, 96)]),
    "llava_next": (
        build_llava_next,
        [
            {"tile": 56, "patch": 14, "grids": THREE_TILES},
            {"tile": 42, "patch": 14, "grids": ((1, 3), (3, 1), (2, 2))},
        ],
        SIZES,
    ),
    "internvl": (
        build_internvl,
        [
            {"tile": 56, "patch": 7, "tiles": 6},
            {"tile": 28, "patch": 7, "tiles": 12, "language": Qwen3Config},
            {"tile": 56, "patch": 7, "tiles": 1},
        ],
        SIZES,
    ),
    "qwen2_5_vl": (build_qwen2_5_vl, [{"least": 16, "most": 400}, {"least": 4, "most": 64}], SIZES),
    "qwen3_vl": (build_qwen3_vl, [{"least": 16, "most": 400}, {"least": 4, "most": 64}], SIZES),
    "llava_onevision": (
        build_llava_onevision,
        [
            # Patches leave 4 of 60 pixels of a tile, as the released ones 6 of 384; a canvas of
            # more tokens than a tile has is shrunk.
            {"tile": 60, "patch": 14, "grids": THREE_TILES, "most": 1},
            {"tile": 44, "patch": 14, "grids": ((1, 3), (3, 1), (2, 2))},
        ],
        SIZES[:2],
    ),
    "smolvlm": (
        build_smolvlm,
        [
            {"tile": 60, "patch": 14, "shuffle": 2, "tiles": 3},
            {"tile": 42, "patch": 7, "shuffle": 3, "tiles": 4},
        ],
        SIZES[:2],
    ),
}
UNTRAINED = [
    Case(f"{name}-{number}-{size[0]}x{size[1]}", build, options, size)
    for name, (build, variants, sizes) in GEOMETRIES.items()
    for number, options in enumerate(variants)
    for size in sizes
]
TRAINED = tuple(name for name in GEOMETRIES if (WEIGHTS / name).is_dir())
TINY = [
    Case(f"tiny_{name}-{width}x{height}", committed, {"family": name}, (width, height))
    for name in TRAINED
    for width, height in ((200, 120), (60, 150))
]
CASES = UNTRAINED + TINY
