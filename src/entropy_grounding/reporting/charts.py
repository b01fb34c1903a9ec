"""Charts of scores, costs and shares. Functions return figures; they never show or save them."""

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from entropy_grounding.benchmarks.names import display_name, in_paper_order
from entropy_grounding.plots import REGION_COLORS, literal_text
from entropy_grounding.reporting.comparisons import mean_costs
from entropy_grounding.vlm.registry import BIG_SIBLINGS


@literal_text()
def plot_scores(scores: pd.DataFrame) -> Figure:
    """Draw mean scores with 95 % bootstrap intervals.

    There is one panel per VLM, one group of bars per benchmark and one color per method.

    Args:
        scores: one row per example, with the columns ``vlm``, ``benchmark``, ``method`` and
            ``score`` in [0, 1] (`method_scores`).
    """
    order = [display_name(name) for name in in_paper_order(scores["benchmark"])]
    named = scores.assign(benchmark=scores["benchmark"].map(display_name))

    grid = sns.catplot(
        named.assign(score=100 * scores["score"]),
        x="benchmark",
        order=order,
        y="score",
        hue="method",
        col="vlm",
        col_wrap=2,
        kind="bar",
        palette="colorblind",
        height=3.2,
        aspect=1.9,
        err_kws={"linewidth": 1.2},
        seed=0,  # the bootstrap intervals are the same in every run
    )

    grid.set_titles("{col_name}").set_axis_labels("", "score, percent").set(ylim=(0, 100))
    grid.tick_params(axis="x", rotation=25)
    sns.move_legend(grid, "upper center", bbox_to_anchor=(0.45, 1.06), ncol=3, title=None)

    return grid.figure


@literal_text()
def plot_league(cells: pd.DataFrame, vlm: str) -> Figure:
    """Draw the scores of one VLM with 95 % intervals.

    There is one panel per benchmark and one bar per method. A dashed line marks the plain score.

    Args:
        cells: the table that `cells` returns.
        vlm: name of the VLM.
    """
    mine = cells[(cells["vlm"] == vlm) & (cells["n"] > 0)]
    benchmarks = in_paper_order(mine["benchmark"])
    methods = [method for method in mine["method"].unique() if method != "plain"]

    figure, grid = plt.subplots(
        1,
        len(benchmarks),
        figsize=(2.2 * len(benchmarks) + 2, 0.28 * len(methods) + 1.2),
        sharey=True,
        squeeze=False,
    )
    for axes, benchmark in zip(grid[0], benchmarks, strict=True):
        by_method = mine[mine["benchmark"] == benchmark].set_index("method")
        _plot_bars(axes, by_method, methods)
        axes.set(title=display_name(benchmark))

    grid[0, 0].invert_yaxis()  # the first method is on top; the panels share this axis
    sns.despine(figure)
    figure.tight_layout()

    return figure


def _plot_bars(axes: Axes, by_method: pd.DataFrame, methods: Sequence[str]) -> None:
    """Draw one horizontal bar per method, and the plain score as a dashed line."""
    scores = by_method.reindex(methods)
    places = np.arange(len(methods))

    # Error bars are distances from the mean, (2, methods): below and above.
    spread = 100 * np.stack(
        [scores["score"] - scores["score_low"], scores["score_high"] - scores["score"]]
    )
    axes.barh(
        places,
        100 * scores["score"],
        xerr=spread,
        color=[_color(method) for method in methods],
        error_kw={"linewidth": 1},
    )

    axes.axvline(100 * by_method["score"]["plain"], color="black", linestyle="--", linewidth=1)
    axes.set(xlim=(0, 100), xlabel="score, percent", yticks=places, yticklabels=methods)


def _color(method: str) -> tuple[float, float, float]:
    """Return the color of a method: one for the paper's, the gated one, controls and others."""
    kinds = {"entropy_gradient": 3, "gated": 2, "control": 7}
    for kind, number in kinds.items():
        if method.startswith(kind):
            return REGION_COLORS[number]

    return REGION_COLORS[0]


