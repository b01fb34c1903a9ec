"""The claims of the notebooks. A check of the stored rows decides each part of a claim.

Claims are what the authors of the paper would say, or, for an extension of this repository, what
its user would hope. A notebook shows `verdict`, README and docs/experiments.md show
`short_verdict`. A sentence that the rows refute is therefore called refuted right where it stands.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from entropy_grounding.benchmarks.miniature.requirements import (
    MADE_FOR,
    ONE_ROUND_BEHIND,
    ORACLE_AT_LEAST,
    PLAIN_AT_MOST,
    hides_evidence,
)
from entropy_grounding.benchmarks.names import display_name, in_paper_order
from entropy_grounding.reporting.budget_curve import EVERY_VLM, beside_curve, budget_name
from entropy_grounding.reporting.comparisons import (
    differences,
    dominating_methods,
    mean_costs,
)
from entropy_grounding.reporting.significance import mark
from entropy_grounding.reporting.summary import OURS


class Comparison(NamedTuple):
    """Where a claim is tested: on a VLM, mostly on a benchmark, maybe of another method."""

    vlm: str
    benchmark: str = ""
    method: str = ""

    def __str__(self) -> str:
        """Name the comparison in words for readers."""
        where = f"{self.vlm} {display_name(self.benchmark)}".strip()
        return f"`{self.method}` on {where}" if self.method else where


# Does the claim hold there?
Outcome = dict[Comparison, bool]
Check = Callable[[pd.DataFrame], Outcome]
Evidence = Callable[[pd.DataFrame, Outcome], str]


def exceptions(_: pd.DataFrame, outcome: Outcome) -> str:
    """Name where a claim does not hold: the methods of each benchmark, or the VLMs."""
    against = [comparison for comparison, holds in outcome.items() if not holds]
    if not against:
        return "no exception"

    named = []
    for benchmark in in_paper_order(comparison.benchmark for comparison in against):
        there = [comparison for comparison in against if comparison.benchmark == benchmark]
        who = dict.fromkeys(f"`{each.method or each.vlm}`" for each in there)
        where = f" on {display_name(benchmark)}" if benchmark else ""
        named.append(f"{', '.join(who)}{where}")

    return f"except {'; '.join(named)}"


@dataclass(frozen=True)
class Claim:
    """One part of a claim.

    Attributes:
        text: the statement, a sentence that can be wrong.
        check: takes cells (from `cells` or `summary`) and returns whether the claim holds, for
            every comparison.
        evidence: takes the cells and the outcome of the check, and returns the numbers or names
            that a table of findings shows.
        finding: whether README lists it.
    """

    text: str
    check: Check
    evidence: Evidence = exceptions
    finding: bool = False


def verdict(notebook: str, cells: pd.DataFrame) -> str:
    """Return as Markdown in how many comparisons each part of a notebook's claim holds.

    The comparisons where a part does not hold are named.

    Args:
        notebook: a key of `CLAIMS`.
        cells: one row per VLM, benchmark and method, from `summary` or `cells`.
    """
    lines = [_line(claim, claim.check(cells)) for claim in CLAIMS[notebook]]

    return "**Verdict**, from the stored rows:\n\n" + "\n".join(lines)


def short_verdict(outcome: Outcome) -> str:
    """Return "holds", "holds in part (a of b)", "refuted" or "not tested"."""
    if not outcome:
        return "not tested"

    holding = sum(outcome.values())
    if holding == len(outcome):
        return "holds"

    return f"holds in part ({holding} of {len(outcome)})" if holding else "refuted"


def verdict_of_all(notebook: str, cells: pd.DataFrame) -> str:
    """Return the `short_verdict` over the comparisons of all parts of a notebook's claim."""
    parts = [claim.check(cells).values() for claim in CLAIMS[notebook]]
    numbered = enumerate(holds for part in parts for holds in part)

    return short_verdict({Comparison(str(number)): holds for number, holds in numbered})


