"""Pictures of groundings; functions return figures and never show or save them."""

import math
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from PIL import Image

from entropy_grounding.images import cut
from entropy_grounding.league import mean_costs
from entropy_grounding.stopping import STOP_REASONS
from entropy_grounding.structures import Box, Grounding, RelevanceMap, View, ZoomStep
from entropy_grounding.tiny.build import BIG_SIBLINGS

REGION_COLORS = sns.color_palette("colorblind")
MAP_COLORS = "magma"
_PANEL = 2.9  # inches
_LONGEST = 400  # characters of a question or answer in a title


@contextmanager
def literal_text() -> Iterator[None]:
    """Draw texts as they are, also as a decorator: no formulas, and what no font has is a box without a warning."""
    with warnings.catch_warnings(), matplotlib.rc_context({"text.parse_math": False, "text.usetex": False}):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


@literal_text()
def plot_map(axes: Axes, image: Image.Image, relevance_map: RelevanceMap, *, top: float | None = None) -> None:
    """Draw the part of the image that a map covers, with the smoothed map over it: the more relevant a cell, the more opaque.

    ``top`` is the relevance drawn brightest, the map's own largest by default.
    """
    box = _shown(relevance_map.view.box, image)
    place = relevance_map.view.box
    axes.imshow(image, extent=(0, image.width, image.height, 0))
    share = relevance_map.smoothed / (top or relevance_map.smoothed.max() or 1.0)
    extent = (place.x0, place.x1, place.y1, place.y0)
    axes.imshow(share, extent=extent, cmap=MAP_COLORS, alpha=0.2 + 0.5 * share, interpolation="nearest", vmin=0, vmax=1)
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
            axes.add_patch(Rectangle((cell.x0, cell.y0), cell.width, cell.height, fill=False, edgecolor=color, linewidth=0.6, hatch=hatch))
    x0, y0, x1, y1 = view.box.xyxy()
    _frame(axes, Box(min(x0, 0), min(y0, 0), max(x1, image.width), max(y1, image.height)))


@literal_text()
def plot_boxes(axes: Axes, boxes: Sequence[Box], labels: Sequence[str] = (), ranks: Sequence[int] | None = None) -> None:
    """Outline boxes (pixels of the original image), one color for each rank; best first unless ``ranks`` are given."""
    for index, box in enumerate(boxes):
        color = REGION_COLORS[(ranks[index] if ranks else index) % len(REGION_COLORS)]
        axes.add_patch(Rectangle((box.x0, box.y0), box.width, box.height, fill=False, edgecolor=color, linewidth=2.2))
        if labels:
            axes.text(box.x0, box.y0, labels[index], color="white", fontsize=8, va="bottom", backgroundcolor=color, clip_on=True)


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
    figure, grid = plt.subplots(len(steps) + 1, columns, squeeze=False, figsize=(_PANEL * columns, height * (len(steps) + 1) + 0.9))
    for axes in grid.ravel():
        axes.axis("off")
    for number, step in enumerate(steps):
        _plot_step(grid[number], image, number, step)
    _plot_answer(grid[-1], image, grounding)
    more = len(grounding.steps) - len(steps)
    reason = STOP_REASONS[grounding.stop_reason] + (f"; {more} more rounds not shown" if more else "")
    question, plain, zoomed = (_shortened(each) for each in (grounding.question, grounding.plain_answer, grounding.answer))
    title = f"{question}\nplain: {plain}   →   zoomed: {zoomed}\n({reason})"
    figure.suptitle("\n".join(textwrap.fill(line, 36 * columns) for line in title.splitlines()), fontsize=11)
    figure.tight_layout()
    return figure


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _plot_step(row: np.ndarray, image: Image.Image, number: int, step: ZoomStep) -> None:
    """Draw one round: the first map of every picture, with the regions that were found in that picture."""
    first_maps = {each.view.image_index: index for index, each in reversed(list(enumerate(step.maps)))}
    for image_index, map_index in sorted(first_maps.items()):
        axes = row[image_index]
        axes.axis("on")
        plot_map(axes, image, step.maps[map_index], top=max(each.smoothed.max() for each in step.maps))
        ranks = [rank for rank, r in enumerate(step.regions) if step.maps[r.map_index].view.image_index == image_index]
        plot_boxes(axes, [step.regions[rank].box for rank in ranks], [f"{rank + 1}" for rank in ranks], ranks)
        if image_index:
            axes.set_title(f"crop {image_index}", fontsize=9)
    row[0].set_title(
        f"round {number}: entropy {step.entropy:.2f}, spatial {step.spatial_entropy:.2f} nats".replace("inf", "∞"), fontsize=9, loc="left"
    )