@literal_text()
def plot_shares(shares: pd.DataFrame) -> Figure:
    """Draw which share of the gain location explains, with 95 % intervals.

    The share is (entropy gradient - random) / (oracle - random).

    Args:
        shares: the table that `location_shares` returns.
    """
    shares = shares.dropna(subset="share")
    vlms = list(shares["vlm"].unique())
    benchmarks = in_paper_order(shares["benchmark"])

    figure, axes = plt.subplots(figsize=(8, 3.2))
    for index, vlm in enumerate(vlms):
        mine = shares[shares["vlm"] == vlm]
        # The VLMs stand side by side around the tick of their benchmark.
        shift = 0.15 * (index - (len(vlms) - 1) / 2)
        places = [benchmarks.index(benchmark) + shift for benchmark in mine["benchmark"]]
        spread = 100 * np.stack([mine["share"] - mine["low"], mine["high"] - mine["share"]])
        axes.errorbar(
            places,
            100 * mine["share"],
            yerr=spread,
            fmt="o",
            color=vlm_color(vlm),
            label=vlm,
            capsize=2,
        )

    # Dotted: as good as random crops. Dashed: as good as the oracle's crops.
    for share, style in ((0, ":"), (100, "--")):
        axes.axhline(share, color="gray", linestyle=style, linewidth=1)

    axes.set(
        xticks=range(len(benchmarks)),
        xticklabels=[display_name(name) for name in benchmarks],
        ylabel="share of the gain, percent",
    )
    axes.legend(frameon=False, ncols=2)
    sns.despine(figure)
    figure.tight_layout()

    return figure


# A tiny VLM and its big sibling have the same color.
VLM_COLORS = {
    name: REGION_COLORS[number] for number, pair in enumerate(BIG_SIBLINGS.items()) for name in pair
}


def vlm_color(vlm: str) -> tuple[float, float, float]:
    """Return the color of a VLM. It is the same in every figure; an unknown model is gray."""
    return VLM_COLORS.get(vlm, REGION_COLORS[7])


@literal_text()
def plot_variants(
    cells: pd.DataFrame, *, column: str = "score", label: str = "score, percent"
) -> Figure:
    """Draw one column of the cells for every variant.

    There is one panel per benchmark and one color per VLM. A dashed line marks the plain score.

    Args:
        cells: the table that `summary` returns. Its fractions are drawn in percent, with intervals
            where the table holds them.
        column: name of the column to draw.
        label: text of the horizontal axis.
    """
    cells = cells[cells["n"] > 0]
    benchmarks = in_paper_order(cells["benchmark"])
    vlms = list(cells["vlm"].unique())
    methods = [method for method in cells["method"].unique() if method != "plain"]

    size = (2.3 * len(benchmarks) + 2, 0.34 * len(methods) + 1.6)
    figure, grid = plt.subplots(1, len(benchmarks), figsize=size, sharey=True, squeeze=False)
    for axes, benchmark in zip(grid[0], benchmarks, strict=True):
        in_panel = cells[cells["benchmark"] == benchmark]
        for index, vlm in enumerate(vlms):
            mine = in_panel[in_panel["vlm"] == vlm].set_index("method")
            shift = 0.17 * (index - (len(vlms) - 1) / 2)
            if not mine.empty:
                _plot_one(axes, mine, methods, column, shift=shift, vlm=vlm)
        axes.set(title=display_name(benchmark), xlabel=label)
        axes.set(yticks=range(len(methods)), yticklabels=methods)

    grid[0, 0].invert_yaxis()
    figure.tight_layout(rect=(0, 0, 1, 0.92))  # the legend stands above the panels
    handles = [
        Line2D([], [], color=vlm_color(vlm), marker="o", linestyle="", label=vlm) for vlm in vlms
    ]
    figure.legend(handles=handles, loc="upper center", ncols=len(vlms), frameon=False)
    sns.despine(figure)

    return figure


