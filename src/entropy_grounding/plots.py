"""Pictures of groundings, and what all figures share: their style, message and files.

The functions return figures or draw into axes. Only `save_figure` writes, and none shows a figure.
"""

import io
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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

# Without the palette's red and brown, which look like its orange in a thin line.
REGION_COLORS = [sns.color_palette("colorblind")[number] for number in (0, 1, 2, 4, 9, 8, 7)]
MAP_COLORS = "magma"
RIGHT, WRONG = "#1a7f37", "#c1121f"  # colors of answers

COLUMN, PAGE = 3.3, 6.9  # inches, the width of a column and of a page of a paper
DOTS_PER_INCH = 160
_COLORS = 256  # of a PNG file; more are not seen in these pictures

# Sizes are those on paper: nothing is below 7 points at the width of a column or page.
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "figure.titlesize": 9,
    "figure.titleweight": "bold",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "text.parse_math": False,
    "text.usetex": False,
    "pdf.fonttype": 42,  # text in a PDF stays text
}

_PANEL = 1.9  # width of a panel in inches
_LONGEST = 400  # characters of a question or answer in a title
_DIMMED = 0.4  # how dark a cell without relevance is
_LEVELS = (0.25, 0.5, 0.75)  # contours, as shares of the largest relevance


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


@contextmanager
def paper_style() -> Iterator[None]:
    """Draw in the `STYLE` of a paper, with `literal_text`, as a context or as a decorator."""
    with literal_text(), matplotlib.rc_context(STYLE):
        yield


def set_message(figure: Figure, message: str) -> None:
    """Write the message of a figure over it, in lines that fit its width."""
    # An inch holds about 13 bold characters of 9 points.
    lines = _balanced(message, max(20, int(13 * figure.get_figwidth())))
    figure.suptitle("\n".join(lines), x=0.01, ha="left", parse_math=False)


def _balanced(text: str, width: int) -> list[str]:
    """Return a text in as few lines as the width allows, so that no line is much shorter."""
    words = text.split()
    lines = textwrap.wrap(" ".join(words), width)

    # Narrower as long as no word is broken and no line is added.
    for narrower in range(width - 1, max(map(len, words), default=width), -1):
        found = textwrap.wrap(" ".join(words), narrower)
        if len(found) > len(lines):
            break
        lines = found

    return lines


def save_figure(figure: Figure, path: Path, *, dpi: int = DOTS_PER_INCH) -> list[Path]:
    """Save a figure as a small PNG and, if it holds no picture, as a PDF beside it.

    The same figure gives the same bytes: the files hold no date and no name of a program.

    Args:
        figure: the figure.
        path: the PNG file.
        dpi: dots per inch of the PNG.

    Returns:
        The paths of the files.
    """
    with literal_text(), matplotlib.rc_context({"pdf.fonttype": STYLE["pdf.fonttype"]}):
        # Every drawing would lay the panels out a little differently; the first one counts.
        figure.canvas.draw()
        figure.set_layout_engine("none")

        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight", pad_inches=0.05)
        drawn = (
            Image.open(buffer).convert("RGB").quantize(_COLORS, kmeans=1, dither=Image.Dither.NONE)
        )
        drawn.save(path, format="PNG", optimize=True, dpi=(dpi, dpi))
        if any(axes.images for axes in figure.axes):
            return [path]

        document = path.with_suffix(".pdf")
        nothing = {"Creator": None, "Producer": None, "CreationDate": None}
        figure.savefig(
            document, format="pdf", bbox_inches="tight", pad_inches=0.05, metadata=nothing
        )
        return [path, document]


@literal_text()
def plot_map(
    axes: Axes, image: Image.Image, relevance_map: RelevanceMap, *, top: float | None = None
) -> None:
    """Draw the part of the image that a map covers, with the smoothed map over it.

    The less relevant a cell is, the darker it is. So the evidence keeps its colors. Contours mark
    a quarter, a half and three quarters of the largest relevance. ``top`` is the relevance of a
    cell that is not dimmed. By default that is the largest relevance of this map.
    """
    place = relevance_map.view.box
    axes.imshow(image, extent=(0, image.width, image.height, 0))

    # A map of zeros stays dark.
    share = relevance_map.smoothed / (top or relevance_map.smoothed.max() or 1.0)
    shade = np.zeros((*share.shape, 4))  # RGBA: black, as opaque as a cell is irrelevant
    shade[..., 3] = _DIMMED * (1 - np.clip(share, 0, 1))
    axes.imshow(shade, extent=(place.x0, place.x1, place.y1, place.y0), interpolation="nearest")

    _plot_contours(axes, share, place)
    _frame(axes, _shown(place, image))


