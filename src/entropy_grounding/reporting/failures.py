"""Failures of the method, by kind."""

from pathlib import Path
from typing import Any

import pandas as pd

from entropy_grounding.core.geometry import Box
from entropy_grounding.evaluation.archive import load_rows
from entropy_grounding.metrics.localization import overlap
from entropy_grounding.reporting.summary import OURS, in_order

# Kinds of failures, from the first that applies.
MISSED, CUT, HARMED, MISREAD = (
    "some evidence is in no crop",
    "evidence is cut off",
    "a right answer got lost",
    "seen and misread",
)


def failures(root: str | Path, vlm: str) -> pd.DataFrame:
    """Return the failures of `OURS` (see `failures_among`) in all stored benchmarks of a VLM, with a column ``benchmark``."""
    parts = []
    for folder in in_order(
        {path.parents[1] for path in Path(root).glob(f"{vlm}/*/{OURS}/rows.parquet")}
    ):
        if (folder / "control_oracle" / "rows.parquet").is_file():
            found = failures_among(
                load_rows(folder / OURS)[0], load_rows(folder / "control_oracle")[0]
            )
            parts.append(found.assign(benchmark=folder.name))
    return (
        pd.concat(parts, ignore_index=True)
        if parts
        else pd.DataFrame(columns=["benchmark", "kind"])
    )


def failures_among(rows: pd.DataFrame, oracle: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that are wrong although the plain answer or the answer from the oracle's crops is right, with their ``kind``."""
    both = rows.merge(oracle[["example_id", "score"]], on="example_id", suffixes=("", "_oracle"))
    wrong = both[
        (both["status"] == "ok")
        & (both["score"] < 0.5)
        & ((both["score_oracle"] >= 0.5) | (both["plain_score"] >= 0.5))
    ]
    return wrong.assign(kind=[_kind(row) for row in wrong.itertuples()])


def _kind(row: Any) -> str:
    if row.plain_score >= 0.5:
        return HARMED
    seen = overlap([Box(*box) for box in row.crops], [Box(*box) for box in row.evidence])
    return MISSED if seen.covered == 0 else CUT if seen.covered < 0.9 else MISREAD
