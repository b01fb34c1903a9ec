"""Examples as pictures: what a stored row says, drawn on its image."""

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from entropy_grounding.benchmarks.base import Example
from entropy_grounding.benchmarks.config import BenchmarkConfig
from entropy_grounding.benchmarks.load import BENCHMARKS, load_benchmark
from entropy_grounding.core.config import build
from entropy_grounding.core.geometry import Box
from entropy_grounding.core.records import Grounding
from entropy_grounding.grounding import ground
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.plots import literal_text, plot_boxes
from entropy_grounding.vlm.model import VLM

_PANEL = 3.6  # inches


def examples_of(source: dict[str, Any], identities: Sequence[str]) -> dict[str, Example]:
    """Return examples by id, from the benchmark that a manifest names; reading ends with the last of them."""
    wanted = set(identities)
    config = replace(build(BenchmarkConfig, source["config"]["benchmark"]), examples=None)
    found: dict[str, Example] = {}
    for example in load_benchmark(config):
        if example.id in wanted and isinstance(example, Example):
            found[example.id] = example
        if len(found) == len(wanted):
            break
    return found


def rescued(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose plain answer scores less than one half and whose final answer has the full score."""
    return rows[(rows["status"] == "ok") & (rows["plain_score"] < 0.5) & (rows["score"] == 1)]


@literal_text()
def plot_answers(rows: pd.DataFrame, examples: dict[str, Example], *, title: str = "") -> Figure:
    """Draw examples side by side: crops (numbered), evidence (dashed), question, first reference, plain and final answer with scores."""
    figure, grid = plt.subplots(
        1, max(len(rows), 1), figsize=(_PANEL * max(len(rows), 1), _PANEL + 1), squeeze=False
    )
    for axes, row in zip(grid[0], rows.itertuples(), strict=False):
        example = examples[str(row.example_id)]
        axes.imshow(example.image)
        crops = [Box(*box) for box in row.crops]
        plot_boxes(axes, crops, [str(number + 1) for number in range(len(crops))])
        for box in example.boxes:
            axes.add_patch(
                plt.Rectangle(
                    (box.x0, box.y0), box.width, box.height, fill=False, color="white", linewidth=3
                )
            )
            axes.add_patch(
                plt.Rectangle(
                    (box.x0, box.y0),
                    box.width,
                    box.height,
                    fill=False,
                    color="black",
                    linewidth=1.2,
                    linestyle="--",
                )
            )
        asked = textwrap.fill(str(row.question).splitlines()[0], 44)
        answers = f"{row.plain_answer} ({row.plain_score:.1f}) -> {row.answer} ({row.score:.1f})"
        axes.set_title(f"{asked}\n{row.references[0]}: {answers}", fontsize=8)
        axes.axis("off")
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    return figure


def regrounded(vlm: VLM, source: dict[str, Any], identity: str) -> tuple[Grounding, Image.Image]:
    """Return the whole grounding of a stored example, computed anew from the configuration of its manifest, and its image."""
    (example,) = examples_of(source, [identity]).values()
    data = build(BenchmarkConfig, source["config"]["benchmark"])
    longest = data.protocol.max_new_tokens or BENCHMARKS[data.kind].max_new_tokens

    # Manifests of the first version name a length among the method's options, which evaluations never used.
    method = {
        name: value
        for name, value in source["config"]["method"].items()
        if name != "max_new_tokens"
    }
    grounding = ground(
        vlm, example.image, example.prompt, build(GroundingOptions, method), max_new_tokens=longest
    )

    return grounding, example.image
