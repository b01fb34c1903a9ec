"""The claims of the notebooks. A check of the stored rows decides each part of a claim.

A notebook shows `verdict`. A sentence that the rows refute is therefore called refuted right where
it stands.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from entropy_grounding.benchmarks.miniature.requirements import hides_evidence
from entropy_grounding.benchmarks.names import display_name
from entropy_grounding.reporting.comparisons import differences, dominating_methods
from entropy_grounding.reporting.significance import is_significant
from entropy_grounding.reporting.summary import OURS

# Does the claim hold there? The keys name each comparison, in words for readers.
Outcome = dict[str, bool]


@dataclass(frozen=True)
class Claim:
    """One part of a claim.

    Attributes:
        text: the statement, a sentence that can be wrong.
        check: takes cells (from `cells` or `summary`) and returns whether the claim holds, for
            every comparison.
    """

    text: str
    check: Callable[[pd.DataFrame], Outcome]


def verdict(notebook: str, cells: pd.DataFrame) -> str:
    """Return as Markdown in how many comparisons each part of a notebook's claim holds.

    The comparisons where a part does not hold are named.

    Args:
        notebook: a key of `CLAIMS`.
        cells: one row per VLM, benchmark and method, from `summary` or `cells`.
    """
    lines = [_line(claim, claim.check(cells)) for claim in CLAIMS[notebook]]

    return "**Verdict**, from the stored rows:\n\n" + "\n".join(lines)


def _line(claim: Claim, outcome: Outcome) -> str:
    """Return the line of Markdown that judges one part of a claim."""
    if not outcome:
        return f"- {claim.text}: **not tested** by these rows."

    against = [name for name, holds in outcome.items() if not holds]
    if not against:
        return f"- {claim.text}: **holds**, in {len(outcome)} of {len(outcome)} comparisons."

    word = "refuted" if len(against) == len(outcome) else "holds in part"
    count = f"in {len(outcome) - len(against)} of {len(outcome)} comparisons"

    return f"- {claim.text}: **{word}**, {count}; not {', '.join(against)}."


def above(
    column: str, than: str, *, hidden: bool = False, ours: str = OURS
) -> Callable[[pd.DataFrame], Outcome]:
    """Return a check that ``ours`` has the larger mean of a column.

    It compares every VLM and benchmark for which both methods have a value.

    Args:
        column: name of the column: "score", "iou" or "energy".
        than: the other method.
        hidden: count only benchmarks that hide their evidence.
        ours: the method that is claimed to have the larger mean.
    """

    def check(cells: pd.DataFrame) -> Outcome:
        counted = cells[cells["benchmark"].map(hides_evidence)] if hidden else cells

        # One row per VLM and benchmark, one column per method.
        table = counted.pivot_table(
            index=["vlm", "benchmark"], columns="method", values=column, sort=False
        )
        if not {ours, than} <= set(table.columns):
            return {}

        outcome = {}
        for (vlm, benchmark), mine, other in table[[ours, than]].dropna().itertuples():
            outcome[f"{vlm} {display_name(benchmark)}"] = bool(mine > other)

        return outcome

    return check


def without(change: str, methods: Iterable[str] | None = None) -> Callable[[pd.DataFrame], Outcome]:
    """Return a check that no other method differs significantly from the paper's in one direction.

    Args:
        change: the direction, "better" or "worse".
        methods: the methods that count; None counts all but plain, the oracles and the paper's.
    """
    sign = {"better": 1, "worse": -1}[change]

    def check(cells: pd.DataFrame) -> Outcome:
        outcome = {}
        for row in _of_methods(differences(cells), methods).itertuples():
            outcome[_name(row)] = not (row.sure and sign * row.change > 0)

        return outcome

    return check


def worse(methods: Iterable[str]) -> Callable[[pd.DataFrame], Outcome]:
    """Return a check that methods are significantly worse where evidence is hidden."""

    def check(cells: pd.DataFrame) -> Outcome:
        tested = _of_methods(differences(cells), methods)
        counted = tested[tested["benchmark"].map(hides_evidence)]

        return {_name(row): bool(row.sure and row.change < 0) for row in counted.itertuples()}

    return check


def moved(cells: pd.DataFrame) -> Outcome:
    """Tell for every switch of the protocol whether it moves the plain score significantly."""
    # "base" is the evaluation with every switch at its default.
    tested = differences(cells, "base")

    return {_name(row): bool(row.sure) for row in tested.itertuples()}


def gains(cells: pd.DataFrame) -> Outcome:
    """Tell whether the method scores significantly more than plain where evidence is hidden.

    Returns:
        One entry per VLM and benchmark that hides evidence.
    """
    ours = _scored(cells)
    hidden = ours[ours["benchmark"].map(hides_evidence)]

    return {
        _cell(row): bool(is_significant(row.p_plain) and row.gained > row.lost)
        for row in hidden.itertuples()
    }


def unharmed(cells: pd.DataFrame) -> Outcome:
    """Tell whether the method does not score significantly less than plain on other benchmarks.

    Returns:
        One entry per VLM and benchmark that hides no evidence.
    """
    ours = _scored(cells)
    general = ours[~ours["benchmark"].map(hides_evidence)]

    return {
        _cell(row): not (is_significant(row.p_plain) and row.lost > row.gained)
        for row in general.itertuples()
    }


def _scored(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells of the paper's method that have a score."""
    return cells[(cells["method"] == OURS) & (cells["n"] > 0)]


