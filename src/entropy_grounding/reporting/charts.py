"""Charts of scores, costs and shares. Functions return figures; they never show or save them.

Every chart has its message as a title, the names of `labels`, one color a kind of method, and the
benchmarks in the order of the paper's Table 1.
"""

import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox, BboxBase

from entropy_grounding.benchmarks.names import chance_score, display_name, in_paper_order
from entropy_grounding.plots import PAGE, paper_style, set_message
from entropy_grounding.reporting.comparisons import half_widths, mean_costs
from entropy_grounding.reporting.labels import (
    KIND_COLORS,
    REFERENCES,
    in_method_order,
    method_color,
    method_kind,
    method_label,
    variants_in_order,
)
from entropy_grounding.reporting.messages import (
    cost_message,
    gain_message,
    league_message,
    marks_against,
    place_message,
    risk_message,
    scores_message,
    shares_message,
    signals_message,
    variants_message,
)
from entropy_grounding.reporting.signals import PROCEDURES, SIGNALS, signal_values
from entropy_grounding.reporting.summary import OURS
from entropy_grounding.vlm.registry import BIG_SIBLINGS

_ROW = 0.15  # inches, the height of one method in a panel
_NAMES = 1.5  # inches, the width of the names of methods beside the panels
_CHANCE: dict[str, Any] = {"color": "gray", "linestyle": ":", "linewidth": 0.8, "zorder": 0}
_BAR: dict[str, Any] = {"markersize": 3.5, "capsize": 0, "elinewidth": 0.8}
_POINT: dict[str, Any] = {"fmt": "o", **_BAR}

# A tiny VLM and its big sibling have the same marker; colors are those of kinds of methods.
_MARKERS = "osD^v"
VLM_MARKERS = {
    name: _MARKERS[number] for number, pair in enumerate(BIG_SIBLINGS.items()) for name in pair
}
_VLM_LINES = dict(zip(_MARKERS, ("-", "--", "-.", ":", (0, (6, 2))), strict=True))
# Where a chart shows the paper's method alone, VLMs are shades of its color, from dark to light.
_SHADES = dict(
    zip(
        _MARKERS,
        sns.blend_palette(["#3d1a00", method_color(OURS), "#f3b98f"], len(_MARKERS)),
        strict=True,
    )
)


def vlm_marker(vlm: str) -> str:
    """Return the marker of a VLM. It is the same in every figure; an unknown model is a cross."""
    return VLM_MARKERS.get(vlm, "X")


def vlm_style(vlm: str) -> dict[str, Any]:
    """Return the marker, the shade and the line of a VLM, for charts of the paper's method."""
    marker = vlm_marker(vlm)
    color = _SHADES.get(marker, method_color(OURS))

    return {"marker": marker, "color": color, "linestyle": _VLM_LINES.get(marker, "-")}


def in_vlm_order(vlms: Iterable[str]) -> list[str]:
    """Return every different VLM once: those of the paper in its order, then the others."""
    known = list(VLM_MARKERS)
    named = dict.fromkeys(str(vlm) for vlm in vlms)

    return sorted(named, key=lambda vlm: known.index(vlm) if vlm in known else len(known))


def _column_title(benchmark: str, inches: float) -> str:
    """Return the name of a benchmark in lines that fit over a panel of this width."""
    # An inch holds about 16 characters of 8 points.
    lines = textwrap.wrap(display_name(benchmark), int(16 * inches), break_long_words=False)

    return "\n".join(lines)