def _plot_answer(row: np.ndarray, image: Image.Image, grounding: Grounding) -> None:
    row[0].axis("on")
    row[0].imshow(image, extent=(0, image.width, image.height, 0))
    _frame(row[0], Box(0, 0, image.width, image.height))
    plot_boxes(row[0], grounding.crops)
    row[0].set_title(f"answer: {textwrap.shorten(grounding.answer, 40) or '(empty)'}", fontsize=9, loc="left")
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
    axes.plot(np.searchsorted(ordered, threshold), threshold, "o", color=REGION_COLORS[3], label="elbow")
    axes.set(xlabel="rank of the cell", ylabel="smoothed relevance")
    axes.legend()
    sns.despine(ax=axes)


@literal_text()
def plot_scores(scores: pd.DataFrame) -> Figure:
    """Draw mean scores with 95 % bootstrap intervals, a panel for each VLM, a group for each benchmark, a color for each method.

    Args:
        scores: columns ``vlm``, ``benchmark``, ``method`` and ``score`` in [0, 1], one row an example (`tables.method_scores`).
    """
    grid = sns.catplot(
        scores.assign(score=100 * scores["score"]),
        x="benchmark",
        y="score",
        hue="method",
        col="vlm",
        col_wrap=2,
        kind="bar",
        palette="colorblind",
        height=3.2,
        aspect=1.9,
        err_kws={"linewidth": 1.2},
        seed=0,
    )
    grid.set_titles("{col_name}").set_axis_labels("", "score, percent").set(ylim=(0, 100))
    grid.tick_params(axis="x", rotation=25)
    sns.move_legend(grid, "upper center", bbox_to_anchor=(0.45, 1.06), ncol=3, title=None)
    return grid.figure


@literal_text()
def plot_league(cells: pd.DataFrame, vlm: str) -> Figure:
    """Draw the scores of one VLM, a panel for each benchmark, a method a line, with 95 % intervals and the plain score as a dashed line.

    Args:
        cells: from `league.cells`.
        vlm: its name.
    """
    mine = cells[(cells["vlm"] == vlm) & (cells["n"] > 0)]
    names, methods = list(mine["benchmark"].unique()), [m for m in mine["method"].unique() if m != "plain"]
    figure, grid = plt.subplots(1, len(names), figsize=(2.2 * len(names) + 2, 0.28 * len(methods) + 1.2), sharey=True, squeeze=False)
    for axes, name in zip(grid[0], names, strict=True):
        shown = mine[mine["benchmark"] == name].set_index("method")
        scores = shown.reindex(methods)
        places = np.arange(len(methods))
        spread = 100 * np.stack([scores["score"] - scores["score_low"], scores["score_high"] - scores["score"]])
        axes.barh(places, 100 * scores["score"], xerr=spread, color=[_color(m) for m in methods], error_kw={"linewidth": 1})
        axes.axvline(100 * shown["score"]["plain"], color="black", linestyle="--", linewidth=1)
        axes.set(title=name, xlim=(0, 100), xlabel="score, percent", yticks=places, yticklabels=methods)
    grid[0, 0].invert_yaxis()
    sns.despine(figure)
    figure.tight_layout()
    return figure


def _color(method: str) -> tuple[float, float, float]:
    kinds = {"entropy_gradient": 3, "gated": 2, "control": 7}
    return REGION_COLORS[next((number for kind, number in kinds.items() if method.startswith(kind)), 0)]


@literal_text()
def plot_shares(shares: pd.DataFrame) -> Figure:
    """Draw what location explains of the gain, (entropy gradient - random) / (oracle - random), with 95 % intervals.

    Args:
        shares: from `league.location_shares`.
    """
    known = shares.dropna(subset="share")
    figure, axes = plt.subplots(figsize=(8, 3.2))
    vlms, names = list(known["vlm"].unique()), list(known["benchmark"].unique())
    for index, vlm in enumerate(vlms):
        mine = known[known["vlm"] == vlm]
        places = [names.index(name) + 0.15 * (index - (len(vlms) - 1) / 2) for name in mine["benchmark"]]
        spread = 100 * np.stack([mine["share"] - mine["low"], mine["high"] - mine["share"]])
        axes.errorbar(places, 100 * mine["share"], yerr=spread, fmt="o", color=vlm_color(vlm), label=vlm, capsize=2)
    for share, style in ((0, ":"), (100, "--")):
        axes.axhline(share, color="gray", linestyle=style, linewidth=1)
    axes.set(xticks=range(len(names)), xticklabels=names, ylabel="share of the gain, percent")
    axes.legend(frameon=False, ncols=2)
    sns.despine(figure)
    figure.tight_layout()
    return figure


VLM_COLORS = {name: REGION_COLORS[number] for number, pair in enumerate(BIG_SIBLINGS.items()) for name in pair}


def vlm_color(vlm: str) -> tuple[float, float, float]:
    """Return the color of a VLM, the same in every figure; another model is gray."""
    return VLM_COLORS.get(vlm, REGION_COLORS[7])


