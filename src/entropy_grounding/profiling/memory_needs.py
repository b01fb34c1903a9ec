"""The memory that the released checkpoints need on GPUs of usual sizes, computed from small files.

``eg profile memory`` reads configuration, processor and chat template of each checkpoint, no
weights, and writes results/measured/memory.json. The table in docs/real_checkpoints.md comes from
that file.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import transformers

from entropy_grounding.core.config import section_config
from entropy_grounding.evaluation.provenance import commit
from entropy_grounding.experiments.places import local_weights
from entropy_grounding.profiling.random_vlm import SHAPES
from entropy_grounding.profiling.released import PICTURE, ROUNDS
from entropy_grounding.vlm.config import VLMConfig
from entropy_grounding.vlm.load import read_checkpoint
from entropy_grounding.vlm.memory import CROPS, Loop, fitting, memory_need, prompt_length

MEMORY = "memory.json"
CARDS = (24, 40, 80)  # gigabytes
RESERVE = 2.0  # gigabytes of a card for its driver, the output layer and freed pieces
# Pictures (width, height) that fill the budgets: the more tokens of a family count.
LARGEST = ((2400, 1800), (2400, 2400))


def measure_memory(folder: str | None = None) -> pd.DataFrame:
    """Return the computed memory of every released checkpoint.

    Args:
        folder: copies of the checkpoints' small files, as ORG/NAME or NAME; None for the hub.

    Returns:
        One row per VLM and card in gigabytes, for the largest pictures, with the options that make
        it fit ("" for none, None if nothing fits) and what they need. And one row per VLM without
        a card, for the picture that was measured on a GPU. Memory is in gigabytes.

    Raises:
        InputError: for a checkpoint without a copy in the folder.
    """
    about = {"commit": commit(), "transformers": transformers.__version__}
    rows = [row | about for name in SHAPES for row in _rows(name, folder)]
    return pd.DataFrame(rows)


def _rows(name: str, folder: str | None) -> Iterator[dict[str, Any]]:
    """Yield the rows of one VLM."""
    vlm = local_weights(section_config("vlm", name, VLMConfig), folder)
    revision = None if Path(vlm.weights).is_dir() else vlm.revision
    checkpoint = read_checkpoint(vlm, vlm.weights, revision)
    processor, family = checkpoint.processor, checkpoint.family
    parts = checkpoint.config, processor, family, getattr(torch, vlm.dtype)

    usual = Loop(picture=PICTURE, rounds=ROUNDS)
    alone = memory_need(*parts, Loop(picture=PICTURE, crops=0))
    need = memory_need(*parts, usual)
    yield {
        "vlm": name,
        "picture": "x".join(map(str, PICTURE)),
        "positions": alone.positions,
        "weights": need.weights,
        "map": alone.weights + alone.map,
        "checkpointed map": alone.weights + alone.checkpointed_map,
        "grounding": need.usual,
        "checkpointed grounding": need.least,
    }

    loop = max(
        (Loop(picture=picture) for picture in LARGEST),
        key=lambda loop: prompt_length(processor, family, loop, CROPS),
    )
    need = memory_need(*parts, loop)
    for card in CARDS:
        options, gigabytes = fitting(*parts, card - RESERVE, loop) or (None, None)
        yield {
            "vlm": name,
            "card": card,
            "picture": "x".join(map(str, loop.picture)),
            "positions": need.positions,
            "weights": need.weights,
            "options": options,
            "needed": gigabytes,
        }