def _panels(vlms: Sequence[str], benchmarks: Sequence[str], rows: int) -> tuple[Figure, np.ndarray]:
    """Return a figure with one row of panels per VLM and one column per benchmark.

    Args:
        vlms: their names stand at the left of each row, above the names of the methods.
        benchmarks: their names stand over each column.
        rows: number of methods in a panel.
    """
    # Each row has a gap above it, and the figure a title, an axis and a legend.
    height = len(vlms) * (_ROW * rows + 0.3) + 1.2
    figure, grid = plt.subplots(
        len(vlms),
        len(benchmarks),
        figsize=(PAGE, height),
        sharex="col",
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    inches = (PAGE - _NAMES) / len(benchmarks)
    for axes, benchmark in zip(grid[0], benchmarks, strict=True):
        axes.set_title(_column_title(benchmark, inches), pad=11)  # above the plain score
    for axes, vlm in zip(grid[:, 0], vlms, strict=True):
        axes.annotate(
            vlm,
            (0, 1),
            xytext=(-6, 2),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=7,
            fontweight="bold",
        )

    return figure, grid


def _distances(values: pd.DataFrame, column: str) -> np.ndarray | None:
    """Return how far the interval reaches below and above the values, (2, rows), in percent."""
    if f"{column}_low" not in values:
        return None

    below = values[column] - values[f"{column}_low"]
    above = values[f"{column}_high"] - values[column]
    return 100 * np.stack([below, above]).astype(float)


@paper_style()
def plot_scores(scores: pd.DataFrame) -> Figure:
    """Draw mean scores with 95 % intervals: one panel per VLM, one line per benchmark.

    Args:
        scores: one row per example, with the columns ``vlm``, ``benchmark``, ``method`` and
            ``score`` in [0, 1] (`method_scores`).
    """
    benchmarks = in_paper_order(scores["benchmark"])
    vlms = in_vlm_order(scores["vlm"])
    methods = in_method_order(scores["method"])

    figure, grid = plt.subplots(
        1,
        len(vlms),
        figsize=(PAGE, 0.3 * len(benchmarks) + 1.1),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axes, vlm in zip(grid[0], vlms, strict=True):
        for index, method in enumerate(methods):
            mine = scores[(scores["vlm"] == vlm) & (scores["method"] == method)]
            grouped = mine.groupby("benchmark")["score"]
            mean, error = grouped.mean(), 1.96 * grouped.sem()
            places = np.arange(len(benchmarks)) + 0.22 * (index - (len(methods) - 1) / 2)
            axes.errorbar(
                100 * mean.reindex(benchmarks),
                places,
                xerr=100 * error.reindex(benchmarks),
                color=method_color(method),
                label=method_label(method),
                **_POINT,
            )
        for place, benchmark in enumerate(benchmarks):
            _mark_chance(axes, benchmark, place - 0.4, place + 0.4)
        axes.set(title=vlm, xlim=(0, 100), xlabel="score, %", xticks=(0, 50, 100))
    grid[0, 0].set(yticks=range(len(benchmarks)), yticklabels=map(display_name, benchmarks))
    grid[0, 0].invert_yaxis()

    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(methods))
    set_message(figure, scores_message(scores))
    return figure


def _mark_chance(axes: Axes, benchmark: str, low: float, high: float) -> None:
    """Draw the score by chance from ``low`` to ``high``, where the benchmark has one."""
    chance = chance_score(benchmark)
    if chance is not None:
        axes.plot([100 * chance] * 2, [low, high], **_CHANCE)


@paper_style()
def plot_league(cells: pd.DataFrame, vlm: str) -> Figure:
    """Draw the gain of every method over the plain answer, for one VLM.

    The first panel holds the mean over the benchmarks, by which the methods are sorted. The others
    hold one benchmark each.

    Args:
        cells: the table that `cells` returns.
        vlm: name of the VLM.
    """
    mine = cells[(cells["vlm"] == vlm) & (cells["n"] > 0)]
    benchmarks = in_paper_order(mine["benchmark"])
    plain = mine[mine["method"] == "plain"].set_index("benchmark")["score"]

    gains = mine[mine["method"] != "plain"].assign(usual=lambda each: each["benchmark"].map(plain))
    for column in ("score", "score_low", "score_high"):
        gains[column] = gains[column] - gains["usual"]
    mean = gains.groupby("method")["score"].mean().sort_values(ascending=False)
    methods = [str(name) for name in mean.index]

    figure, grid = _panels([vlm], ["mean", *benchmarks], len(methods))
    colors = [method_color(method) for method in methods]
    grid[0, 0].scatter(100 * mean, range(len(methods)), color=colors, s=14)
    for axes, benchmark in zip(grid[0, 1:], benchmarks, strict=True):
        here = gains[gains["benchmark"] == benchmark].set_index("method").reindex(methods)
        _plot_points(axes, here, "score", set(methods))

    for axes in grid.flat:
        axes.axvline(0, color="black", linewidth=0.6)
        axes.grid(axis="y", color="0.92", linewidth=0.5)
        axes.set_axisbelow(True)
    grid[0, 0].set(yticks=range(len(methods)), yticklabels=map(method_label, methods))
    grid[0, 0].set_ylim(len(methods) - 0.5, -0.5)
    _add_kinds(figure, "score minus that of the plain answer, points", methods)
    set_message(figure, league_message(cells, vlm))

    return figure


def _plot_points(axes: Axes, values: pd.DataFrame, column: str, filled: set[str]) -> None:
    """Draw one point with its interval per method, the rows of a table.

    Args:
        axes: the panel.
        values: one row per method, with its name as index.
        column: what to draw, a fraction.
        filled: the methods whose points are filled.
    """
    spread = _distances(values, column)
    for place, method in enumerate(values.index):
        axes.errorbar(
            [100 * float(values[column].iloc[place])],
            [place],
            xerr=None if spread is None else spread[:, [place]],
            color=method_color(method),
            markerfacecolor=method_color(method) if method in filled else "white",
            **_POINT,
        )


def _add_kinds(figure: Figure, label: str, methods: Sequence[str], *further: Line2D) -> None:
    """Write below a figure what its horizontal axes, its colors and further marks mean."""
    kinds = {method_kind(method) for method in methods}
    handles = [
        Line2D([], [], color=color, marker="o", markersize=4, linestyle="", label=kind)
        for kind, color in KIND_COLORS.items()
        if kind in kinds and len(kinds) > 1  # a single color says nothing
    ]
    handles += further
    _add_legend(figure, label, handles, [str(handle.get_label()) for handle in handles])


def _add_legend(figure: Figure, label: str, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Write the label of the horizontal axes below a figure, and the legend below it."""
    # A line holds about 125 characters, of which the mark of an entry takes six.
    one_line = sum(len(text) + 6 for text in labels) <= 125
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=max(1, len(handles)) if one_line else 3,
        title=label,
        title_fontsize=8,
        handletextpad=0.2,
        columnspacing=1.2,
    )


@paper_style()
def plot_shares(shares: pd.DataFrame) -> Figure:
    """Draw which share of the gain location explains, with 95 % intervals.

    The share is (entropy gradient - random) / (oracle - random).

    Args:
        shares: the table that `location_shares` returns.
    """
    message = shares_message(shares)
    shares = shares.dropna(subset="share")
    vlms = in_vlm_order(shares["vlm"])
    benchmarks = in_paper_order(shares["benchmark"])

    figure, axes = plt.subplots(figsize=(PAGE, 2.8), layout="constrained")
    for index, vlm in enumerate(vlms):
        mine = shares[shares["vlm"] == vlm]
        # The VLMs stand side by side around the tick of their benchmark.
        shift = 0.16 * (index - (len(vlms) - 1) / 2)
        axes.errorbar(
            [benchmarks.index(benchmark) + shift for benchmark in mine["benchmark"]],
            100 * mine["share"],
            yerr=100 * np.stack([mine["share"] - mine["low"], mine["high"] - mine["share"]]),
            label=vlm,
            **(_BAR | vlm_style(vlm) | {"linestyle": "none"}),
        )

    last = len(benchmarks) - 0.45
    for share, name in ((0, "random crops"), (100, "oracle crops")):
        axes.axhline(share, **_CHANCE)
        axes.text(last, share, name, color="gray", fontsize=7, ha="left", va="center")

    axes.set(
        xticks=range(len(benchmarks)),
        xticklabels=[_column_title(name, 5.5 / len(benchmarks)) for name in benchmarks],
        ylabel="share of the oracle's gain\nover random crops, %",
        xlim=(-0.5, last),
    )
    figure.legend(loc="outside lower center", ncols=len(vlms) or 1)
    set_message(figure, message)

    return figure


@paper_style()
def plot_variants(
    cells: pd.DataFrame,
    *,
    experiment: str = "",
    reference: str = OURS,
    what: str = "Variants",
    column: str = "score",
    label: str = "score, %",
) -> Figure:
    """Draw one column of the cells for every variant: a row per VLM, a panel per benchmark.

    A point is filled where its score differs significantly from that of the reference. An
    experiment of `REFERENCES` shades the interval of its reference and writes the plain score into
    the panels; another one draws the plain answers as a line of points, and tests against them.

    Args:
        cells: the table that `summary` returns. Its fractions are drawn in percent, with intervals
            where the table holds them.
        experiment: name of the experiment.
        reference: its reference.
        what: what its variants change, as the start of a sentence.
        column: name of the column to draw.
        label: text of the horizontal axis.
    """
    cells = cells[(cells["n"] > 0) & cells[column].notna()]
    benchmarks = in_paper_order(cells["benchmark"])
    vlms = in_vlm_order(cells["vlm"])

    varied = experiment in REFERENCES or reference not in (OURS, "plain")
    methods = variants_in_order(cells["method"], experiment)
    if varied:
        methods.remove("plain")
    tested = marks_against(cells, reference if varied else "plain")

    chances = []
    figure, grid = _panels(vlms, benchmarks, len(methods))
    for line, vlm in zip(grid, vlms, strict=True):
        for axes, benchmark in zip(line, benchmarks, strict=True):
            here = cells[(cells["vlm"] == vlm) & (cells["benchmark"] == benchmark)]
            here = here.set_index("method")
            signs = {name for name in methods if tested.get((vlm, benchmark, name))}
            filled = signs if column == "score" else set(methods)
            _plot_points(axes, here.reindex(methods), column, filled)
            chances.append(_chance_of(here, column, benchmark))
            _plot_baselines(axes, here, chances[-1], reference if varied else "")

    grid[0, 0].set(
        yticks=range(len(methods)), yticklabels=[method_label(name, experiment) for name in methods]
    )
    grid[0, 0].set_ylim(len(methods) - 0.5, -0.5)
    _limit(grid[0], whole=column == "score" and not varied)
    against = f"{method_label(reference, experiment)}, shaded" if varied else "plain"
    chance = any(value is not None for value in chances)
    _add_kinds(figure, label, methods, *_marks_legend(column, against, chance=chance))

    if column != "score":
        message = place_message(cells, column, label.split(",")[0])
    else:
        message = variants_message(cells, what, reference) if varied else gain_message(cells)
    set_message(figure, message)
    return figure


def _chance_of(here: pd.DataFrame, column: str, benchmark: str) -> float | None:
    """Return the value of a column by chance, None where it is not known.

    Args:
        here: the cells of one VLM and benchmark, with the method as index.
        column: what is drawn.
        benchmark: of the cells.
    """
    if column == "energy":
        return float(here["chance"].mean())
    if column == "iou":
        return here["iou"].get("control_random")

    return chance_score(benchmark) if column == "score" else None


def _plot_baselines(axes: Axes, here: pd.DataFrame, chance: float | None, reference: str) -> None:
    """Draw what the points of a panel stand against: the reference, or chance.

    Args:
        axes: the panel.
        here: its cells, with the method as index.
        chance: the value by chance, a fraction.
        reference: the method whose interval is shaded; empty for none.
    """
    axes.grid(axis="y", color="0.92", linewidth=0.5)
    axes.set_axisbelow(True)
    if chance is not None:
        axes.axvline(100 * chance, **_CHANCE)

    if reference in here.index and "score_low" in here:
        low, high = (100 * float(here[f"score_{end}"][reference]) for end in ("low", "high"))
        axes.axvspan(low, high, color=method_color(reference), alpha=0.12, linewidth=0)
        if "plain" in here.index and reference != "base":
            plain = f"plain {100 * here['score']['plain']:.0f}"
            axes.text(
                0.02,
                1.0,
                plain,
                transform=axes.transAxes,
                fontsize=7,
                color=KIND_COLORS["plain"],
                va="bottom",
            )


def _limit(line: np.ndarray, *, whole: bool) -> None:
    """Set the limits of a row of panels: from 0 to 100, or around the points, equally wide.

    With equal widths the same difference looks the same in every panel.
    """
    if whole:
        for axes in line:
            axes.set(xlim=(-3, 103), xticks=(0, 50, 100))
        return

    limits = [axes.get_xlim() for axes in line]
    widest = max(high - low for low, high in limits)
    for axes, (low, high) in zip(line, limits, strict=True):
        middle = (low + high) / 2
        start = max(middle - widest / 2, -0.05 * widest)  # fractions are never negative
        axes.set_xlim(start, start + widest)
        axes.locator_params(axis="x", nbins=3)


def _marks_legend(column: str, against: str, *, chance: bool) -> list[Line2D]:
    """Return the entries of a legend that say what filled points and lines mean.

    Args:
        column: what is drawn.
        against: what scores are tested against, in words.
        chance: whether a line of chance is drawn.
    """
    marks = _filled_legend(against) if column == "score" else []
    if chance:
        marks.append(Line2D([], [], color="gray", linestyle=":", label="chance"))

    return marks


def _filled_legend(against: str) -> list[Line2D]:
    """Return the entries of a legend for filled points, which are significant, and empty ones."""
    style: dict[str, Any] = {"color": "0.35", "marker": "o", "markersize": 4, "linestyle": ""}
    return [
        Line2D([], [], **style, label=f"significantly unlike {against}"),
        Line2D([], [], **style, markerfacecolor="white", label="not significantly"),
    ]


@paper_style()
def plot_over_number(
    cells: pd.DataFrame, *, reference: str = OURS, at: float = 2, label: str = "regions a round, K"
) -> Figure:
    """Draw scores over a number that the names of the variants hold, such as K in ``regions_3``.

    There is one panel per benchmark and one line per VLM.

    Args:
        cells: the table that `summary` returns.
        reference: the variant whose name does not hold the number.
        at: its number.
        label: what the number is.
    """
    found = {str(name): re.search(r"_(\d+(?:\.\d+)?)$", str(name)) for name in cells["method"]}
    numbers = {name: float(match[1]) for name, match in found.items() if match} | {reference: at}
    shown = cells[(cells["n"] > 0) & cells["method"].isin(list(numbers))]
    shown = shown.assign(number=shown["method"].map(numbers)).sort_values("number")
    benchmarks, vlms = in_paper_order(shown["benchmark"]), in_vlm_order(shown["vlm"])
    tested = marks_against(cells, reference)

    figure, grid = plt.subplots(
        1, len(benchmarks), figsize=(PAGE, 2.5), squeeze=False, layout="constrained"
    )
    for axes, benchmark in zip(grid[0], benchmarks, strict=True):
        axes.axvspan(at - 0.25, at + 0.25, color=method_color(reference), alpha=0.12, linewidth=0)
        for index, vlm in enumerate(vlms):
            mine = shown[(shown["vlm"] == vlm) & (shown["benchmark"] == benchmark)]
            places = mine["number"] + 0.12 * (index - (len(vlms) - 1) / 2)
            style = vlm_style(vlm)
            axes.errorbar(
                places,
                100 * mine["score"],
                yerr=_distances(mine, "score"),
                linewidth=0.8,
                label=vlm,
                markerfacecolor="white",
                **_BAR,
                **style,
            )
            # A significant difference from the reference is filled, over the empty point.
            signs = [bool(tested.get((vlm, benchmark, name))) for name in mine["method"]]
            axes.scatter(
                places[signs],
                100 * mine["score"][signs],
                marker=style["marker"],
                color=style["color"],
                s=_BAR["markersize"] ** 2,
                zorder=3,
            )
        axes.set(title=display_name(benchmark), xticks=sorted(set(numbers.values())))

    grid[0, 0].set_ylabel("score, %")
    _equally_high(grid[0])
    handles, names = grid[0, 0].get_legend_handles_labels()
    filled = _filled_legend(f"{label.split()[-1]} = {at:g}, shaded")
    names += [str(mark.get_label()) for mark in filled]
    _add_legend(figure, label, [*handles, *filled], names)
    set_message(figure, variants_message(cells, "Number of regions", reference))
    return figure


def _equally_high(line: np.ndarray) -> None:
    """Give panels the same height of scores, so that equal differences look equal."""
    highest = max(np.ptp(axes.get_ylim()) for axes in line)
    for axes in line:
        middle = sum(axes.get_ylim()) / 2
        axes.set_ylim(middle - highest / 2, middle + highest / 2)


@paper_style()
def plot_cost(
    cells: pd.DataFrame,
    *,
    cost: str = "passes",
    label: str = "passes a question (forwards + 2 × backwards)",
    unit: str = "passes",
    curves: pd.DataFrame | None = None,
    message: str = "",
) -> Figure:
    """Draw mean scores against mean costs, with 95 % intervals.

    There is one panel per VLM, and the name of each method stands beside its point. Steps join the
    methods that no other method dominates, where there are no curves; controls do not compete.

    Args:
        cells: the table that `summary` returns.
        cost: a column of the table; methods without it are left out.
        label: text of the horizontal axis.
        unit: of the cost, in the title.
        curves: methods with a cost that one chooses, as lines: one row per point, with the columns
            ``vlm``, ``method``, ``score`` and the cost.
        message: title of the figure; by default what the paper's method gains and costs.
    """
    mean = mean_costs(cells, cost).dropna(subset=[cost])
    mean = mean.merge(half_widths(cells), on=["vlm", "method"])
    vlms = in_vlm_order(mean["vlm"])

    columns = min(2, len(vlms))
    lines = math.ceil(len(vlms) / 2)
    # Beside a curve there is less room for the names.
    size = (PAGE, (2.9 if curves is None else 4.2) * lines + 0.7)
    figure, grid = plt.subplots(
        lines, columns, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for axes, vlm in zip(grid.flat, vlms, strict=False):
        axes.set(title=vlm, xscale="log")
        axes.margins(x=0.1, y=0.08)
        _plot_methods(axes, mean[mean["vlm"] == vlm].sort_values(cost), cost)
        if curves is None:
            _plot_frontier(axes, mean[mean["vlm"] == vlm].sort_values(cost), cost)
        else:
            _plot_curves(axes, curves[curves["vlm"] == vlm].sort_values(cost), cost)
    for axes in grid.flat[len(vlms) :]:
        axes.set_visible(False)

    _plain_ticks(grid[0, 0])
    figure.supylabel("mean score over the benchmarks, %", fontsize=8)
    _add_kinds(figure, f"{label}, log scale", list(mean["method"]))
    set_message(figure, message or cost_message(cells, cost, unit))

    # The places of labels are known once the panels have their sizes.
    figure.canvas.draw()
    for axes, vlm in zip(grid.flat, vlms, strict=False):
        _label_points(axes, mean[mean["vlm"] == vlm], cost)
    return figure


@paper_style()
def plot_signals(cells: pd.DataFrame) -> Figure:
    """Draw the mean score of every signal and procedure, with 95 % intervals: one panel per VLM.

    A row is a signal; its points are the procedures, beside each other.

    Args:
        cells: the table that `summary` returns.
    """
    values = signal_values(cells).merge(half_widths(cells), on=["vlm", "method"])
    vlms = in_vlm_order(cells["vlm"])

    figure, grid = plt.subplots(
        *(1, len(vlms)),
        figsize=(PAGE, 0.32 * len(SIGNALS) + 1.3),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axes, vlm in zip(grid[0], vlms, strict=True):
        axes.set_title(vlm)
        axes.grid(axis="y", color="0.92", linewidth=0.5)
        axes.set_axisbelow(True)
        _plot_procedures(axes, values[values["vlm"] == vlm])

    grid[0, 0].set(yticks=range(len(SIGNALS)), yticklabels=list(SIGNALS))
    grid[0, 0].set_ylim(len(SIGNALS) - 0.5, -0.5)
    marks = [
        Line2D([], [], color="black", marker=marker, markersize=4, linestyle="", label=procedure)
        for procedure, marker in zip(PROCEDURES, _MARKERS, strict=False)
    ]
    _add_kinds(figure, "mean score over the benchmarks, %", list(values["method"]), *marks)
    set_message(figure, signals_message(values))
    return figure


def _plot_procedures(axes: Axes, values: pd.DataFrame) -> None:
    """Draw the points of one VLM; those of one signal lie a quarter of a row apart."""
    rows = list(SIGNALS)
    for row in values.to_dict("records"):
        place = PROCEDURES.index(row["procedure"])
        axes.errorbar(
            [100 * row["score"]],
            [rows.index(row["signal"]) + 0.25 * (place - 1)],
            xerr=[100 * row["half"]],
            color=method_color(row["method"]),
            **{**_POINT, "fmt": _MARKERS[place]},
        )


def _plot_frontier(axes: Axes, mine: pd.DataFrame, cost: str) -> None:
    """Draw the steps of the methods of one VLM, sorted by cost, that compete and are not beaten."""
    competing = mine[~mine["method"].str.startswith("control")]
    best = competing[competing["score"] >= competing["score"].cummax()]
    axes.plot(best[cost], 100 * best["score"], color="0.8", drawstyle="steps-post", zorder=0)


def _plot_methods(axes: Axes, mine: pd.DataFrame, cost: str) -> None:
    """Draw the methods of one VLM as points with their intervals."""
    for row in mine.to_dict("records"):
        axes.errorbar(
            row[cost],
            100 * row["score"],
            yerr=100 * row["half"],
            color=method_color(row["method"]),
            **_POINT,
        )


def _plot_curves(axes: Axes, mine: pd.DataFrame, cost: str) -> None:
    """Draw every method whose cost one chooses as a line, with its name at the end."""
    for method, curve in mine.groupby("method", sort=False):
        name = str(method)
        axes.plot(curve[cost], 100 * curve["score"], color=method_color(name), linewidth=1.6)
        end = curve.iloc[-1]
        axes.annotate(
            method_label(name),
            (end[cost], 100 * end["score"]),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            color=method_color(name),
            fontsize=8,
            fontweight="bold",
        )


def _plain_ticks(axes: Axes) -> None:
    """Write the ticks of a logarithmic axis as numbers such as 1, 2, 5 and 10."""
    low, high = axes.get_xlim()
    steps = (factor * 10.0**power for power in range(6) for factor in (1, 2, 5))
    ticks = [tick for tick in steps if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.minorticks_off()


# Where a label may stand around its point: offsets in points of type, nearest first.
_OFFSETS = [
    (reach * x, reach * y)
    for reach in (1, 2, 3.2, 4.6, 6, 8, 10, 13)
    for x, y in ((5, 0), (-5, 0), (4, 6), (-4, 6), (4, -6), (-4, -6), (0, 8), (0, -8))
]
# What a label must not cover, and how bad it is; a point of distance costs `_AWAY`.
_OVER_NAME, _OVER_POINT, _OVER_INTERVAL, _OUTSIDE, _AWAY = 6.0, 4.0, 1.0, 6.0, 0.03
_SIDES: dict[int, Literal["left", "right", "center"]] = {1: "left", -1: "right", 0: "center"}
_HEIGHTS: dict[int, Literal["bottom", "top", "center"]] = {1: "bottom", -1: "top", 0: "center"}


def _label_points(axes: Axes, mine: pd.DataFrame, cost: str) -> None:
    """Write the name of every method beside its point, where it covers no other name or point."""
    panel = axes.get_window_extent()
    low, middle, high = (
        axes.transData.transform(
            np.column_stack([mine[cost], 100 * (mine["score"] + sign * mine["half"])])
        )
        for sign in (-1, 0, 1)
    )
    # A point takes a square of 8 pixels, its interval a line.
    taken = [(Bbox.from_bounds(x - 4, y - 4, 8, 8), _OVER_POINT) for x, y in middle]
    taken += [
        (Bbox.from_extents(x - 1, bottom, x + 1, top), _OVER_INTERVAL)
        for (x, bottom), (_, top) in zip(low, high, strict=True)
    ]

    taken += [(text.get_window_extent(), _OVER_NAME) for text in axes.texts]
    taken += [(box, _OVER_INTERVAL) for line in axes.lines for box in _boxes_along(axes, line)]

    # The paper's own methods get the nearest places.
    near = sorted(
        range(len(mine)), key=lambda each: method_kind(mine["method"].iloc[each]) != "paper"
    )
    for place in near:
        method = mine["method"].iloc[place]
        point = (mine[cost].iloc[place], 100 * mine["score"].iloc[place])
        text = axes.annotate(
            method_label(method).removesuffix(" (paper)"),
            point,
            xytext=_OFFSETS[0],
            textcoords="offset points",
            color=method_color(method),
            fontsize=7,
            # The steps end at a name; points and intervals lie above it.
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
            zorder=1,
        )
        offset = _free_offset(text, panel, taken)
        taken.append((_moved(text, offset), _OVER_NAME))

        # A thin line leads to a label that does not stand at its point.
        if math.hypot(*offset) > 9:
            thin = {"arrowstyle": "-", "color": method_color(method), "linewidth": 0.4}
            thin |= {"shrinkA": 0, "shrinkB": 2}
            axes.annotate(
                "", point, xytext=offset, textcoords="offset points", arrowprops=thin, zorder=0
            )


def _boxes_along(axes: Axes, line: Line2D) -> list[Bbox]:
    """Return boxes of 4 pixels along a curve; none for steps, which end at names."""
    points = axes.transData.transform(line.get_xydata())
    if line.get_drawstyle() != "default" or len(points) < 3:
        return []

    lengths = np.append(0, np.cumsum(np.hypot(*np.diff(points, axis=0).T)))
    along = np.arange(0, lengths[-1], 4)
    xs, ys = (np.interp(along, lengths, column) for column in points.T)
    return [Bbox.from_bounds(x - 2, y - 2, 4, 4) for x, y in zip(xs, ys, strict=True)]


def _free_offset(
    text: Annotation, panel: BboxBase, taken: Sequence[tuple[Bbox, float]]
) -> tuple[float, float]:
    """Return the best of `_OFFSETS` for a label: near its point, and covering nothing.

    Args:
        text: the label.
        panel: the extent of its panel, in pixels.
        taken: what the label should not cover, in pixels, and how bad that is.
    """

    def badness(offset: tuple[float, float]) -> float:
        box = _moved(text, offset)
        inside = panel.x0 < box.x0 and box.x1 < panel.x1
        inside &= panel.y0 < box.y0 and box.y1 < panel.y1
        covered = sum(weight for other, weight in taken if box.overlaps(other))

        return covered + _AWAY * math.hypot(*offset) + _OUTSIDE * (not inside)

    return min(_OFFSETS, key=badness)


def _moved(text: Annotation, offset: tuple[float, float]) -> Bbox:
    """Move a label to an offset from its point, and return its extent."""
    x, y = offset
    text.set_position(offset)
    text.set_horizontalalignment(_SIDES[int(np.sign(x))])
    text.set_verticalalignment(_HEIGHTS[int(np.sign(y))])

    return text.get_window_extent()


@paper_style()
def plot_risk_coverage(curves: pd.DataFrame, gates: pd.DataFrame | None = None) -> Figure:
    """Draw how often the most certain plain answers are wrong.

    There is one panel per VLM and one line per uncertainty score.

    Args:
        curves: the table that `risk_curves` returns.
        gates: the table that `gate_points` returns: a dot marks where a gate ends.
    """
    vlms = in_vlm_order(curves["vlm"])
    styles = dict(zip(curves["score"].unique(), ("-", "--", ":", "-."), strict=False))
    shades = dict(
        zip(styles, (method_color(OURS), KIND_COLORS["plain"], "0.5", "0.7"), strict=False)
    )

    figure, grid = plt.subplots(
        1, len(vlms), figsize=(PAGE, 2.4), sharey=True, squeeze=False, layout="constrained"
    )
    for axes, vlm in zip(grid[0], vlms, strict=True):
        for name, curve in curves[curves["vlm"] == vlm].groupby("score", sort=False):
            axes.plot(
                curve["coverage"],
                100 * curve["risk"],
                linestyle=styles[name],
                color=shades[name],
                linewidth=1,
                label=name,
            )
            if gates is None:
                continue
            gate = gates[(gates["vlm"] == vlm) & (gates["score"] == name)]
            axes.plot(gate["coverage"], 100 * gate["risk"], "o", color=shades[name], markersize=4)
        axes.set(title=vlm, xlim=(0, 1), xticks=(0, 0.5, 1), xticklabels=("0", "0.5", "1"))

    grid[0, 0].set(ylim=(0, None), ylabel="score that is missed, %")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    if gates is not None:
        handles.append(Line2D([], [], color="0.3", marker="o", markersize=4, linestyle=""))
        labels.append("threshold of the gate")
    _add_legend(figure, "share of the questions that are answered, surest first", handles, labels)
    set_message(figure, risk_message(curves))

    return figure
