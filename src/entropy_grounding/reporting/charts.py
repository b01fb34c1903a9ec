"""Charts of scores, costs and shares; functions return figures and never show or save them."""

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from entropy_grounding.plots import REGION_COLORS, literal_text
from entropy_grounding.reporting.comparisons import mean_costs
from entropy_grounding.vlm.registry import BIG_SIBLINGS


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
    names, methods = (
        list(mine["benchmark"].unique()),
        [m for m in mine["method"].unique() if m != "plain"],
    )
    figure, grid = plt.subplots(
        1,
        len(names),
        figsize=(2.2 * len(names) + 2, 0.28 * len(methods) + 1.2),
        sharey=True,
        squeeze=False,
    )
    for axes, name in zip(grid[0], names, strict=True):
        shown = mine[mine["benchmark"] == name].set_index("method")
        scores = shown.reindex(methods)
        places = np.arange(len(methods))
        spread = 100 * np.stack(
            [scores["score"] - scores["score_low"], scores["score_high"] - scores["score"]]
        )
        axes.barh(
            places,
            100 * scores["score"],
            xerr=spread,
            color=[_color(m) for m in methods],
            error_kw={"linewidth": 1},
        )
        axes.axvline(100 * shown["score"]["plain"], color="black", linestyle="--", linewidth=1)
        axes.set(
            title=name, xlim=(0, 100), xlabel="score, percent", yticks=places, yticklabels=methods
        )
    grid[0, 0].invert_yaxis()
    sns.despine(figure)
    figure.tight_layout()
    return figure


def _color(method: str) -> tuple[float, float, float]:
    kinds = {"entropy_gradient": 3, "gated": 2, "control": 7}
    return REGION_COLORS[
        next((number for kind, number in kinds.items() if method.startswith(kind)), 0)
    ]


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
        places = [
            names.index(name) + 0.15 * (index - (len(vlms) - 1) / 2) for name in mine["benchmark"]
        ]
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
    for share, style in ((0, ":"), (100, "--")):
        axes.axhline(share, color="gray", linestyle=style, linewidth=1)
    axes.set(xticks=range(len(names)), xticklabels=names, ylabel="share of the gain, percent")
    axes.legend(frameon=False, ncols=2)
    sns.despine(figure)
    figure.tight_layout()
    return figure


VLM_COLORS = {
    name: REGION_COLORS[number] for number, pair in enumerate(BIG_SIBLINGS.items()) for name in pair
}


def vlm_color(vlm: str) -> tuple[float, float, float]:
    """Return the color of a VLM, the same in every figure; another model is gray."""
    return VLM_COLORS.get(vlm, REGION_COLORS[7])


@literal_text()
def plot_variants(
    cells: pd.DataFrame, *, column: str = "score", label: str = "score, percent"
) -> Figure:
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
                _plot_one(
                    axes, mine, methods, column, shift=0.17 * (index - (len(vlms) - 1) / 2), vlm=vlm
                )
        axes.set(title=name, xlabel=label, yticks=range(len(methods)), yticklabels=methods)
    grid[0, 0].invert_yaxis()
    handles = [
        Line2D([], [], color=vlm_color(vlm), marker="o", linestyle="", label=vlm) for vlm in vlms
    ]
    figure.tight_layout(rect=(0, 0, 1, 0.92))
    figure.legend(handles=handles, loc="upper center", ncols=len(vlms), frameon=False)
    sns.despine(figure)
    return figure


def _plot_one(
    axes: Axes, mine: pd.DataFrame, methods: Sequence[str], column: str, *, shift: float, vlm: str
) -> None:
    found = mine.reindex(methods)
    spread = None
    if f"{column}_low" in found:
        spread = 100 * np.stack(
            [found[column] - found[f"{column}_low"], found[f"{column}_high"] - found[column]]
        ).astype(float)
    places = np.arange(len(methods)) + shift
    axes.errorbar(
        100 * found[column].astype(float),
        places,
        xerr=spread,
        fmt="o",
        markersize=4,
        color=vlm_color(vlm),
        capsize=2,
        linewidth=1,
    )
    if column == "score" and "plain" in mine.index:
        axes.axvline(
            100 * mine["score"]["plain"], color=vlm_color(vlm), linestyle="--", linewidth=0.8
        )


@literal_text()
def plot_cost(
    cells: pd.DataFrame, *, cost: str = "passes", label: str = "forwards + 2 x backwards"
) -> Figure:
    """Draw mean scores against mean cost, a panel for each VLM, a number for each method; the line joins what no other method dominates.

    Args:
        cells: from `experiments.summary`.
        cost: a column of it; methods without it are left out.
        label: of the axis.
    """
    mean = mean_costs(cells, cost)
    numbers = {
        method: number for number, method in enumerate(mean["method"].unique())
    }  # the same for every column of cost
    vlms = list(mean["vlm"].unique())
    mean = mean.dropna(subset=[cost])
    rows = math.ceil(len(vlms) / 2)
    figure, grid = plt.subplots(
        rows,
        min(2, len(vlms)),
        figsize=(4.2 * min(2, len(vlms)) + 2.4, 3.6 * rows),
        sharey=True,
        squeeze=False,
    )
    for axes, vlm in zip(grid.flat, vlms, strict=False):
        mine = mean[mean["vlm"] == vlm].sort_values(cost)
        best = mine[mine["score"] >= mine["score"].cummax()]
        axes.plot(best[cost], 100 * best["score"], color="lightgray", zorder=0)
        axes.scatter(
            mine[cost],
            100 * mine["score"],
            color=[_color(method) for method in mine["method"]],
            s=110,
        )
        for row in mine.to_dict("records"):
            place = row[cost], 100 * row["score"]
            axes.annotate(
                str(numbers[row["method"]]),
                place,
                fontsize=7,
                color="white",
                ha="center",
                va="center",
            )
        axes.set(title=vlm, xlabel=label, ylabel="mean score, percent")
    for axes in grid.flat[len(vlms) :]:
        axes.set_visible(False)
    handles = [
        Line2D(
            [],
            [],
            linestyle="",
            marker="o",
            markersize=8,
            color=_color(method),
            label=f"{number}  {method}",
        )
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
    grid.set_axis_labels(
        "coverage: share of answers, surest first", "risk: 1 - mean score"
    ).set_titles("{col_name}").set(
        xlim=(0, 1), ylim=(0, None), xticks=(0, 0.5, 1), xticklabels=("0", "0.5", "1")
    )
    return grid.figure
