"""Compare methods: cost, dominance, significant differences, what location explains."""

from pathlib import Path

import numpy as np
import pandas as pd

from entropy_grounding.evaluation.archive import load_rows
from entropy_grounding.metrics.statistics import Interval, holm, share_explained
from entropy_grounding.reporting.summary import ORACLES, OURS, in_order


def mean_costs(found: pd.DataFrame, cost: str = "passes") -> pd.DataFrame:
    """Return the mean ``score`` and the mean of a column of cost of every VLM and method with a score on all benchmarks of the VLM.

    The cost is NaN where a benchmark has none: a mean over fewer benchmarks compares with nothing.
    """
    grouped = found[found["n"] > 0].groupby(["vlm", "method"], sort=False)
    benchmarks = grouped.size()
    whole = benchmarks == benchmarks.groupby("vlm").transform("max")
    return (
        grouped[["score", cost]].agg(lambda column: column.mean(skipna=False))[whole].reset_index()
    )


def dominating(found: pd.DataFrame, reference: str = OURS) -> str:
    """Say which methods score at least as much as the reference, on the mean, and take no more passes; controls do not compete."""
    mean = mean_costs(found).set_index(["vlm", "method"])
    lines = []

    for vlm, better in dominating_methods(found, reference).items():
        ours = mean.loc[(vlm, reference)]
        named = [
            f"{row.method} ({100 * (row.score - ours['score']):+.1f} points, {row.passes:.1f} passes)"
            for row in better.itertuples()
        ]
        lines.append(
            f"{vlm}: {', '.join(named) or 'none'}; {reference} takes {ours['passes']:.1f} passes."
        )

    return "\n".join(lines)


def dominating_methods(found: pd.DataFrame, reference: str = OURS) -> dict[str, pd.DataFrame]:
    """Return, by VLM, the `mean_costs` of methods that score at least as much as the reference for no more passes; no controls."""
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
    """Return the cells of all methods but plain, oracles and the reference, with ``change`` from it in points and adjusted ``p`` (Holm)."""
    others = found[~found["method"].isin(("plain", reference, *ORACLES)) & found["p_ours"].notna()]
    usual = found[found["method"] == reference].set_index(["vlm", "benchmark"])["score"].to_dict()
    change = [
        100 * (row.score - usual.get((row.vlm, row.benchmark), np.nan))
        for row in others.itertuples()
    ]
    return others.assign(change=change, p=holm(others["p_ours"].tolist()) if len(others) else [])


def significant(found: pd.DataFrame, reference: str = OURS) -> pd.DataFrame:
    """Return the `differences` with ``sure``: whether the adjusted p is below 0.05."""
    tested = differences(found, reference)

    return tested.assign(sure=tested["p"] < 0.05 if len(tested) else [])


def location_shares(root: str | Path) -> pd.DataFrame:
    """Return what location explains of the gain, (entropy gradient - random) / (oracle - random), a row a VLM and benchmark.

    Random and oracle crops are as many as the method's (``control_random``, ``control_oracle_budget``); columns ``share``, ``low`` and
    ``high`` are NaN where the oracle is not surely better than random crops.
    """
    found = []
    for folder in in_order(
        {path.parents[1] for path in Path(root).glob(f"*/*/{OURS}/rows.parquet")}
    ):
        needed = [folder / method for method in (OURS, "control_random", "control_oracle_budget")]
        if not all((path / "rows.parquet").is_file() for path in needed):
            continue
        scores = pd.concat({path.name: _scores(path) for path in needed}, axis=1).dropna()
        share = share_explained(*(scores[path.name].to_numpy(float) for path in needed))
        found.append(
            {
                "vlm": folder.parent.name,
                "benchmark": folder.name.removeprefix("mini_"),
                "n": len(scores),
                **_named(share),
            }
        )
    return pd.DataFrame(found, columns=["vlm", "benchmark", "n", "share", "low", "high"])


def _scores(folder: Path) -> pd.Series:
    rows = load_rows(folder)[0]
    return rows[rows["status"] == "ok"].set_index("example_id")["score"]


def _named(share: Interval) -> dict[str, float]:
    return {"share": share.mean, "low": share.low, "high": share.high}