def _plot_contours(axes: Axes, share: np.ndarray, place: Box) -> None:
    """Draw lines of equal relevance through the cells of a map ``(rows, cols)``."""
    levels = [level for level in _LEVELS if share.min() < level < share.max()]
    if not levels:
        return

    # The values belong to the middles of the cells; one more cell around them closes the lines.
    rows, cols = share.shape
    x = place.x0 + place.width * (np.arange(-1, cols + 1) + 0.5) / cols
    y = place.y0 + place.height * (np.arange(-1, rows + 1) + 0.5) / rows
    axes.contour(x, y, np.pad(share, 1), levels=levels, colors="#ffe14d", linewidths=0.7)


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

    Without ``ranks`` the first box is the best one. The limits of the axes must be set before: a
    label that would be cut at their edge stands inside its box.
    """
    for index, box in enumerate(boxes):
        rank = ranks[index] if ranks else index
        color = REGION_COLORS[rank % len(REGION_COLORS)]
        axes.add_patch(
            Rectangle(
                (box.x0, box.y0), box.width, box.height, fill=False, edgecolor=color, linewidth=1.6
            )
        )

        if labels:
            _plot_label(axes, box, labels[index], color)


def _plot_label(axes: Axes, box: Box, label: str, color: tuple[float, float, float]) -> None:
    """Write the label of a box at its upper left corner, or as near as the axes have room."""
    left, right = sorted(axes.get_xlim())
    upper, lower = sorted(axes.get_ylim())

    # A label takes about a twelfth of the height; above the box only where that much is free.
    free = box.y0 - upper > (lower - upper) / 12
    late = box.x0 > left + 0.75 * (right - left)
    axes.text(
        min(box.x1, right) if late else max(box.x0, left),
        box.y0 if free else max(box.y0, upper),
        label,
        color="white",
        fontsize=7,
        fontweight="bold",
        ha="right" if late else "left",
        va="bottom" if free else "top",
        bbox={"facecolor": color, "edgecolor": "none", "pad": 1.2},
    )


@paper_style()
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
    height = _PANEL * min(1.0, max(0.45, image.height / image.width)) + 0.35

    figure, grid = plt.subplots(
        len(steps) + 1,
        columns,
        squeeze=False,
        figsize=(_PANEL * columns, height * (len(steps) + 1)),
    )
    for axes in grid.ravel():
        axes.axis("off")  # panels that stay empty have no frame

    for number, step in enumerate(steps):
        _plot_step(grid[number], image, number, step)
    _plot_answer(grid[-1], image, grounding)

    # About 24 characters fit over one panel.
    lines = _title(grounding, len(grounding.steps) - len(steps)).splitlines()
    title = "\n".join(textwrap.fill(line, 24 * columns) for line in lines)
    inches = 0.16 * (title.count("\n") + 1.5)  # of the title, with a gap below it
    figure.set_figheight(figure.get_figheight() + inches)
    figure.suptitle(title, y=1 - 0.08 / figure.get_figheight(), va="top")
    figure.tight_layout()
    return figure


@paper_style()
def plot_teaser(grounding: Grounding, image: Image.Image, *, truth: str = "") -> Figure:
    """Draw a grounding as one wide row: the map of the image, the crops, and both answers.

    Args:
        grounding: result of `ground`.
        image: the original image.
        truth: the right answer. An equal answer is green and any other is red; without it both
            answers are black.
    """
    crops = grounding.crops
    widths = [1.0] * (1 + max(len(crops), 1)) + [0.9]
    figure, row = plt.subplots(
        1,
        len(widths),
        figsize=(PAGE, PAGE / sum(widths) + 0.65),
        width_ratios=widths,
        layout="constrained",
    )
    for axes in row:
        axes.axis("off")

    first = grounding.steps[0].maps[0] if grounding.steps else None
    row[0].axis("on")
    if first:
        plot_map(row[0], image, first)
    else:
        row[0].imshow(image)
    _frame(row[0], Box(0, 0, image.width, image.height))
    plot_boxes(row[0], crops, [str(number + 1) for number in range(len(crops))])
    row[0].set_title("where the model is unsure", loc="left")

    _plot_crops(row[1:-1], image, crops)
    _plot_answers(row[-1], grounding, truth)
    set_message(figure, f"“{_shortened(grounding.question)}”")
    return figure


def _plot_answers(axes: Axes, grounding: Grounding, truth: str) -> None:
    """Write the plain answer over the zoomed one."""
    both = (("full image", grounding.plain_answer), ("with crops", grounding.answer))
    for height, (name, answer) in zip((0.82, 0.34), both, strict=True):
        known = {True: RIGHT, False: WRONG}[answer.strip() == truth.strip()]
        color = known if truth else "black"

        # Long answers are smaller.
        size = 22 if len(answer) <= 4 else 9
        shown = textwrap.fill(textwrap.shorten(answer, 60), 16) or "(empty)"
        axes.text(0.08, height, name, transform=axes.transAxes, va="bottom")
        axes.text(
            0.08,
            height - 0.02,
            shown,
            transform=axes.transAxes,
            va="top",
            color=color,
            fontsize=size,
            fontweight="bold",
        )


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
            axes.set_title(f"crop {image_index}")

    entropies = f"entropy {step.entropy:.2f}, spatial {step.spatial_entropy:.2f} nats"
    title = f"round {number}: {entropies}".replace("inf", "∞")
    row[0].set_title(title, loc="left")


def _plot_answer(row: np.ndarray, image: Image.Image, grounding: Grounding) -> None:
    """Draw the full image with its crops outlined, and then each crop as the VLM reads it."""
    row[0].axis("on")
    row[0].imshow(image, extent=(0, image.width, image.height, 0))
    _frame(row[0], Box(0, 0, image.width, image.height))
    crops = grounding.crops
    plot_boxes(row[0], crops, [str(number + 1) for number in range(len(crops))])
    answer = textwrap.shorten(grounding.answer, 40) or "(empty)"
    row[0].set_title(f"answer: {answer}", loc="left")

    _plot_crops(row[1:], image, grounding.crops)


def _plot_crops(row: np.ndarray, image: Image.Image, crops: Sequence[Box]) -> None:
    """Draw each crop as the VLM reads it."""
    for index, box in enumerate(crops):
        crop, place = cut(image, box)  # the place is the box in whole pixels
        axes = row[index]
        axes.axis("on")
        axes.imshow(crop, extent=(place.x0, place.x1, place.y1, place.y0))
        _frame(axes, place)

        # The frame of a crop has the color of its outline in the full image.
        for spine in axes.spines.values():
            spine.set(
                visible=True, edgecolor=REGION_COLORS[index % len(REGION_COLORS)], linewidth=2.2
            )
        axes.set_title(f"crop {index + 1}", loc="left")


def _shown(box: Box, image: Image.Image) -> Box:
    """Return the part of a box that lies in the image."""
    return box.intersection(Box(0, 0, image.width, image.height)) or box


def _frame(axes: Axes, box: Box) -> None:
    """Limit axes to a box, without ticks; y grows downwards, as in images."""
    axes.set(xlim=(box.x0, box.x1), ylim=(box.y1, box.y0), xticks=[], yticks=[])
    axes.spines[:].set_visible(True)


@paper_style()
def plot_values(
    axes: Axes, values: np.ndarray, *, title: str = "", top: float | None = None
) -> None:
    """Draw an array ``(rows, cols)`` as cells with a color bar from 0 to ``top``, its largest."""
    drawn = axes.imshow(values, cmap=MAP_COLORS, vmin=0, vmax=top)
    axes.set_title(title, parse_math=False)  # the axes are the caller's, and so are their settings
    axes.set(xlabel="column of cells", ylabel="row of cells")
    axes.figure.colorbar(drawn, ax=axes, fraction=0.046)


@paper_style()
def plot_elbow(axes: Axes, values: np.ndarray, threshold: float) -> None:
    """Draw the sorted values, the chord between their ends, and the elbow."""
    ordered = np.sort(values.ravel())
    last = len(ordered) - 1
    place = int(np.searchsorted(ordered, threshold))

    axes.axvspan(place, last, color=REGION_COLORS[1], alpha=0.15, linewidth=0)
    axes.plot(ordered, color=REGION_COLORS[0])
    axes.plot([0, last], ordered[[0, last]], color="gray", linestyle="--")
    axes.plot(place, threshold, "o", color=REGION_COLORS[1])

    middle = (ordered[0] + ordered[-1]) / 2
    axes.text(0.5 * last, middle, "chord", color="gray", fontsize=7, ha="right", va="bottom")
    axes.text(place, threshold, f"elbow: {threshold:.2g}  ", fontsize=7, ha="right", va="bottom")
    kept = len(ordered) - place
    axes.text(place, ordered[-1], f"{kept} cells kept  ", fontsize=7, ha="right", va="center")

    axes.set(xlabel="rank of the cell", ylabel="smoothed relevance")
    sns.despine(ax=axes)
