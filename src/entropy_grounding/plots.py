"""Pictures of groundings.

The functions return figures or draw into axes. They never show or save a figure.
"""

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
_PANEL = 2.9  # width of a panel in inches
_LONGEST = 400  # characters of a question or answer in a title


@contextmanager
def literal_text() -> Iterator[None]:
    """Draw texts as they are, as a context or as a decorator.

    Dollar signs start no formula. A character that no font has becomes a box, without a warning.
    """
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
    """Draw the part of the image that a map covers, with the smoothed map over it.

    A more relevant cell is more opaque. ``top`` is the relevance of the brightest color. By default
    that is the largest relevance of this map.
    """
    box = _shown(relevance_map.view.box, image)
    place = relevance_map.view.box
    axes.imshow(image, extent=(0, image.width, image.height, 0))

    # A map of zeros stays dark.
    share = relevance_map.smoothed / (top or relevance_map.smoothed.max() or 1.0)
    extent = (place.x0, place.x1, place.y1, place.y0)
    axes.imshow(
        share,
        extent=extent,
        cmap=MAP_COLORS,
        alpha=0.2 + 0.5 * share,  # the image can be seen through every cell
        interpolation="nearest",
        vmin=0,
        vmax=1,
    )
    _frame(axes, box)


@literal_text()
def plot_token_grid(axes: Axes, image: Image.Image, view: View) -> None:
    """Draw the token grid of a view over the image, one cell per visual token.

    Cells that show only padding are hatched.
    """
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

    # Padding lies outside the image, so the frame holds both.
    x0, y0, x1, y1 = view.box.xyxy()
    _frame(axes, Box(min(x0, 0), min(y0, 0), max(x1, image.width), max(y1, image.height)))


@literal_text()
def plot_boxes(
    axes: Axes, boxes: Sequence[Box], labels: Sequence[str] = (), ranks: Sequence[int] | None = None
) -> None:
    """Outline boxes, in pixels of the original image, with one color per rank.

    Without ``ranks`` the first box is the best one.
    """
    for index, box in enumerate(boxes):
        rank = ranks[index] if ranks else index
        color = REGION_COLORS[rank % len(REGION_COLORS)]
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
    """Draw one row per zoom step, and a last row for the answer.

    The row of a step shows the full image and then its crops, each with its map and the regions
    that were found in it. The last row shows the crops that the answer was read from.

    Args:
        grounding: result of `ground`.
        image: the original image.
        max_rounds: largest number of steps that are drawn. The title tells how many later rounds
            are left out.
    """
    steps = grounding.steps[:max_rounds]

    # The full image and the crops beside it; wide images have lower panels.
    crops = [len(step.crops) for step in steps]
    columns = 1 + max(1, *crops, len(grounding.crops))
    height = _PANEL * min(1.0, max(0.45, image.height / image.width)) + 0.45

    figure, grid = plt.subplots(
        len(steps) + 1,
        columns,
        squeeze=False,
        figsize=(_PANEL * columns, height * (len(steps) + 1) + 0.9),
    )
    for axes in grid.ravel():
        axes.axis("off")  # panels that stay empty have no frame

    for number, step in enumerate(steps):
        _plot_step(grid[number], image, number, step)
    _plot_answer(grid[-1], image, grounding)

    # About 36 characters fit over one panel.
    lines = _title(grounding, len(grounding.steps) - len(steps)).splitlines()
    figure.suptitle("\n".join(textwrap.fill(line, 36 * columns) for line in lines), fontsize=11)
    figure.tight_layout()
    return figure


def _title(grounding: Grounding, more: int) -> str:
    """Return question, answers and stop reason; ``more`` is the number of rounds not drawn."""
    question = _shortened(grounding.question)
    plain, zoomed = _shortened(grounding.plain_answer), _shortened(grounding.answer)
    reason = STOP_REASONS[grounding.stop_reason]
    if more:
        reason += f"; {more} more rounds not shown"

    return f"{question}\nplain: {plain}   →   zoomed: {zoomed}\n({reason})"


def _shortened(text: str) -> str:
    """Return a text that fits into a title."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _plot_step(row: np.ndarray, image: Image.Image, number: int, step: ZoomStep) -> None:
    """Draw one round: the first map of every picture, with the regions found in that picture."""
    # A picture may have several maps, such as the base tile and the canvas of LLaVA-NeXT.
    first_maps: dict[int, RelevanceMap] = {}
    for relevance_map in step.maps:
        first_maps.setdefault(relevance_map.view.image_index, relevance_map)

    # One scale for all pictures of a round, so that their colors can be compared.
    top = max((relevance_map.smoothed.max() for relevance_map in step.maps), default=None)
    for image_index, relevance_map in sorted(first_maps.items()):
        axes = row[image_index]
        axes.axis("on")
        plot_map(axes, image, relevance_map, top=top)

        boxes, labels, ranks = [], [], []
        for rank, region in enumerate(step.regions):
            if step.maps[region.map_index].view.image_index == image_index:
                boxes.append(region.box)
                labels.append(f"{rank + 1}")
                ranks.append(rank)
        plot_boxes(axes, boxes, labels, ranks)
        if image_index:
            axes.set_title(f"crop {image_index}", fontsize=9)

    entropies = f"entropy {step.entropy:.2f}, spatial {step.spatial_entropy:.2f} nats"
    title = f"round {number}: {entropies}".replace("inf", "∞")
    row[0].set_title(title, fontsize=9, loc="left")


def _plot_answer(row: np.ndarray, image: Image.Image, grounding: Grounding) -> None:
    """Draw the full image with its crops outlined, and then each crop as the VLM reads it."""
    row[0].axis("on")
    row[0].imshow(image, extent=(0, image.width, image.height, 0))
    _frame(row[0], Box(0, 0, image.width, image.height))
    plot_boxes(row[0], grounding.crops)
    answer = textwrap.shorten(grounding.answer, 40) or "(empty)"
    row[0].set_title(f"answer: {answer}", fontsize=9, loc="left")

    for index, box in enumerate(grounding.crops):
        crop, place = cut(image, box)  # the place is the box in whole pixels
        axes = row[index + 1]
        axes.axis("on")
        axes.imshow(crop, extent=(place.x0, place.x1, place.y1, place.y0))
        _frame(axes, place)

        # The frame of a crop has the color of its outline in the full image.
        for spine in axes.spines.values():
            spine.set(edgecolor=REGION_COLORS[index % len(REGION_COLORS)], linewidth=2.2)
        axes.set_title(f"read from crop {index + 1}", fontsize=9)


def _shown(box: Box, image: Image.Image) -> Box:
    """Return the part of a box that lies in the image."""
    return box.intersection(Box(0, 0, image.width, image.height)) or box


def _frame(axes: Axes, box: Box) -> None:
    """Limit axes to a box, without ticks; y grows downwards, as in images."""
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
