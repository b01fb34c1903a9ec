"""Pictures of groundings; functions return figures and never show or save them."""

import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from entropy_grounding.core.geometry import Box, View
from entropy_grounding.core.images import cut
from entropy_grounding.core.records import STOP_REASONS, Grounding, RelevanceMap, ZoomStep

REGION_COLORS = sns.color_palette("colorblind")
MAP_COLORS = "magma"
_PANEL = 2.9  # inches
_LONGEST = 400  # characters of a question or answer in a title


@contextmanager
def literal_text() -> Iterator[None]:
    """Draw texts as they are, also as a decorator: no formulas, and what no font has is a box without a warning."""
    with (
        warnings.catch_warnings(),
        matplotlib.rc_context({"text.parse_math": False, "text.usetex": False}),
    ):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


@literal_text()
def plot_map(
    axes: Axes, image: Image.Image, relevance_map: RelevanceMap, *, top: float | None = None
) -> None:
    """Draw the part of the image that a map covers, with the smoothed map over it: the more relevant a cell, the more opaque.

    ``top`` is the relevance drawn brightest, the map's own largest by default.
    """
    box = _shown(relevance_map.view.box, image)
    place = relevance_map.view.box
    axes.imshow(image, extent=(0, image.width, image.height, 0))
    share = relevance_map.smoothed / (top or relevance_map.smoothed.max() or 1.0)
    extent = (place.x0, place.x1, place.y1, place.y0)
    axes.imshow(
        share,
        extent=extent,
        cmap=MAP_COLORS,
        alpha=0.2 + 0.5 * share,
        interpolation="nearest",
        vmin=0,
        vmax=1,
    )
    _frame(axes, box)


@literal_text()
def plot_token_grid(axes: Axes, image: Image.Image, view: View) -> None:
    """Draw the cells of a view over the image, each visual token one cell; cells that show only padding are hatched."""
    axes.imshow(image, extent=(0, image.width, image.height, 0))
    rows, cols = view.shape
    inside = view.cells_inside()
    for row in range(rows):
        for col in range(cols):
            cell = view.cell_box((row, col, row + 1, col + 1))
            color, hatch = ("white", None) if inside[row, col] else ("gray", "////")
            axes.add_patch(
                Rectangle(
                    (cell.x0, cell.y0),
                    cell.width,
                    cell.height,
                    fill=False,
                    edgecolor=color,
                    linewidth=0.6,
                    hatch=hatch,
                )
            )
    x0, y0, x1, y1 = view.box.xyxy()
    _frame(axes, Box(min(x0, 0), min(y0, 0), max(x1, image.width), max(y1, image.height)))


@literal_text()
def plot_boxes(
    axes: Axes, boxes: Sequence[Box], labels: Sequence[str] = (), ranks: Sequence[int] | None = None
) -> None:
    """Outline boxes (pixels of the original image), one color for each rank; best first unless ``ranks`` are given."""
    for index, box in enumerate(boxes):
        color = REGION_COLORS[(ranks[index] if ranks else index) % len(REGION_COLORS)]
        axes.add_patch(
            Rectangle(
                (box.x0, box.y0), box.width, box.height, fill=False, edgecolor=color, linewidth=2.2
            )
        )
        if labels:
            axes.text(
                box.x0,
                box.y0,
                labels[index],
                color="white",
                fontsize=8,
                va="bottom",
                backgroundcolor=color,
                clip_on=True,
            )