def claims_table(notebook: str, cells: pd.DataFrame) -> list[dict[str, str]]:
    """Return one line per part of a notebook's claim: claim, evidence and verdict.

    Args:
        notebook: a key of `CLAIMS`.
        cells: one row per VLM, benchmark and method, from `summary` or `cells`.
    """
    return [_finding(claim, cells) for claim in CLAIMS[notebook]]


def findings(notebook: str, cells: pd.DataFrame) -> list[dict[str, str]]:
    """Return the lines of the `claims_table` that README lists."""
    return [_finding(claim, cells) for claim in CLAIMS[notebook] if claim.finding]


def _finding(claim: Claim, cells: pd.DataFrame) -> dict[str, str]:
    """Return the claim, its evidence and its verdict."""
    outcome = claim.check(cells)
    evidence = claim.evidence(cells, outcome) if outcome else ""

    return {"claim": claim.text, "evidence": evidence, "verdict": short_verdict(outcome)}


def _line(claim: Claim, outcome: Outcome) -> str:
    """Return the line of Markdown that judges one part of a claim."""
    if not outcome:
        return f"- {claim.text}: **not tested** by these rows."

    against = [str(comparison) for comparison, holds in outcome.items() if not holds]
    if not against:
        return f"- {claim.text}: **holds**, in {len(outcome)} of {len(outcome)} comparisons."

    word = "refuted" if len(against) == len(outcome) else "holds in part"
    count = f"in {len(outcome) - len(against)} of {len(outcome)} comparisons"

    return f"- {claim.text}: **{word}**, {count}; not {', '.join(against)}."


def _pairs(cells: pd.DataFrame, column: str, mine: str, other: str) -> pd.DataFrame:
    """Return the values of two methods, one row per VLM and benchmark for which both have one."""
    table = cells.pivot_table(
        index=["vlm", "benchmark"], columns="method", values=column, sort=False
    )
    if not {mine, other} <= set(table.columns):
        return pd.DataFrame(columns=[mine, other])

    return table[[mine, other]].dropna()


def above(column: str, *than: str, hidden: bool = False, mine: str = OURS) -> Check:
    """Return a check that a method, by default the paper's, has the larger mean of a column.

    It compares every VLM and benchmark for which both methods have a value.

    Args:
        column: name of the column: "score", "iou", "best_iou" or "energy".
        than: the other methods.
        hidden: count only benchmarks that hide their evidence.
        mine: the method that is claimed to be ahead.
    """

    def check(cells: pd.DataFrame) -> Outcome:
        outcome = {}
        for method in than:
            named = method if len(than) > 1 else ""  # the text of a claim names a single method
            for (vlm, benchmark), more, less in _pairs(cells, column, mine, method).itertuples():
                if hides_evidence(benchmark) or not hidden:
                    outcome[Comparison(vlm, benchmark, named)] = bool(more > less)

        return outcome

    return check


def means(column: str, *than: str, mine: str = OURS) -> Evidence:
    """Return a function that writes the means of methods over the comparisons of a claim.

    Args:
        column: name of the column: "score", "iou" or "energy".
        than: the other methods, all run on the same benchmarks.
        mine: the method that stands first, by default the paper's.
    """
    title = {"score": "mean score", "iou": "mean IoU", "energy": "mean energy in box"}[column]

    def written(mean: float) -> str:
        # Rounded twice: stored records and cells differ in the tenth digit.
        return f"{mean:.3f}" if column == "iou" else f"{round(100 * mean, 6):.1f} %"

    def evidence(cells: pd.DataFrame, outcome: Outcome) -> str:
        wanted = {(comparison.vlm, comparison.benchmark) for comparison in outcome}
        others = []
        for method in than:
            pairs = _pairs(cells, column, mine, method)
            mean = pairs[[key in wanted for key in pairs.index]].mean()
            named = f" (`{method}`)" if len(than) > 1 else ""
            others.append(f"{written(mean[method])}{named}")

        return f"{title} {written(mean[mine])}, against {', '.join(others)}"

    return evidence


