"""The messages of figures: one sentence each, with numbers that are computed from the rows."""

import pandas as pd

from entropy_grounding.reporting.budget_curve import EVERY_VLM
from entropy_grounding.reporting.comparisons import mean_costs
from entropy_grounding.reporting.labels import method_label
from entropy_grounding.reporting.significance import mark
from entropy_grounding.reporting.summary import ORACLES, OURS


def marks_against(cells: pd.DataFrame, reference: str) -> dict[tuple[str, str, str], str]:
    """Return the `mark` of every cell against a method, by (VLM, benchmark, method).

    Args:
        cells: the table that `summary` returns.
        reference: "plain", or the reference of the experiment.
    """
    keys = ["vlm", "benchmark"]
    usual = cells[cells["method"] == reference].set_index(keys)["score"].to_dict()
    column = "p_plain" if reference == "plain" else "p_ours"

    found = {}
    for row in cells[cells["n"] > 0].to_dict("records"):
        place = (row["vlm"], row["benchmark"])
        if place in usual and row["method"] != reference:
            sign = mark(row[column], row["score"] - usual[place])
            found[(*place, row["method"])] = sign

    return found


def gain_message(cells: pd.DataFrame) -> str:
    """Say in how many cells the paper's method scores more or less than plain, significantly."""
    tested = marks_against(cells, "plain")
    signs = [sign for (*_, name), sign in tested.items() if name == OURS]
    if not signs:
        return "Scores of every method"

    message = (
        f"The entropy gradient scores significantly more than the plain answer in "
        f"{signs.count('+')} of {len(signs)} cells, and less in {signs.count('-')}"
    )
    blind = [sign for (*_, name), sign in tested.items() if _knows_nothing(name)]
    if not blind:
        return message

    return f"{message}; controls do in {blind.count('+')} of {len(blind)}"


def _knows_nothing(method: str) -> bool:
    """Tell whether a method is a control that is not told the evidence."""
    return method.startswith("control") and method not in ORACLES


def signals_message(values: pd.DataFrame) -> str:
    """Say what masked pixels score in ViCrop's window, without the mask and in the paper's loop.

    Args:
        values: the table that `signal_values` returns.
    """
    scores = values.groupby("method")["score"].mean()
    named = {
        "vicrop_pure_grad_paper": "with mask and window",
        "window_pixels_unmasked": "without the mask",
        "found_pixels": "without the window",
        "window_entropy_masked": "with tokens for pixels",
    }
    parts = [f"{100 * scores[name]:.1f} {text}" for name, text in named.items() if name in scores]
    if not parts:
        return "Mean scores of every signal and procedure"

    return f"ViCrop's pixel gradient scores on the mean, in %: {', '.join(parts)}"


def variants_message(cells: pd.DataFrame, what: str, reference: str = OURS) -> str:
    """Say in how many cells a variant differs significantly from the reference.

    Args:
        cells: the table that `summary` returns.
        what: what the variants change, as the start of a sentence.
        reference: the reference of the experiment.
    """
    signs = [
        sign
        for (*_, name), sign in marks_against(cells, reference).items()
        if name not in ("plain", reference) and not name.startswith("control")
    ]
    better, worse = signs.count("+"), signs.count("-")
    return (
        f"{what}: significantly better than the reference in {better} of {len(signs)} cells, "
        f"and worse in {worse}"
    )


def place_message(cells: pd.DataFrame, column: str, name: str) -> str:
    """Say which method has the largest mean of a measure of place, and that of the paper's.

    Args:
        cells: the table that `summary` returns.
        column: the measure, a fraction.
        name: its name for readers.
    """
    mean = cells[cells["method"] != "plain"].groupby("method")[column].mean().dropna()
    competing = mean[~mean.index.str.startswith("control")]
    if competing.empty or OURS not in competing:
        return f"{name} of every method"

    best = str(competing.idxmax())
    ours = f"{100 * competing[OURS]:.1f} %"
    if best == OURS:
        return f"Of all methods the entropy gradient has the highest mean {name}: {ours}"

    return (
        f"The highest mean {name} is that of {method_label(best)}: {100 * competing[best]:.1f} %. "
        f"The entropy gradient has {ours}"
    )