@literal_text()
def plot_variants(cells: pd.DataFrame, *, column: str = "score", label: str = "score, percent") -> Figure:
    """Draw a column of every variant, a panel for each benchmark, a color for each VLM; the dashed line is the plain score.

    Args:
        cells: from `experiments.summary`; fractions, drawn in percent, with intervals where the columns hold them.
        column: what to draw.
        label: of the axis.
    """
    cells = cells[cells["n"] > 0]
    names, vlms = list(cells["benchmark"].unique()), list(cells["vlm"].unique())
    methods = [method for method in cells["method"].unique() if method != "plain"]
    size = (2.3 * len(names) + 2, 0.34 * len(methods) + 1.6)
    figure, grid = plt.subplots(1, len(names), figsize=size, sharey=True, squeeze=False)
    for axes, name in zip(grid[0], names, strict=True):
        for index, vlm in enumerate(vlms):
            mine = cells[(cells["vlm"] == vlm) & (cells["benchmark"] == name)].set_index("method")
            if not mine.empty:
                _plot_one(axes, mine, methods, column, shift=0.17 * (index - (len(vlms) - 1) / 2), vlm=vlm)
        axes.set(title=name, xlabel=label, yticks=range(len(methods)), yticklabels=methods)
    grid[0, 0].invert_yaxis()
    handles = [Line2D([], [], color=vlm_color(vlm), marker="o", linestyle="", label=vlm) for vlm in vlms]
    figure.tight_layout(rect=(0, 0, 1, 0.92))
    figure.legend(handles=handles, loc="upper center", ncols=len(vlms), frameon=False)
    sns.despine(figure)
    return figure


def _plot_one(axes: Axes, mine: pd.DataFrame, methods: Sequence[str], column: str, *, shift: float, vlm: str) -> None:
    found = mine.reindex(methods)
    spread = None
    if f"{column}_low" in found:
        spread = 100 * np.stack([found[column] - found[f"{column}_low"], found[f"{column}_high"] - found[column]]).astype(float)
    places = np.arange(len(methods)) + shift
    axes.errorbar(
        100 * found[column].astype(float), places, xerr=spread, fmt="o", markersize=4, color=vlm_color(vlm), capsize=2, linewidth=1
    )
    if column == "score" and "plain" in mine.index:
        axes.axvline(100 * mine["score"]["plain"], color=vlm_color(vlm), linestyle="--", linewidth=0.8)


@literal_text()
def plot_cost(cells: pd.DataFrame, *, cost: str = "passes", label: str = "forwards + 2 x backwards") -> Figure:
    """Draw mean scores against mean cost, a panel for each VLM, a number for each method; the line joins what no other method dominates.

    Args:
        cells: from `experiments.summary`.
        cost: a column of it; methods without it are left out.
        label: of the axis.
    """
    mean = mean_costs(cells, cost)
    numbers = {method: number for number, method in enumerate(mean["method"].unique())}  # the same for every column of cost
    vlms = list(mean["vlm"].unique())
    mean = mean.dropna(subset=[cost])
    rows = math.ceil(len(vlms) / 2)
    figure, grid = plt.subplots(rows, min(2, len(vlms)), figsize=(4.2 * min(2, len(vlms)) + 2.4, 3.6 * rows), sharey=True, squeeze=False)
    for axes, vlm in zip(grid.flat, vlms, strict=False):
        mine = mean[mean["vlm"] == vlm].sort_values(cost)
        best = mine[mine["score"] >= mine["score"].cummax()]
        axes.plot(best[cost], 100 * best["score"], color="lightgray", zorder=0)
        axes.scatter(mine[cost], 100 * mine["score"], color=[_color(method) for method in mine["method"]], s=110)
        for row in mine.to_dict("records"):
            place = row[cost], 100 * row["score"]
            axes.annotate(str(numbers[row["method"]]), place, fontsize=7, color="white", ha="center", va="center")
        axes.set(title=vlm, xlabel=label, ylabel="mean score, percent")
    for axes in grid.flat[len(vlms) :]:
        axes.set_visible(False)
    handles = [
        Line2D([], [], linestyle="", marker="o", markersize=8, color=_color(method), label=f"{number}  {method}")
        for method, number in numbers.items()
        if method in set(mean["method"])
    ]
    sns.despine(figure)
    figure.tight_layout(rect=(0, 0, 1 - 2.4 / figure.get_figwidth(), 1))
    figure.legend(handles=handles, loc="center right", frameon=False, fontsize=8)
    return figure


@literal_text()
def plot_risk_coverage(curves: pd.DataFrame) -> Figure:
    """Draw how often the surest plain answers are wrong, a panel for each VLM, a line for each score of uncertainty.

    Args:
        curves: from `calibration.risk_curves`.
    """
    grid = sns.relplot(
        curves, x="coverage", y="risk", hue="score", style="score", col="vlm", kind="line", height=3.4, palette="colorblind", estimator=None
    )
    grid.set_axis_labels("coverage: share of answers, surest first", "risk: 1 - mean score").set_titles("{col_name}").set(
        xlim=(0, 1), ylim=(0, None), xticks=(0, 0.5, 1), xticklabels=("0", "0.5", "1")
    )
    return grid.figure
