"""Compare methods: cost, dominance, significant differences, and the share of location."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from entropy_grounding.evaluation.archive import stored_evaluations, table_rows
from entropy_grounding.metrics.statistics import share_explained
from entropy_grounding.reporting.kept import kept
from entropy_grounding.reporting.significance import ALPHA, adjusted
from entropy_grounding.reporting.summary import ORACLES, OURS, Progress, in_order


def mean_costs(found: pd.DataFrame, cost: str = "passes") -> pd.DataFrame:
    """Return the mean ``score`` and the mean cost of every VLM and method, over the benchmarks.

    Methods that lack a score on one of the VLM's benchmarks are left out. The mean cost is NaN
    where a benchmark has no cost.

    Args:
        found: one row per VLM, benchmark and method (`cells`).
        cost: name of the column of cost.
    """
    grouped = found[found["n"] > 0].groupby(["vlm", "method"], sort=False)
    means = grouped[["score", cost]].agg(lambda column: column.mean(skipna=False))

    # Means over different benchmarks cannot be compared.
    benchmarks = grouped.size()
    complete = benchmarks == benchmarks.groupby("vlm").transform("max")

    return means[complete].reset_index()


def half_widths(cells: pd.DataFrame) -> pd.DataFrame:
    """Return half the width of the interval of every mean score, as the column ``half``.

    The benchmarks are independent, so the squares of their widths add up.
    """
    squares = ((cells["score_high"] - cells["score_low"]) / 2) ** 2
    grouped = cells.assign(square=squares).groupby(["vlm", "method"], sort=False)["square"]
    half = grouped.sum() ** 0.5 / grouped.size()

    return half.rename("half").reset_index()


def dominating(found: pd.DataFrame, reference: str = OURS) -> str:
    """Return a Markdown list that names the methods that dominate the reference, VLM by VLM.

    A method dominates when its mean score is at least as high, for no more passes. Controls do not
    compete.
    """
    mean = mean_costs(found).set_index(["vlm", "method"])
    lines = []

    for vlm, better in dominating_methods(found, reference).items():
        ours = mean.loc[(vlm, reference)]

        named = []
        for row in better.itertuples():
            points = 100 * (row.score - ours["score"])
            named.append(f"{row.method} ({points:+.1f} points, {row.passes:.1f} passes)")

        lines.append(
            f"- {vlm}: {', '.join(named) or 'none'}; {reference} takes {ours['passes']:.1f} passes."
        )

    return "\n".join(lines)


def dominating_methods(found: pd.DataFrame, reference: str = OURS) -> dict[str, pd.DataFrame]:
    """Return for every VLM the rows of `mean_costs` whose methods dominate the reference.

    A method dominates when its mean score is at least as high, for no more passes. Controls do not
    compete.
    """
    mean = mean_costs(found)
    competing = mean[~mean["method"].str.startswith("control") & (mean["method"] != reference)]

    better = {}
    for ours in mean[mean["method"] == reference].itertuples():
        others = competing[competing["vlm"] == ours.vlm]
        better[str(ours.vlm)] = others[
            (others["score"] >= ours.score) & (others["passes"] <= ours.passes)
        ]

    return better


def differences(found: pd.DataFrame, reference: str = OURS) -> pd.DataFrame:
    """Return the cells of all methods but plain, the oracles and the reference, with more columns.

    The columns are ``change``, the difference of scores from the reference in points, ``p``, the
    `adjusted` p-value, and ``sure``, whether it is below 0.05.
    """
    others = found[~found["method"].isin(("plain", reference, *ORACLES)) & found["p_ours"].notna()]
    usual = found[found["method"] == reference].set_index(["vlm", "benchmark"])["score"].to_dict()

    change = [
        100 * (row.score - usual.get((row.vlm, row.benchmark), np.nan))
        for row in others.itertuples()
    ]

    tested = others.assign(change=change, p=adjusted(others["p_ours"]))
    return tested.assign(sure=tested["p"] < ALPHA)


def location_shares(root: str | Path, progress: Progress = iter) -> pd.DataFrame:
    """Return for every VLM and benchmark which share of the gain location explains.

    The share is (entropy gradient - random) / (oracle - random). The controls use as many crops as
    the method (``control_random``, ``control_oracle_budget``).

    Args:
        root: folder of an experiment, for example ``results/rows/table1``.
        progress: goes through the VLMs and benchmarks.

    Returns:
        One row per VLM and benchmark, with the number ``n`` of examples that all three methods
        answered, the ``share`` and the limits ``low`` and ``high`` of its interval. They are NaN
        where the oracle is not significantly better than random crops.
    """
    lines = []
    stored = set(stored_evaluations(root))
    folders = {evaluation.parent for evaluation in stored if evaluation.name == OURS}

    for folder in progress(in_order(folders)):
        methods = [folder / name for name in (OURS, "control_random", "control_oracle_budget")]
        if not stored.issuperset(methods):
            continue

        share = kept(methods, (), sys.modules[__name__], partial(_share, methods))
        lines.append({"vlm": folder.parent.name, "benchmark": folder.name, **share})

    return pd.DataFrame(lines, columns=["vlm", "benchmark", "n", "share", "low", "high"])


def _share(methods: Sequence[Path]) -> dict[str, float]:
    """Return which share of the gain location explains, from the rows of the three methods."""
    # One row per example, one column per method; only examples with all three scores count.
    scores = pd.concat({path.name: _scores(path) for path in methods}, axis=1).dropna()
    share = share_explained(*(scores[path.name].to_numpy(float) for path in methods))

    return {"n": len(scores), "share": share.mean, "low": share.low, "high": share.high}


def _scores(folder: Path) -> pd.Series:
    """Return the scores in a folder, indexed by example; examples without a score are left out."""
    rows = table_rows(folder)[0]

    return rows[rows["status"] == "ok"].set_index("example_id")["score"]
