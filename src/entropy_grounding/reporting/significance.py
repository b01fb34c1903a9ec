"""Which differences are significant: one rule for every table, figure and claim.

A method has one cell per VLM and benchmark, 28 in the paper's Table 1. Each p-value is adjusted for
these 28 tests (Bonferroni). The rule asks nothing about the table in which a cell stands, so a cell
that is marked in one table is marked in every other one.
"""

import pandas as pd

from entropy_grounding.benchmarks.names import TITLES
from entropy_grounding.vlm.registry import BIG_SIBLINGS

ALPHA = 0.05
CELLS = len(BIG_SIBLINGS) * len(TITLES)  # of one method in Table 1: four VLMs, seven benchmarks

# What a caption says about its marks; docs/definitions.md says the rest.
TEST = f"paired test, p < {ALPHA} after Bonferroni's correction for the {CELLS} cells of Table 1"


def adjusted(p_values: pd.Series) -> pd.Series:
    """Return p-values that are adjusted for the cells of a method; NaN stays NaN.

    Args:
        p_values: of paired tests, not adjusted.
    """
    return (CELLS * p_values.astype(float)).clip(upper=1.0)


def is_significant(p_value: float) -> bool:
    """Tell whether a difference is significant; NaN is not.

    Args:
        p_value: of its paired test, not adjusted.
    """
    return bool(CELLS * p_value < ALPHA)


def mark(p_value: float, change: float) -> str:
    """Return the mark of a cell: "+" or "-" for a significant change, else nothing.

    Args:
        p_value: of the paired test, not adjusted.
        change: the difference of the scores.
    """
    if not is_significant(p_value):
        return ""

    return "+" if change > 0 else "-"
