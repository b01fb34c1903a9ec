"""Examples as pictures: the content of a stored row, drawn on its image."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
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
from entropy_grounding.benchmarks.miniature.questions import Question
from entropy_grounding.benchmarks.miniature.requirements import hides_evidence
from entropy_grounding.benchmarks.names import display_name, in_paper_order
from entropy_grounding.core.config import build
from entropy_grounding.core.geometry import Box
from entropy_grounding.core.records import Grounding
from entropy_grounding.grounding import ground
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.plots import (
    PAGE,
    RIGHT,
    WRONG,
    paper_style,
    plot_boxes,
    plot_map,
    set_message,
)
from entropy_grounding.reporting.labels import method_color, method_label
from entropy_grounding.vlm.model import VLM

_COLUMNS = 4  # examples side by side; wider rows would be small on a page


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


def plot_answers(rows: pd.DataFrame, source: dict[str, Any], *, title: str = "") -> Figure:
    """Draw examples of one evaluation side by side, as `plot_gallery` does.

    Args:
        rows: stored rows, one per panel.
        source: the manifest of these rows, which names their benchmark.
        title: title of the figure.
    """
    return plot_gallery([("", rows, source)], title=title)


@paper_style()
def plot_gallery(
    parts: Sequence[tuple[str, pd.DataFrame, dict[str, Any]]], *, title: str = ""
) -> Figure:
    """Draw examples of several evaluations side by side.

    Each panel shows the numbered crops and the dashed evidence on the image. Over it stand the
    question and the first reference, and below it the plain and the final answer with their scores:
    green where the score is at least one half, else red.

    Args:
        parts: a name that stands over its panels, stored rows, one per panel, and their manifest.
        title: title of the figure.
    """
    count = sum(len(rows) for _, rows, _ in parts)
    figure, panels, width = _grid_of(count)

    left = iter(panels)
    for name, rows, source in parts:
        examples = examples_of(source, list(rows["example_id"]))
        for row in rows.itertuples():
            axes = next(left)
            example = examples[str(row.example_id)]
            crops = [Box(*corners) for corners in row.crops]
            _plot_example(axes, example.image, crops, example.boxes)

            # The first line of the question, in lines that fit the panel.
            asked = str(row.question).splitlines()[0]
            _write_question(axes, width, name, asked, f"right: {row.references[0]}")
            _write_answers(axes, row)

    set_message(figure, title)
    return figure


def _grid_of(count: int) -> tuple[Figure, list[Axes], float]:
    """Return a figure with that many panels for pictures, the panels, and their width in inches."""
    columns = min(max(count, 1), _COLUMNS)
    lines = max(1, math.ceil(count / columns))
    width = PAGE / max(columns, 3)
    figure, grid = plt.subplots(
        lines,
        columns,
        figsize=(width * columns, (width + 0.9) * lines + 0.4),
        squeeze=False,
        layout="constrained",
    )
    for axes in grid.flat:
        axes.axis("off")

    return figure, list(grid.flat), width


def _plot_example(
    axes: Axes, image: Image.Image, crops: Sequence[Box], evidence: Sequence[Box]
) -> None:
    """Draw an image with its numbered crops and its dashed evidence."""
    axes.imshow(image)
    for box in evidence:
        _plot_evidence(axes, box)
    plot_boxes(axes, crops, [str(number + 1) for number in range(len(crops))])


def _write_question(axes: Axes, width: float, *lines: str) -> None:
    """Write lines over a panel that is ``width`` inches wide; empty ones are left out."""
    # An inch holds about 15 characters of 7 points.
    shown = [textwrap.fill(textwrap.shorten(line, 90), int(15 * width)) for line in lines if line]
    axes.set_title("\n".join(shown), fontsize=7, loc="left")


@paper_style()
def plot_examples(examples: Mapping[str, Example]) -> Figure:
    """Draw one example of each benchmark, with its evidence.

    Args:
        examples: by the identifier of their benchmark.
    """
    figure, panels, width = _grid_of(len(examples))
    for axes, name in zip(panels, in_paper_order(examples), strict=False):
        example = examples[name]
        _plot_example(axes, example.image, (), example.boxes)
        asked = " ".join(example.prompt.split("\n")[:-1])  # without the instruction
        evidence = "" if example.boxes else "(no evidence box: the thing is not there)"
        right = f"right: {example.references[0]} {evidence}".strip()
        _write_question(axes, width, display_name(name), asked, right)

    set_message(figure, _evidence_message(examples))
    return figure


def _evidence_message(examples: Mapping[str, Example]) -> str:
    """Say how much of the pictures the evidence takes, where it is hidden and elsewhere."""
    shares: dict[bool, list[float]] = {True: [], False: []}
    for name, example in examples.items():
        if example.boxes:
            area = sum(box.width * box.height for box in example.boxes)
            share = 100 * area / (example.image.width * example.image.height)
            shares[hides_evidence(name)].append(share)

    if not all(shares.values()):
        return "Each question asks for something whose place is known (dashed)"

    hidden, other = (f"{min(part):.1f} to {max(part):.1f} %" for part in shares.values())
    return (
        f"The evidence (dashed) takes {hidden} of the picture where it is hidden, "
        f"and {other} where it is not"
    )


def rescued_message(rows: Iterable[pd.DataFrame]) -> str:
    """Say how many wrong plain answers the crops make right, and how many right ones wrong.

    Args:
        rows: stored rows of each evaluation. An answer is right if it scores one half or more.
    """
    scored = pd.concat([each[each["status"] == "ok"] for each in rows])
    before, after = scored["plain_score"] >= 0.5, scored["score"] >= 0.5

    return (
        f"Of {(~before).sum():,} wrong plain answers the crops make {(after & ~before).sum():,} "
        f"right; of {before.sum():,} right ones they make {(before & ~after).sum():,} wrong"
    )


@paper_style()
def plot_methods(image: Image.Image, question: Question, found: Mapping[str, Grounding]) -> Figure:
    """Draw where each method looked on one image, with its answer.

    Args:
        image: the image.
        question: about a drawn scene, with its answer and its evidence.
        found: the groundings, by the name of the method.
    """
    figure, panels, _ = _grid_of(len(found))
    for axes, (name, grounding) in zip(panels, found.items(), strict=False):
        axes.imshow(image)
        if grounding.steps:
            plot_map(axes, image, grounding.steps[0].maps[0])
        for box in question.evidence:
            _plot_evidence(axes, box)
        crops = grounding.crops
        plot_boxes(axes, crops, [str(number + 1) for number in range(len(crops))])

        right = grounding.answer == question.answer
        axes.set_title(method_label(name), color=method_color(name), fontsize=7, loc="left")
        axes.text(
            0,
            -0.03,
            f"plain: {grounding.plain_answer}   zoomed: {grounding.answer}",
            transform=axes.transAxes,
            color=RIGHT if right else WRONG,
            fontsize=7,
            va="top",
        )

    hits = sum(grounding.answer == question.answer for grounding in found.values())
    message = f"“{question.text}” {hits} of {len(found)} methods answer rightly: {question.answer}"
    set_message(figure, message)
    return figure


def _write_answers(axes: Axes, row: Any) -> None:
    """Write both answers below a panel, green where the score is at least one half, else red."""
    answers = (("plain", row.plain_answer, row.plain_score), ("zoomed", row.answer, row.score))
    for height, (name, answer, score) in zip((-0.03, -0.14), answers, strict=True):
        axes.text(
            0,
            height,
            f"{name}: {textwrap.shorten(str(answer), 24) or '(empty)'} ({score:.1f})",
            transform=axes.transAxes,
            color=RIGHT if score >= 0.5 else WRONG,
            fontsize=7,
            va="top",
        )


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
