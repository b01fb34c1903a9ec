"""Examples as pictures: the content of a stored row, drawn on its image."""

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
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

_PANEL = 3.6  # inches, the width of one example


def examples_of(source: dict[str, Any], identities: Sequence[str]) -> dict[str, Example]:
    """Return examples by id, read from the benchmark that a manifest names.

    Reading stops after the last wanted example.

    Args:
        source: the manifest of an evaluation.
        identities: the ids of the wanted examples.
    """
    wanted = set(identities)

    # The evaluation may have read fewer examples than the benchmark has.
    config = replace(build(BenchmarkConfig, source["config"]["benchmark"]), examples=None)
    examples: dict[str, Example] = {}
    for example in load_benchmark(config):
        if example.id in wanted and isinstance(example, Example):
            examples[example.id] = example
        if len(examples) == len(wanted):
            break

    return examples


def rescued(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose plain answer is wrong and whose final answer has the full score.

    A plain answer counts as wrong if it scores less than one half.
    """
    return rows[(rows["status"] == "ok") & (rows["plain_score"] < 0.5) & (rows["score"] == 1)]


def rescued_late(rows: pd.DataFrame, *fewer: pd.DataFrame) -> pd.DataFrame:
    """Return the `rescued` rows whose examples every evaluation with fewer rounds gets wrong.

    Args:
        rows: rows of an evaluation.
        fewer: rows of the same examples, each with fewer rounds.
    """
    late = rescued(rows)
    for other in fewer:
        wrong = other[(other["status"] == "ok") & (other["score"] < 0.5)]
        late = late[late["example_id"].isin(wrong["example_id"])]

    return late


@literal_text()
def plot_answers(rows: pd.DataFrame, source: dict[str, Any], *, title: str = "") -> Figure:
    """Draw examples side by side.

    Each panel shows the numbered crops and the dashed evidence on the image. Its title holds the
    question, the first reference, and the plain and the final answer with their scores.

    Args:
        rows: stored rows, one per panel.
        source: the manifest of these rows, which names their benchmark.
        title: title of the figure.
    """
    examples = examples_of(source, list(rows["example_id"]))
    count = max(len(rows), 1)
    figure, grid = plt.subplots(1, count, figsize=(_PANEL * count, _PANEL + 1), squeeze=False)

    for axes, row in zip(grid[0], rows.itertuples(), strict=False):
        example = examples[str(row.example_id)]
        axes.imshow(example.image)
        axes.axis("off")

        crops = [Box(*corners) for corners in row.crops]
        plot_boxes(axes, crops, [str(number + 1) for number in range(len(crops))])
        for box in example.boxes:
            _plot_evidence(axes, box)

        # The first line of the question, in lines of at most 44 characters to fit the panel.
        asked = textwrap.fill(str(row.question).splitlines()[0], 44)
        answers = f"{row.plain_answer} ({row.plain_score:.1f}) -> {row.answer} ({row.score:.1f})"
        axes.set_title(f"{asked}\n{row.references[0]}: {answers}", fontsize=8)

    figure.suptitle(title, fontsize=10)
    figure.tight_layout()

    return figure


def _plot_evidence(axes: Axes, box: Box) -> None:
    """Draw a box as a black dashed line on a white line, which is visible on every image."""
    corner = (box.x0, box.y0)
    white: dict[str, Any] = {"color": "white", "linewidth": 3}
    black: dict[str, Any] = {"color": "black", "linewidth": 1.2, "linestyle": "--"}

    for style in (white, black):
        axes.add_patch(plt.Rectangle(corner, box.width, box.height, fill=False, **style))


def regrounded(vlm: VLM, source: dict[str, Any], identity: str) -> tuple[Grounding, Image.Image]:
    """Ground a stored example again, as the configuration of its manifest says.

    Rows hold only a part of a grounding; this returns all of it.

    Args:
        vlm: the model of the evaluation.
        source: the manifest of the evaluation.
        identity: the id of the example.

    Returns:
        The whole grounding, and the image of the example.
    """
    (example,) = examples_of(source, [identity]).values()
    data = build(BenchmarkConfig, source["config"]["benchmark"])
    longest = data.protocol.max_new_tokens or BENCHMARKS[data.kind].max_new_tokens

    options = build(GroundingOptions, source["config"]["method"])
    grounding = ground(vlm, example.image, example.prompt, options, max_new_tokens=longest)

    return grounding, example.image
