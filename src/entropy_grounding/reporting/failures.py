"""Failures of the method, sorted by kind."""

from pathlib import Path
from typing import Any

import pandas as pd

from entropy_grounding.core.geometry import Box
from entropy_grounding.evaluation.archive import load_rows, stored_evaluations
from entropy_grounding.metrics.localization import overlap
from entropy_grounding.reporting.summary import OURS, in_order

# Kinds of failures. HARMED is tested first, then MISSED and CUT; MISREAD is what remains.
MISSED = "some evidence is in no crop"
CUT = "evidence is cut off"
HARMED = "a right answer got lost"
MISREAD = "seen and misread"


def failures(root: str | Path, vlm: str) -> pd.DataFrame:
    """Return the failures of `OURS` in all stored benchmarks of a VLM.

    Args:
        root: folder of an experiment, for example ``results/rows/table1``.
        vlm: name of the VLM.

    Returns:
        The rows of `failures_among`, with a column ``benchmark``.
    """
    parts = []
    stored = set(stored_evaluations(root))
    folders = {path.parent for path in stored if path.name == OURS and path.parts[-3] == vlm}

    for folder in in_order(folders):
        if folder / "control_oracle" in stored:
            rows = load_rows(folder / OURS)[0]
            oracle = load_rows(folder / "control_oracle")[0]
            parts.append(failures_among(rows, oracle).assign(benchmark=folder.name))

    if not parts:
        return pd.DataFrame(columns=["benchmark", "kind"])

    return pd.concat(parts, ignore_index=True)


def failures_among(rows: pd.DataFrame, oracle: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with a wrong answer that could have been right, with their ``kind``.

    An answer could have been right if the plain answer or the answer from the oracle's crops is
    right.

    Args:
        rows: rows of the method.
        oracle: rows of the same examples with the oracle's crops.
    """
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