@literal_text()
def plot_grounding(grounding: Grounding, image: Image.Image, *, max_rounds: int = 6) -> Figure:
    """Draw every zoom step as a row (full image, then its crops, each with its map and the regions found in it), then the answers.

    Args:
        grounding: result of `ground`.
        image: the original image.
        max_rounds: rows at most; later rounds are left out and the title says so.
    """
    steps = grounding.steps[:max_rounds]
    columns = max([2, *(1 + len(step.crops) for step in steps), 1 + len(grounding.crops)])
    height = _PANEL * min(1.0, max(0.45, image.height / image.width)) + 0.45
    figure, grid = plt.subplots(
        len(steps) + 1,
        columns,
        squeeze=False,
        figsize=(_PANEL * columns, height * (len(steps) + 1) + 0.9),
    )
    for axes in grid.ravel():
        axes.axis("off")
    for number, step in enumerate(steps):
        _plot_step(grid[number], image, number, step)
    _plot_answer(grid[-1], image, grounding)
    more = len(grounding.steps) - len(steps)
    reason = STOP_REASONS[grounding.stop_reason] + (
        f"; {more} more rounds not shown" if more else ""
    )
    question, plain, zoomed = (
        _shortened(each) for each in (grounding.question, grounding.plain_answer, grounding.answer)
    )
    title = f"{question}\nplain: {plain}   →   zoomed: {zoomed}\n({reason})"
    figure.suptitle(
        "\n".join(textwrap.fill(line, 36 * columns) for line in title.splitlines()), fontsize=11
    )
    figure.tight_layout()
    return figure


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _plot_step(row: np.ndarray, image: Image.Image, number: int, step: ZoomStep) -> None:
    """Draw one round: the first map of every picture, with the regions that were found in that picture."""
    first_maps = {
        each.view.image_index: index for index, each in reversed(list(enumerate(step.maps)))
    }
    for image_index, map_index in sorted(first_maps.items()):
        axes = row[image_index]
        axes.axis("on")
        plot_map(
            axes, image, step.maps[map_index], top=max(each.smoothed.max() for each in step.maps)
        )
        ranks = [
            rank
            for rank, r in enumerate(step.regions)
            if step.maps[r.map_index].view.image_index == image_index
        ]
        plot_boxes(
            axes,
            [step.regions[rank].box for rank in ranks],
            [f"{rank + 1}" for rank in ranks],
            ranks,
        )
        if image_index:
            axes.set_title(f"crop {image_index}", fontsize=9)
    row[0].set_title(
        f"round {number}: entropy {step.entropy:.2f}, spatial {step.spatial_entropy:.2f} nats".replace(
            "inf", "∞"
        ),
        fontsize=9,
        loc="left",
    )


def _plot_answer(row: np.ndarray, image: Image.Image, grounding: Grounding) -> None:
    row[0].axis("on")
    row[0].imshow(image, extent=(0, image.width, image.height, 0))
    _frame(row[0], Box(0, 0, image.width, image.height))
    plot_boxes(row[0], grounding.crops)
    row[0].set_title(
        f"answer: {textwrap.shorten(grounding.answer, 40) or '(empty)'}", fontsize=9, loc="left"
    )
    for index, box in enumerate(grounding.crops):
        crop, place = cut(image, box)
        axes = row[index + 1]
        axes.axis("on")
        axes.imshow(crop, extent=(place.x0, place.x1, place.y1, place.y0))
        _frame(axes, place)
        for spine in axes.spines.values():
            spine.set(edgecolor=REGION_COLORS[index % len(REGION_COLORS)], linewidth=2.2)
        axes.set_title(f"read from crop {index + 1}", fontsize=9)


def _shown(box: Box, image: Image.Image) -> Box:
    return box.intersection(Box(0, 0, image.width, image.height)) or box


def _frame(axes: Axes, box: Box) -> None:
    axes.set(xlim=(box.x0, box.x1), ylim=(box.y1, box.y0), xticks=[], yticks=[])


@literal_text()
def plot_values(axes: Axes, values: np.ndarray, *, title: str = "") -> None:
    """Draw an array ``(rows, cols)`` as cells with a color bar."""
    drawn = axes.imshow(values, cmap=MAP_COLORS)
    axes.set_title(title, parse_math=False)  # the axes are the caller's, and so are their settings
    axes.set(xlabel="column", ylabel="row")
    axes.figure.colorbar(drawn, ax=axes, fraction=0.046)


@literal_text()
def plot_elbow(axes: Axes, values: np.ndarray, threshold: float) -> None:
    """Draw the sorted values, the chord between their ends, and the elbow."""
    ordered = np.sort(values.ravel())
    last = len(ordered) - 1
    axes.plot(ordered, color=REGION_COLORS[0], label="sorted values")
    axes.plot([0, last], ordered[[0, last]], color="gray", linestyle="--", label="chord")
    axes.plot(
        np.searchsorted(ordered, threshold), threshold, "o", color=REGION_COLORS[3], label="elbow"
    )
    axes.set(xlabel="rank of the cell", ylabel="smoothed relevance")
    axes.legend()
    sns.despine(ax=axes)