def without(change: str, methods: Iterable[str] | None = None) -> Check:
    """Return a check that no other method differs significantly from the paper's in one direction.

    Args:
        change: the direction, "better" or "worse".
        methods: the methods that count; None counts all but plain, the oracles and the paper's.
    """
    sign = {"better": 1, "worse": -1}[change]

    def check(cells: pd.DataFrame) -> Outcome:
        outcome = {}
        for row in _of_methods(differences(cells), methods).itertuples():
            outcome[_compared(row)] = not (row.sure and sign * row.change > 0)

        return outcome

    return check


def worse(methods: Iterable[str]) -> Check:
    """Return a check that methods are significantly worse where evidence is hidden."""

    def check(cells: pd.DataFrame) -> Outcome:
        tested = _of_methods(differences(cells), methods)
        counted = tested[tested["benchmark"].map(hides_evidence).astype(bool)]

        return {_compared(row): bool(row.sure and row.change < 0) for row in counted.itertuples()}

    return check


def better_than(reference: str, methods: Iterable[str]) -> Check:
    """Return a check that methods are significantly better than the reference of an experiment.

    Args:
        reference: the variant that ``p_ours`` was tested against.
        methods: the methods that are claimed to be better.
    """

    def check(cells: pd.DataFrame) -> Outcome:
        tested = _of_methods(differences(cells, reference), methods)

        return {_compared(row): bool(row.sure and row.change > 0) for row in tested.itertuples()}

    return check


def between(method: str, *, least: float = 0.0, most: float = 100.0) -> Check:
    """Return a check that the scores of a method lie within limits, both in percent."""

    def check(cells: pd.DataFrame) -> Outcome:
        counted = _of_methods(cells[cells["n"] > 0], (method,))

        return {
            Comparison(row.vlm, row.benchmark): least <= 100 * row.score <= most
            for row in counted.itertuples()
        }

    return check


def behind(method: str, other: str, points: float) -> Check:
    """Return a check that a method scores so many points less than another, or still less."""

    def check(cells: pd.DataFrame) -> Outcome:
        counted = _of_methods(cells[cells["n"] > 0], (other,))
        best = counted.set_index(["vlm", "benchmark"])["score"].to_dict()

        outcome = {}
        for row in _of_methods(cells[cells["n"] > 0], (method,)).itertuples():
            if (row.vlm, row.benchmark) in best:
                gap = best[row.vlm, row.benchmark] - row.score
                outcome[Comparison(row.vlm, row.benchmark)] = 100 * gap >= points

        return outcome

    return check


def as_made(check: Check) -> Check:
    """Return a check of the VLMs that the cards of high resolution were made for (`MADE_FOR`)."""

    def counted(cells: pd.DataFrame) -> Outcome:
        keep = [row.vlm in MADE_FOR.get(row.benchmark, (row.vlm,)) for row in cells.itertuples()]

        return check(cells[pd.Series(keep, cells.index, dtype=bool)])

    return counted


def unmoved(cells: pd.DataFrame) -> Outcome:
    """Tell for every switch of the protocol whether it leaves the plain score where it is."""
    # "base" is the evaluation with every switch at its default.
    tested = differences(cells, "base")

    return {_compared(row): not row.sure for row in tested.itertuples()}


def gains(cells: pd.DataFrame) -> Outcome:
    """Tell whether the method scores significantly more than plain where evidence is hidden.

    Returns:
        One entry per VLM and benchmark that hides evidence.
    """
    return {each: sign == "+" for each, sign in _marks(cells).items() if _hidden(each)}