def cost_message(cells: pd.DataFrame, cost: str, unit: str) -> str:
    """Say how much the paper's method gains over plain, on average, and what it costs.

    Args:
        cells: the table that `summary` returns.
        cost: a column of it.
        unit: of the cost.
    """
    mean = mean_costs(cells, cost).groupby("method")[["score", cost]].mean()
    if not {OURS, "plain"} <= set(mean.index):
        return f"Score against {unit}"

    points = 100 * (mean["score"][OURS] - mean["score"]["plain"])
    return (
        f"The entropy gradient gains {points:.0f} points over plain for "
        f"{mean[cost][OURS]:,.0f} {unit} a question, on average"
    )


def shares_message(shares: pd.DataFrame) -> str:
    """Say between which limits the share of the gain lies that location explains."""
    known = shares["share"].dropna()
    if known.empty:
        return "Nowhere does the oracle gain significantly over random crops"

    return (
        f"The entropy gradient reaches {100 * known.min():.0f} to {100 * known.max():.0f} % of "
        f"what the oracle gains over random crops (median {100 * known.median():.0f} %)"
    )


def league_message(cells: pd.DataFrame, vlm: str) -> str:
    """Say at which place the paper's method stands by its mean score on one VLM."""
    mean = mean_costs(cells[cells["vlm"] == vlm]).set_index("method")["score"]
    competing = mean[~mean.index.str.startswith("control")].sort_values(ascending=False)
    if OURS not in competing:
        return f"Gains over plain on {vlm}"

    place = list(competing.index).index(OURS) + 1
    points = 100 * (mean[OURS] - mean["plain"])
    return (
        f"On {vlm} the entropy gradient gains {points:.0f} points over plain on average: "
        f"place {place} of {len(competing)} methods without controls"
    )


def risk_message(curves: pd.DataFrame) -> str:
    """Say which score the surest half of the plain answers misses, against all of them."""
    half, everything = [], []
    for _, curve in curves[curves["score"] == "calibrated"].groupby("vlm"):
        half.append(curve.loc[(curve["coverage"] - 0.5).abs().idxmin(), "risk"])
        everything.append(curve["risk"].iloc[-1])
    if not half:
        return "Risk and coverage of plain answers"

    return (
        f"The surest half of the plain answers misses {100 * min(half):.0f} to "
        f"{100 * max(half):.0f} % of the score; all of them miss {100 * min(everything):.0f} "
        f"to {100 * max(everything):.0f} %"
    )


def scores_message(scores: pd.DataFrame) -> str:
    """Say how many benchmarks there are on which the paper's method scores more than plain."""
    mean = scores.pivot_table("score", ["vlm", "benchmark"], "method")
    if not {OURS, "plain"} <= set(mean):
        return "Scores on the benchmarks"

    above = int((mean[OURS] > mean["plain"]).sum())
    count = mean.index.get_level_values("benchmark").nunique()
    return (
        f"The entropy gradient scores more than plain in {above} of {len(mean)} cells of "
        f"{count} benchmarks"
    )


def budgets_message(compared: pd.DataFrame) -> str:
    """Say beside how many methods the cascade scores at least as much, for no more passes.

    Args:
        compared: from `beside_curve`.
    """
    if compared.empty:
        return "The cascade at every budget"

    compared = compared[compared["vlm"] != EVERY_VLM]
    level = compared["cascade_score"] >= compared["score"]
    within = compared["cascade_score"] >= compared["score"] - compared["half"]
    return (
        f"For no more passes, a budget scores at least as much as the single method in "
        f"{level.sum()} of {len(level)} comparisons, and in {within.sum()} up to half its interval"
    )