def _plot_one(
    axes: Axes, mine: pd.DataFrame, methods: Sequence[str], column: str, *, shift: float, vlm: str
) -> None:
    """Draw one VLM in one panel of `plot_variants`, ``shift`` below the ticks of the methods."""
    values = mine.reindex(methods)
    places = np.arange(len(methods)) + shift

    spread = None
    if f"{column}_low" in values:
        below = values[column] - values[f"{column}_low"]
        above = values[f"{column}_high"] - values[column]
        spread = 100 * np.stack([below, above]).astype(float)  # (2, methods)

    axes.errorbar(
        100 * values[column].astype(float),
        places,
        xerr=spread,
        fmt="o",
        markersize=4,
        color=vlm_color(vlm),
        capsize=2,
        linewidth=1,
    )

    if column == "score" and "plain" in mine.index:
        plain = 100 * mine["score"]["plain"]
        axes.axvline(plain, color=vlm_color(vlm), linestyle="--", linewidth=0.8)


@literal_text()
def plot_cost(
    cells: pd.DataFrame, *, cost: str = "passes", label: str = "forwards + 2 x backwards"
) -> Figure:
    """Draw mean scores against mean costs.

    There is one panel per VLM and one number per method. A line joins the methods that no other
    method dominates.

    Args:
        cells: the table that `summary` returns.
        cost: a column of the table; methods without it are left out.
        label: text of the horizontal axis.
    """
    mean = mean_costs(cells, cost)
    vlms = list(mean["vlm"].unique())

    # Methods without this cost keep their number, so it is the same for every column of cost.
    numbers = {method: number for number, method in enumerate(mean["method"].unique())}
    mean = mean.dropna(subset=[cost])

    columns = min(2, len(vlms))
    lines = math.ceil(len(vlms) / 2)
    size = (4.2 * columns + 2.4, 3.6 * lines)
    figure, grid = plt.subplots(lines, columns, figsize=size, sharey=True, squeeze=False)
    for axes, vlm in zip(grid.flat, vlms, strict=False):
        _plot_frontier(axes, mean[mean["vlm"] == vlm].sort_values(cost), cost, numbers)
        axes.set(title=vlm, xlabel=label, ylabel="mean score, percent")
    for axes in grid.flat[len(vlms) :]:
        axes.set_visible(False)

    sns.despine(figure)
    # The legend takes 2.4 inches on the right.
    figure.tight_layout(rect=(0, 0, 1 - 2.4 / figure.get_figwidth(), 1))
    handles = _numbered_handles(numbers, set(mean["method"]))
    figure.legend(handles=handles, loc="center right", frameon=False, fontsize=8)

    return figure


def _plot_frontier(axes: Axes, mine: pd.DataFrame, cost: str, numbers: dict[str, int]) -> None:
    """Draw the methods of one VLM, sorted by cost, as numbered dots with the line of the best."""
    best = mine[mine["score"] >= mine["score"].cummax()]
    axes.plot(best[cost], 100 * best["score"], color="lightgray", zorder=0)

    colors = [_color(method) for method in mine["method"]]
    axes.scatter(mine[cost], 100 * mine["score"], color=colors, s=110)

    for row in mine.to_dict("records"):
        axes.annotate(
            str(numbers[row["method"]]),
            (row[cost], 100 * row["score"]),
            fontsize=7,
            color="white",
            ha="center",
            va="center",
        )


def _numbered_handles(numbers: dict[str, int], drawn: set[str]) -> list[Line2D]:
    """Return one entry of the legend for every method that is drawn."""
    handles = []
    for method, number in numbers.items():
        if method in drawn:
            dot = Line2D([], [], linestyle="", marker="o", markersize=8, color=_color(method))
            dot.set_label(f"{number}  {method}")
            handles.append(dot)

    return handles


@literal_text()
def plot_risk_coverage(curves: pd.DataFrame) -> Figure:
    """Draw how often the most certain plain answers are wrong.

    There is one panel per VLM and one line per uncertainty score.

    Args:
        curves: the table that `risk_curves` returns.
    """
    grid = sns.relplot(
        curves,
        x="coverage",
        y="risk",
        hue="score",
        style="score",
        col="vlm",
        kind="line",
        height=3.4,
        palette="colorblind",
        estimator=None,
    )

    grid.set_axis_labels("coverage: share of answers, surest first", "risk: 1 - mean score")
    grid.set_titles("{col_name}")
    grid.set(xlim=(0, 1), ylim=(0, None), xticks=(0, 0.5, 1), xticklabels=("0", "0.5", "1"))

    return grid.figure