def unharmed(cells: pd.DataFrame) -> Outcome:
    """Tell whether the method does not score significantly less than plain on other benchmarks.

    Returns:
        One entry per VLM and benchmark that hides no evidence.
    """
    return {each: sign != "-" for each, sign in _marks(cells).items() if not _hidden(each)}


def _marks(cells: pd.DataFrame) -> dict[Comparison, str]:
    """Return the `mark` of the method against plain, for every VLM and benchmark with scores."""
    pairs = _pairs(cells, "score", OURS, "plain")
    tests = cells[cells["method"] == OURS].set_index(["vlm", "benchmark"])["p_plain"]

    marks = {}
    for (vlm, benchmark), mine, plain in pairs.itertuples():
        marks[Comparison(vlm, benchmark)] = mark(tests[vlm, benchmark], mine - plain)

    return marks


def _hidden(comparison: Comparison) -> bool:
    return hides_evidence(comparison.benchmark)


def _of_methods(cells: pd.DataFrame, methods: Iterable[str] | None) -> pd.DataFrame:
    """Return the cells of some methods; None keeps all cells."""
    return cells if methods is None else cells[cells["method"].isin(list(methods))]


def _compared(row: Any) -> Comparison:
    """Return the comparison of a cell with the reference."""
    return Comparison(row.vlm, row.benchmark, row.method)


def undominated(cells: pd.DataFrame) -> Outcome:
    """Tell for every VLM whether no other method dominates the paper's.

    A method dominates when its mean score is at least as high, for no more passes.
    """
    return {Comparison(vlm): methods.empty for vlm, methods in dominating_methods(cells).items()}


def dominators(cells: pd.DataFrame, _: Outcome) -> str:
    """Name the methods that dominate the paper's, with the VLMs on which they do."""
    vlms: dict[str, list[str]] = {}
    for vlm, methods in dominating_methods(cells).items():
        for method in methods["method"]:
            vlms.setdefault(method, []).append(f"`{vlm}`")

    named = [f"`{method}` does on {', '.join(on)}" for method, on in vlms.items()]
    return "; ".join(named) or "no exception"


def nowhere_behind(cells: pd.DataFrame) -> Outcome:
    """Tell for every VLM and method whether the cascade is not behind at no more passes.

    Behind means by more than half the width of the interval of the method's mean score.
    """
    found = beside_curve(cells)
    return {
        Comparison(row.vlm, method=row.method): bool(row.cascade_score >= row.score - row.half)
        for row in found[found["vlm"] != EVERY_VLM].itertuples()
    }


def ahead_on_the_mean(cells: pd.DataFrame) -> Outcome:
    """Tell for every method whether the cascade scores as much on the mean over the VLMs."""
    found = beside_curve(cells)
    return {
        Comparison(EVERY_VLM, method=row.method): bool(row.cascade_score >= row.score)
        for row in found[found["vlm"] == EVERY_VLM].itertuples()
    }


def least_lead(cells: pd.DataFrame, outcome: Outcome) -> str:
    """Name the method to which the cascade has the smallest lead, with its size in points."""
    wanted = {(comparison.vlm, comparison.method) for comparison in outcome}
    found = beside_curve(cells)
    found = found[[pair in wanted for pair in zip(found["vlm"], found["method"], strict=True)]]
    lead = found["cascade_score"] - found["score"]
    least = found.loc[lead.idxmin()]

    where = least["vlm"] if least["vlm"] == EVERY_VLM else f"`{least['vlm']}`"
    return f"at least {100 * lead.min():+.1f} points (`{least['method']}`, {where})"


# Points by which a budget of that many passes is to be ahead of trying 16 crops.
SEARCH_PASSES, SEARCH_LEAD = 17, 1.5


def _search_leads(cells: pd.DataFrame) -> dict[str, float]:
    """Return by how many points the cascade at the cost of trying 16 crops is ahead, by VLM."""
    mean = mean_costs(cells).pivot_table("score", "vlm", "method")
    mine = budget_name(SEARCH_PASSES)
    if not {mine, "search_16"} <= set(mean):
        return {}

    return (100 * (mean[mine] - mean["search_16"])).dropna().round(6).to_dict()


