"""Failures of the method, sorted by kind."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from entropy_grounding.benchmarks.names import display_name
from entropy_grounding.core.geometry import Box
from entropy_grounding.metrics.localization import overlap

# Kinds of failures. HARMED is tested first, then MISSED and CUT; MISREAD is what remains.
MISSED = "some evidence is in no crop"
CUT = "evidence is cut off"
HARMED = "a right answer got lost"
MISREAD = "seen and misread"

# The rows and the manifest of each (VLM, benchmark).
Evaluations = Mapping[tuple[str, str], tuple[pd.DataFrame, dict[str, Any]]]


def failures(method: Evaluations, oracle: Evaluations) -> pd.DataFrame:
    """Return the wrong answers of all evaluations that could have been right.

    An answer could have been right if the plain answer or the answer from the oracle's crops is
    right.

    Args:
        method: the evaluations of the method.
        oracle: the evaluations of the same examples with the oracle's crops.

    Returns:
        The rows of these answers, with the columns ``vlm``, ``benchmark`` and ``kind``.
    """
    parts = []
    for (vlm, benchmark), (rows, _) in method.items():
        found = _failures_among(rows, oracle[vlm, benchmark][0])
        parts.append(found.assign(vlm=vlm, benchmark=benchmark))

    return pd.concat(parts, ignore_index=True)


def failures_by_kind(found: pd.DataFrame) -> pd.DataFrame:
    """Count the `failures`: one row per VLM and benchmark, one column per kind."""
    return pd.crosstab([found["vlm"], found["benchmark"].map(display_name)], found["kind"])


def _failures_among(rows: pd.DataFrame, oracle: pd.DataFrame) -> pd.DataFrame:
    """Return the `failures` of one evaluation, with their ``kind``."""
    both = rows.merge(oracle[["example_id", "score"]], on="example_id", suffixes=("", "_oracle"))

    # A score of one half or more counts as right.
    wrong = both[
        (both["status"] == "ok")
        & (both["score"] < 0.5)
        & ((both["score_oracle"] >= 0.5) | (both["plain_score"] >= 0.5))
    ]

    return wrong.assign(kind=[_kind(row) for row in wrong.itertuples()])


def _kind(row: Any) -> str:
    """Return the kind of a failure, from its plain score and the evidence that its crops cover."""
    if row.plain_score >= 0.5:
        return HARMED

    crops = [Box(*corners) for corners in row.crops]
    evidence = [Box(*corners) for corners in row.evidence]
    covered = overlap(crops, evidence).covered
    if covered == 0:
        return MISSED

    # Up to a tenth of the evidence may be outside of the crops.
    return CUT if covered < 0.9 else MISREAD
