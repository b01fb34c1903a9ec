"""Intervals of IoU and energy, for charts: `summary` has only means of them, as the tables show."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from entropy_grounding.evaluation.archive import table_rows
from entropy_grounding.metrics.statistics import interval
from entropy_grounding.reporting.kept import kept

PLACE_MEASURES = ("iou", "energy")


def with_intervals(
    cells: pd.DataFrame,
    folders: Mapping[tuple[str, str, str], Path],
    column: str,
    examples: int | None = None,
) -> pd.DataFrame:
    """Return cells with 95 % BCa intervals of a measure, as ``COLUMN_low`` and ``COLUMN_high``.

    Both are NaN where the measure has no mean, as for plain answers.

    Args:
        cells: the table that `summary` returns.
        folders: the folder of the rows of each (VLM, benchmark, method).
        column: one of `PLACE_MEASURES`, a fraction.
        examples: how many examples of the data set count, from the first on; None counts all.
    """
    ends = []
    for row in cells.to_dict("records"):
        folder = folders.get((row["vlm"], row["benchmark"], row["method"]))
        if folder is None or pd.isna(row[column]):
            ends.append([float("nan")] * 2)
        else:
            ends.append(_interval(folder, column, examples))

    table = pd.DataFrame(ends, columns=[f"{column}_low", f"{column}_high"], index=cells.index)
    return cells.join(table)


def _interval(folder: Path, column: str, examples: int | None) -> list[float]:
    """Return the ends of the interval over the examples in a folder that have a score."""

    def compute() -> list[Any]:
        rows, _ = table_rows(folder)
        if examples is not None:
            rows = rows[rows["number"] < examples]

        found = interval(rows[rows["status"] == "ok"][column].dropna().to_numpy(float))
        return [found.low, found.high]

    return kept((folder,), (column, examples), sys.modules[__name__], compute)