def ahead_of_search(cells: pd.DataFrame) -> Outcome:
    """Tell for every VLM whether the cascade is `SEARCH_LEAD` points ahead of trying 16 crops."""
    leads = _search_leads(cells)
    return {Comparison(vlm): lead >= SEARCH_LEAD for vlm, lead in leads.items()}


def search_leads(cells: pd.DataFrame, _: Outcome) -> str:
    """Write by how many points the cascade is ahead of trying 16 crops on every VLM."""
    leads = _search_leads(cells).items()
    return ", ".join(f"{lead:+.1f} points on `{vlm}`" for vlm, lead in leads)


def _where_nothing_is_hidden(cells: pd.DataFrame, method: str) -> pd.DataFrame:
    open_ones = ~cells["benchmark"].map(hides_evidence).astype(bool)
    return cells[open_ones & (cells["method"] == method) & (cells["n"] > 0)]


def few_passes(method: str, most: float) -> Check:
    """Return a check that a method takes few passes where no evidence is hidden."""

    def check(cells: pd.DataFrame) -> Outcome:
        return {
            Comparison(row.vlm, row.benchmark): bool(row.passes <= most)
            for row in _where_nothing_is_hidden(cells, method).itertuples()
        }

    return check


def no_loss(method: str) -> Check:
    """Return a check that a method does not score less than plain where no evidence is hidden."""

    def check(cells: pd.DataFrame) -> Outcome:
        pairs = _pairs(cells, "score", method, "plain")
        return {
            Comparison(row.vlm, row.benchmark): bool(
                pairs[method][row.vlm, row.benchmark] >= pairs["plain"][row.vlm, row.benchmark]
            )
            for row in _where_nothing_is_hidden(cells, method).itertuples()
        }

    return check


# Variants of the ablations. The paper's method keeps at most two regions per zoom step.
OTHER_NUMBERS = ("regions_1", "regions_3", "regions_4", "regions_5")
FIXED = ("fixed_1", "fixed_2", "fixed_3")
OTHER_RULES = ("last_crops", "probability", *FIXED, "resolution", "no_rule")
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
PIXEL_GRADIENTS = {
    "vicrop_pure_grad": "ViCrop's pixel gradient (as its code)",
    "vicrop_pure_grad_paper": "ViCrop's pixel gradient (as its text)",
}
RIVALS = {
    "vicrop_rel_att": "ViCrop's relative attention",
    "vicrop_grad_att": "ViCrop's gradient attention",
    **PIXEL_GRADIENTS,
    "map_attention": "attention in the same loop",
}
CONTROLS = {
    "random": "random places",
    "center": "the centre",
    "lowest": "the least relevant place",
    "repeated": "the picture shown again",
    "blank": "blank crops",
}


def _scores_more(than: str, text: str, *, finding: bool = False) -> Claim:
    """Return the claim that the method scores more where evidence is hidden."""
    check = above("score", than, hidden=True)
    return Claim(text, check, means("score", than), finding)


def _ahead(column: str, mine: str, other: str, text: str) -> Claim:
    """Return the claim that a method has more of a column than another, where evidence is hidden.

    Args:
        column: "score" or "iou".
        mine: the method that is claimed to be ahead.
        other: the other method.
        text: the statement, without what is compared.
    """
    word = {"score": "scores more", "iou": "overlaps the evidence more (IoU)"}[column]
    return Claim(
        f"{text} {word}",
        above(column, other, hidden=True, mine=mine),
        means(column, other, mine=mine),
    )