def _of_methods(cells: pd.DataFrame, methods: Iterable[str] | None) -> pd.DataFrame:
    """Return the cells of some methods; None keeps all cells."""
    return cells if methods is None else cells[cells["method"].isin(list(methods))]


def _cell(row: Any) -> str:
    """Name the VLM and the benchmark of a cell."""
    return f"{row.vlm} {display_name(row.benchmark)}"


def _name(row: Any) -> str:
    """Name the method, the VLM and the benchmark of a cell."""
    return f"`{row.method}` on {_cell(row)}"


def undominated(cells: pd.DataFrame) -> Outcome:
    """Tell for every VLM whether no other method dominates the paper's.

    A method dominates when its mean score is at least as high, for no more passes.
    """
    return {vlm: methods.empty for vlm, methods in dominating_methods(cells).items()}


# Variants of the ablations. The paper's method keeps at most two regions per zoom step.
LATER = ("regions_3", "regions_4", "regions_5")
EARLIER = ("regions_1",)
FIXED = ("fixed_1", "fixed_2", "fixed_3")
# By number for the tiny VLMs, by fraction of the depth for checkpoints of any size.
EARLY_GRADIENTS = (
    *("gradient_layer_1", "gradient_layer_2"),
    *("gradient_depth_0.25", "gradient_depth_0.5"),
)
SAME_LOOP = (
    "map_attention",
    "map_relative_attention",
    "map_gradient_x_input",
    "map_log_probability",
)
RIVALS = {
    "vicrop_rel_att": "ViCrop's relative attention",
    "vicrop_grad_att": "ViCrop's gradient attention",
    "vicrop_pure_grad": "ViCrop's pixel gradient (as its code)",
    "vicrop_pure_grad_paper": "ViCrop's pixel gradient (as its text)",
    "map_attention": "attention in the same loop",
}

CLAIMS: dict[str, tuple[Claim, ...]] = {
    "10_table1_main": (
        Claim("Where evidence is hidden it scores significantly more than plain", gains),
        Claim(
            "There it scores more than ViCrop's relative attention",
            above("score", "vicrop_rel_att", hidden=True),
        ),
        Claim(
            "There it scores more than random crops",
            above("score", "control_random", hidden=True),
        ),
        Claim("On GQA and RealWorldQA it loses nothing significantly", unharmed),
    ),
    "11_table2_localization": (
        *(
            Claim(f"Its map has more energy in the evidence than {title}", above("energy", name))
            for name, title in RIVALS.items()
        ),
        *(
            Claim(f"Its crops have a higher IoU than those of {title}", above("iou", name))
            for name, title in RIVALS.items()
        ),
    ),
    "20_ablation_regions": (
        Claim("More regions are not significantly better", without("better", LATER)),
        Claim("One region is not significantly better", without("better", EARLIER)),
    ),
    "21_ablation_stopping": (
        Claim("No fixed number of rounds is significantly better", without("better", FIXED)),
        Claim(
            "No other rule is significantly better",
            without("better", ("last_crops", "probability", "resolution", "no_rule")),
        ),
    ),
    "22_ablation_objective": (
        Claim("No other target or relevance is significantly better", without("better")),
        Claim(
            "Where evidence is hidden, gradient x input is significantly worse",
            worse(("map_gradient_x_input",)),
        ),
    ),
    "23_ablation_token_layer": (
        Claim("No later token or earlier layer is significantly better", without("better")),
    ),
    "24_ablation_map_to_region": (
        Claim(
            "No other threshold is significantly better than the elbow",
            without("better", ("half_max", "quantile_0.9")),
        ),
        Claim(
            "Eight neighbours are not significantly better than four",
            without("better", ("connectivity_8",)),
        ),
        Claim("No blur is not significantly better", without("better", ("sigma_0",))),
        Claim("Twice the blur is significantly worse", worse(("sigma_3",))),
    ),
    "25_cost": (Claim("Nothing scores as much on the mean for no more passes", undominated),),
    "12_controls": (
        *(
            Claim(
                f"Where evidence is hidden it scores more than `control_{name}`",
                above("score", f"control_{name}", hidden=True),
            )
            for name in ("random", "center", "lowest", "repeated", "blank")
        ),
    ),
    "26_controls": (
        *(
            Claim(
                f"Where evidence is hidden it scores more than `{name}`",
                above("score", name, hidden=True),
            )
            for name in ("control_random", "control_center", "control_lowest", *SAME_LOOP)
        ),
    ),
    "27_protocol_switches": (Claim("The switch moves the plain score significantly", moved),),
    "28_ablation_savings": (
        Claim(
            "Looking again only at the crops is not significantly worse",
            without("worse", ("reground_crops",)),
        ),
        Claim(
            "Reading crops at half the budget is not significantly worse",
            without("worse", ("crop_scale_0.5",)),
        ),
        Claim(
            "A gradient at a middle layer is not significantly worse",
            without("worse", EARLY_GRADIENTS),
        ),
    ),
    "29_ablation_min_pixels": (
        Claim(
            "Crops in their own size are significantly worse",
            worse(("min_pixels_64",)),
        ),
        Claim(
            "Crops and pictures of twice the side are not significantly better",
            without("better", ("min_pixels_16384",)),
        ),
    ),
}
