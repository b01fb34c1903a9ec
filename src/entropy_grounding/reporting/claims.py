"""What the notebooks claim, each part with the check of the stored rows that decides it.

A notebook prints `verdict`, so a sentence that the rows refute is called refuted where it stands.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from entropy_grounding.benchmarks.miniature.requirements import HIDDEN
from entropy_grounding.metrics.statistics import holm
from entropy_grounding.reporting.comparisons import dominating_methods, significant
from entropy_grounding.reporting.summary import OURS

Outcome = dict[str, bool]  # by what was compared, for people: does the claim hold there?


@dataclass(frozen=True)
class Claim:
    """One part of a claim.

    Attributes:
        text: what is said, in a sentence that can be wrong.
        check: from cells (`league.cells`) to whether it holds, for everything that was compared.
    """

    text: str
    check: Callable[[pd.DataFrame], Outcome]


def verdict(notebook: str, cells: pd.DataFrame) -> str:
    """Return, as Markdown, in how many comparisons each part of a notebook's claim holds, and where not.

    Args:
        notebook: a key of `CLAIMS`.
        cells: a row per VLM, benchmark and method, of `experiments.summary` or `league.cells`.
    """
    lines = [_line(claim, claim.check(cells)) for claim in CLAIMS[notebook]]

    return "**Verdict**, from the rows above:\n\n" + "\n".join(lines)


def _line(claim: Claim, outcome: Outcome) -> str:
    if not outcome:
        return f"- {claim.text}: **not tested** by these rows."

    against = [name for name, holds in outcome.items() if not holds]
    if not against:
        return f"- {claim.text}: **holds**, in {len(outcome)} of {len(outcome)} comparisons."

    word = "refuted" if len(against) == len(outcome) else "holds in part"
    count = f"in {len(outcome) - len(against)} of {len(outcome)} comparisons"
    return f"- {claim.text}: **{word}**, {count}; not {', '.join(against)}."


def above(
    column: str, than: str, *, benchmarks: Iterable[str] | None = None, ours: str = OURS
) -> Callable[[pd.DataFrame], Outcome]:
    """Return a check that ``ours`` has the larger mean of a column, in every cell that both have.

    Args:
        column: of the cells, "score", "iou" or "energy".
        than: the other method.
        benchmarks: those that count; None for all.
        ours: the method that is claimed to be above.
    """

    def check(cells: pd.DataFrame) -> Outcome:
        some = cells if benchmarks is None else cells[cells["benchmark"].isin(list(benchmarks))]
        table = some.pivot_table(
            index=["vlm", "benchmark"], columns="method", values=column, sort=False
        )
        if not {ours, than} <= set(table.columns):
            return {}

        both = table[[ours, than]].dropna()
        return {
            f"{vlm} {name}": bool(mine > other) for (vlm, name), mine, other in both.itertuples()
        }

    return check


def without(change: str, methods: Iterable[str] | None = None) -> Callable[[pd.DataFrame], Outcome]:
    """Return a check that no other method is significantly "better" or "worse" than the paper's.

    Args:
        change: what must not be there, "better" or "worse".
        methods: those that count; None for all but plain, oracles and the paper's.
    """
    sign = {"better": 1, "worse": -1}[change]

    def check(cells: pd.DataFrame) -> Outcome:
        found = _of_methods(significant(cells), methods)

        return {_name(row): not (row.sure and sign * row.change > 0) for row in found.itertuples()}

    return check


def worse(methods: Iterable[str], benchmarks: Iterable[str]) -> Callable[[pd.DataFrame], Outcome]:
    """Return a check that these methods are significantly worse than the paper's on these benchmarks."""

    def check(cells: pd.DataFrame) -> Outcome:
        found = _of_methods(significant(cells), methods)
        some = found[found["benchmark"].isin(list(benchmarks))]

        return {_name(row): bool(row.sure and row.change < 0) for row in some.itertuples()}

    return check


def moved(cells: pd.DataFrame) -> Outcome:
    """Tell for every switch of the protocol whether it moves the plain score significantly."""
    found = significant(cells, "base")

    return {_name(row): bool(row.sure) for row in found.itertuples()}


def gains(cells: pd.DataFrame) -> Outcome:
    """Tell for every benchmark that hides evidence whether the method scores significantly more than plain."""
    found = _against_plain(cells)
    hidden = found[found["benchmark"].isin(HIDDEN)]

    return {_cell(row): bool(row.p < 0.05 and row.gained > row.lost) for row in hidden.itertuples()}


def unharmed(cells: pd.DataFrame) -> Outcome:
    """Tell for the other benchmarks whether the method does not score significantly less than plain."""
    found = _against_plain(cells)
    general = found[~found["benchmark"].isin(HIDDEN)]

    return {
        _cell(row): not (row.p < 0.05 and row.lost > row.gained) for row in general.itertuples()
    }


def _against_plain(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells of the paper's method with ``p`` against plain, adjusted over them (Holm)."""
    ours = cells[(cells["method"] == OURS) & (cells["n"] > 0)]

    return ours.assign(p=holm(ours["p_plain"].tolist()) if len(ours) else [])


def _of_methods(cells: pd.DataFrame, methods: Iterable[str] | None) -> pd.DataFrame:
    return cells if methods is None else cells[cells["method"].isin(list(methods))]


def _cell(row: Any) -> str:
    return f"{row.vlm} {row.benchmark}"


def _name(row: Any) -> str:
    return f"`{row.method}` on {_cell(row)}"


def undominated(cells: pd.DataFrame) -> Outcome:
    """Tell for every VLM whether nothing scores as much on the mean for no more passes."""
    return {vlm: methods.empty for vlm, methods in dominating_methods(cells).items()}


LATER, EARLIER = ("regions_3", "regions_4", "regions_5"), ("regions_1",)
FIXED = ("fixed_1", "fixed_2", "fixed_3")
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
            above("score", "vicrop_rel_att", benchmarks=HIDDEN),
        ),
        Claim(
            "There it scores more than random crops",
            above("score", "control_random", benchmarks=HIDDEN),
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
            worse(("map_gradient_x_input",), HIDDEN),
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
        Claim("Twice the blur is significantly worse", worse(("sigma_3",), HIDDEN)),
    ),
    "25_cost": (Claim("Nothing scores as much on the mean for no more passes", undominated),),
    "26_controls": (
        *(
            Claim(
                f"Where evidence is hidden it scores more than `{name}`",
                above("score", name, benchmarks=HIDDEN),
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
            without("worse", ("gradient_layer_1", "gradient_layer_2")),
        ),
    ),
}