# What ViCrop's pixel gradient may owe its wins to: each pair differs in one thing.
_PIXELS = "vicrop_pure_grad_paper"
PARTS = (
    (
        _PIXELS,
        "window_pixels_unmasked",
        "The mask: ViCrop's pixel gradient with its detail mask, against the same without it,",
    ),
    (
        _PIXELS,
        "window_entropy_masked",
        "The pixels: in the same window under the same mask, the gradient at pixels, against the "
        "entropy gradient at tokens,",
    ),
    (
        _PIXELS,
        "found_pixels",
        "The window: with the same masked pixels, ViCrop's window, against the paper's components "
        "and zoom,",
    ),
    (
        "found_entropy_masked",
        OURS,
        "The mask helps the paper's map, too: masked, against unmasked, it",
    ),
)

CLAIMS: dict[str, tuple[Claim, ...]] = {
    "10_table1_main": (
        Claim(
            "Where evidence is small, zooming where the model is unsure scores significantly more "
            "than the plain answer",
            gains,
            means("score", "plain"),
            finding=True,
        ),
        Claim(
            "Where no zoom is needed, it loses nothing significantly",
            unharmed,
            means("score", "plain"),
            finding=True,
        ),
        _scores_more(
            "vicrop_rel_att",
            "Where evidence is small, it scores more than ViCrop's relative attention",
            finding=True,
        ),
        *(
            _scores_more(name, f"Where evidence is small, it scores more than {title}")
            for name, title in PIXEL_GRADIENTS.items()
        ),
        _scores_more("control_random", "Where evidence is small, it scores more than random crops"),
    ),
    "11_table2_localization": (
        *(
            Claim(
                f"Its map has more energy in the evidence than {title}",
                above("energy", name),
                means("energy", name),
                finding=name == "map_attention",
            )
            for name, title in RIVALS.items()
        ),
        *(
            Claim(
                f"Its crops overlap the evidence more (IoU) than those of {title}",
                above("iou", name),
                means("iou", name),
                # The pixel gradient of its code has a sentence below README's table.
                finding=name in ("vicrop_rel_att", "vicrop_pure_grad_paper"),
            )
            for name, title in RIVALS.items()
        ),
        *(
            Claim(
                f"Its best crop alone has a higher IoU than that of {title}",
                above("best_iou", name),
            )
            for name, title in RIVALS.items()
        ),
    ),
    "12_controls": (
        *(
            _scores_more(
                f"control_{name}",
                f"Where evidence is small, crops from its map score more than {title}",
                finding=name == "random",
            )
            for name, title in CONTROLS.items()
        ),
    ),
    "20_ablation_regions": (
        Claim(
            "Two crops a round are best: no other number is significantly better",
            without("better", OTHER_NUMBERS),
            finding=True,
        ),
    ),
    "21_ablation_stopping": (
        Claim(
            "Stopping when the spatial entropy rises scores more than the probability rule and "
            "than a fixed number of rounds",
            above("score", "probability", *FIXED),
            means("score", "probability", *FIXED),
            finding=True,
        ),
        Claim(
            "No other stopping rule is significantly better",
            without("better", OTHER_RULES),
        ),
    ),
    "22_ablation_objective": (
        Claim(
            "Entropy is the best objective: no other target or relevance is significantly better",
            without("better"),
            finding=True,
        ),
        Claim(
            "Where evidence is small, gradient x input is significantly worse",
            worse(("map_gradient_x_input",)),
        ),
    ),
    "23_ablation_token_layer": (
        Claim(
            "The first answer token after all layers is enough: no later token and no earlier "
            "layer is significantly better",
            without("better"),
        ),
    ),
    "24_ablation_map_to_region": (
        Claim(
            "The elbow needs no parameter: no other threshold is significantly better",
            without("better", ("half_max", "quantile_0.9")),
        ),
        Claim(
            "Eight neighbours are not significantly better than four",
            without("better", ("connectivity_8",)),
        ),
        Claim("A map without blur is not significantly better", without("better", ("sigma_0",))),
        Claim(
            "Where evidence is small, twice the blur is significantly worse", worse(("sigma_3",))
        ),
    ),
    "25_cost": (
        Claim(
            "Nothing scores as much on the mean for no more passes",
            undominated,
            dominators,
            finding=True,
        ),
    ),
    "26_controls": (
        *(
            _scores_more(name, f"Where evidence is small, it scores more than `{name}`")
            for name in ("control_random", "control_center", "control_lowest", *SAME_LOOP)
        ),
    ),
    "27_protocol_switches": (
        Claim(
            "The plain score does not depend on the order of the options, nor on how the answer "
            "is read",
            unmoved,
        ),
    ),
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
            "Zooming needs the enlargement: crops in their own size are significantly worse",
            worse(("min_pixels_64",)),
        ),
        Claim(
            "Crops and pictures of twice the side are not significantly better",
            without("better", ("min_pixels_16384",)),
        ),
    ),
    "32_ablation_injections": (
        Claim("Where evidence is hidden it scores significantly more than plain", gains),
        Claim(
            "The gradient at the embedding alone is not significantly better",
            without("better", ("injections_first",)),
        ),
    ),
    "33_high_resolution": (
        Claim(
            f"The plain answer is near chance, 25 % (at most {PLAIN_AT_MOST:.0f} %)",
            as_made(between("plain", most=PLAIN_AT_MOST)),
        ),
        Claim(
            f"With the oracle's crop it is read (at least {ORACLE_AT_LEAST:.0f} %)",
            as_made(between("control_oracle", least=ORACLE_AT_LEAST)),
        ),
        Claim(
            f"One round stays at least {ONE_ROUND_BEHIND:.0f} points behind the oracle",
            as_made(behind("fixed_1", "control_oracle", ONE_ROUND_BEHIND)),
        ),
        Claim(
            "Three rounds score significantly more than one",
            as_made(better_than("fixed_1", ("fixed_3",))),
        ),
        Claim("The paper's stopping rule scores significantly more than plain", as_made(gains)),
        Claim(
            "It scores more than ViCrop's relative attention",
            as_made(above("score", "vicrop_rel_att")),
        ),
        Claim("It scores more than random crops", as_made(above("score", "control_random"))),
    ),
    "34_photographs": (
        Claim(
            "On photographs, too, it scores significantly more than plain where evidence is hidden",
            gains,
        ),
        Claim("Where no zoom is needed it does not score significantly less", unharmed),
        Claim(
            "Where evidence is hidden it scores more than random crops",
            above("score", "control_random", hidden=True),
        ),
    ),
    "35_anytime": (
        Claim(
            "For no more passes, a budget is nowhere behind a single method by more than half the "
            "width of the method's interval",
            nowhere_behind,
            least_lead,
            finding=True,
        ),
        Claim(
            "On the mean over the VLMs, a budget scores at least as much as every method",
            ahead_on_the_mean,
            least_lead,
        ),
        Claim(
            f"With {SEARCH_PASSES} passes it scores at least {SEARCH_LEAD} points more than trying "
            "16 crops",
            ahead_of_search,
            search_leads,
            finding=True,
        ),
        Claim(
            "Where no evidence is hidden, a budget of 9 passes loses nothing",
            no_loss("anytime"),
            means("score", "plain", mine="anytime"),
        ),
        Claim(
            "Where no evidence is hidden, a budget of 9 passes takes at most 1.3",
            few_passes("anytime", 1.3),
        ),
        Claim(
            "Where no evidence is hidden, a budget of 1.5 passes takes at most 1.3",
            few_passes(budget_name(1.5), 1.3),
        ),
    ),
    "36_signals": (
        *(
            _ahead(column, mine, other, text)
            for mine, other, text in PARTS
            for column in ("score", "iou")
        ),
        _ahead(
            "score",
            "ranked_entropy",
            "ranked_attention",
            "Four tries by the entropy gradient, against four by attention,",
        ),
    ),
}
