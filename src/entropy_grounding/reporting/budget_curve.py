"""The cascade at every budget as a curve, and every other method beside it."""

import numpy as np
import pandas as pd

from entropy_grounding.benchmarks.miniature.requirements import hides_evidence
from entropy_grounding.reporting.comparisons import half_widths, mean_costs
from entropy_grounding.reporting.summary import ORACLES

CASCADE = "anytime"
# Rows with traces, from which the budgets are replayed.
NEVER_SURE = "anytime_all"
_BUDGET = f"{CASCADE}_"
# The row over all VLMs in `beside_curve`.
EVERY_VLM = "all VLMs"


def budget_name(passes: float) -> str:
    """Return the name of the cascade with a budget, in passes a question, in tables of cells."""
    return f"{_BUDGET}{passes:g}"


def is_budget(method: str) -> bool:
    """Tell whether a name is that of a replayed budget."""
    return method.startswith(_BUDGET) and method != NEVER_SURE


def budget_of(method: str) -> float:
    """Return the budget that a name stands for, in passes a question."""
    return float(method.removeprefix(_BUDGET))


def curves(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the `mean_costs` of the replayed budgets; its method is the `CASCADE` everywhere.

    Args:
        cells: the table that `summary` returns.
    """
    budgets = cells[cells["method"].map(is_budget)]
    return mean_costs(budgets).assign(method=CASCADE)


def single_methods(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells of every method for a figure beside the curve of the cascade.

    Other settings of ViCrop's attention score no more and would crowd it, so they are left out.
    """
    others = cells["method"].str.endswith(("_chosen", "_high"))
    return cells[~cells["method"].str.startswith(CASCADE) & ~others]


def beside_curve(cells: pd.DataFrame) -> pd.DataFrame:
    """Compare every other method with the cascade at no more passes.

    The cascade has the dearest budget whose passes, measured on these cells, do not exceed those of
    the method. Plain, the oracles and the cascade's own runs are not compared.

    Args:
        cells: the table that `summary` returns.

    Returns:
        One row per VLM and method, and one per method over all VLMs (`EVERY_VLM`, where each VLM
        has it), with ``passes`` and ``score`` of the method, ``half`` (half the width of its
        interval), ``budget``, ``cascade_passes`` and ``cascade_score``.
    """
    mean = mean_costs(cells).merge(half_widths(cells), on=["vlm", "method"])
    parts = [mean, _over_vlms(mean)]

    lines = []
    for vlm, rows in pd.concat(parts, ignore_index=True).groupby("vlm", sort=False):
        budgets = rows[rows["method"].map(is_budget)].sort_values("passes")
        for row in rows[rows["method"].map(_competes)].to_dict("records"):
            affordable = budgets[budgets["passes"] <= row["passes"]]
            if affordable.empty:
                continue

            best = affordable.iloc[-1]
            cascade = {f"cascade_{name}": best[name] for name in ("passes", "score")}
            lines.append({**row, "vlm": vlm, "budget": budget_of(best["method"]), **cascade})

    columns = ["vlm", "method", "score", "passes", "half", "budget"]
    return pd.DataFrame(lines, columns=[*columns, "cascade_passes", "cascade_score"])


def _over_vlms(mean: pd.DataFrame) -> pd.DataFrame:
    """Return the means over the VLMs, of the methods that every VLM has."""
    grouped = mean.groupby("method", sort=False)
    complete = grouped.size() == mean["vlm"].nunique()
    found = grouped[["score", "passes"]].mean()[complete]

    # The VLMs answer the same questions, but independently enough for their widths to add up.
    half = grouped["half"].agg(lambda widths: float(np.sqrt((widths**2).sum()) / len(widths)))
    return found.assign(vlm=EVERY_VLM, half=half[complete]).reset_index()


def _competes(method: str) -> bool:
    return not method.startswith(CASCADE) and method not in ("plain", *ORACLES)


def budgets_table(cells: pd.DataFrame) -> str:
    """Return the Markdown table of the cascade's budgets, one row per budget.

    It has the mean score of every VLM with the passes, then where no evidence is hidden the passes
    and the change of the score from plain, over all VLMs.

    Args:
        cells: the table that `summary` returns.
    """
    budgets = cells[cells["method"].map(is_budget)]
    mean = mean_costs(budgets).set_index(["method", "vlm"])
    general = budgets[~budgets["benchmark"].map(hides_evidence)]
    plain = cells[cells["method"] == "plain"].set_index(["vlm", "benchmark"])["score"]

    lines = []
    for method in sorted(budgets["method"].unique(), key=budget_of):
        line = {"budget": f"{budget_of(method):g}"}
        for vlm in budgets["vlm"].unique():
            found = mean.loc[(method, vlm)] if (method, vlm) in mean.index else None
            shown = "" if found is None else f"{100 * found.score:.1f} ({found.passes:.1f})"
            line[f"`{vlm}`"] = shown

        here = general[general["method"] == method]
        before = np.array([plain[row.vlm, row.benchmark] for row in here.itertuples()])
        if len(here):
            line["no evidence hidden: passes"] = f"{here['passes'].mean():.2f}"
            line["change from plain"] = f"{100 * (here['score'] - before).mean():+.1f}"
        lines.append(line)

    return pd.DataFrame(lines).fillna("").to_markdown(index=False, disable_numparse=True)


def rivals_table(cells: pd.DataFrame, vlm: str) -> str:
    """Return the Markdown table of `beside_curve` for one VLM, or for `EVERY_VLM`.

    Args:
        cells: the table that `summary` returns.
        vlm: the name of the VLM.
    """
    lines = []
    compared = beside_curve(cells)
    for row in compared[compared["vlm"] == vlm].sort_values("passes").to_dict("records"):
        lines.append(
            {
                "method": f"`{row['method']}`",
                "passes": f"{row['passes']:.1f}",
                "score": f"{100 * row['score']:.1f} ± {100 * row['half']:.1f}",
                "`anytime`: passes": f"{row['cascade_passes']:.1f}",
                "score there": f"{100 * row['cascade_score']:.1f}",
                "ahead by": f"{100 * (row['cascade_score'] - row['score']):+.1f}",
            }
        )

    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def rivals_of_all(cells: pd.DataFrame) -> str:
    """Return the `rivals_table` over all VLMs."""
    return rivals_table(cells, EVERY_VLM)
