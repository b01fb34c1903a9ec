"""Columns about places that stored rows lack, computed from their crops and evidence."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from entropy_grounding.benchmarks.base import Example, LoadedBenchmark
from entropy_grounding.core.geometry import Box
from entropy_grounding.metrics.localization import best_iou, overlap

OF_MAPS = ("pointing", "energy", "chance")  # they need the first map, which is not stored


def evidence_of(loaded: LoadedBenchmark, wanted: set[str]) -> dict[str, tuple[Box, ...]]:
    """Return the evidence boxes of examples by their ids.

    Args:
        loaded: the data.
        wanted: ids of the examples.
    """
    return dict(_evidence(loaded, wanted))


def _evidence(loaded: LoadedBenchmark, wanted: set[str]) -> Iterator[tuple[str, tuple[Box, ...]]]:
    for example in loaded:
        if isinstance(example, Example) and example.id in wanted:
            yield example.id, example.boxes


def with_evidence(rows: pd.DataFrame, evidence: Mapping[str, tuple[Box, ...]]) -> pd.DataFrame:
    """Return rows with other evidence, and the overlap of their crops with it.

    What needs the first map stays empty: maps are not stored. Rows whose evidence is the same, or
    that have no answer, stay as they are.

    Args:
        rows: stored rows.
        evidence: boxes by example id, in pixels of the image.
    """
    records: list[dict[str, Any]] = rows.to_dict("records")
    for record in records:
        boxes = evidence.get(record["example_id"])
        if boxes is None or list(boxes) == _boxes(record["evidence"]):
            continue

        record["evidence"] = [list(box.xyxy()) for box in boxes]
        record |= dict.fromkeys(("iou", "best_iou", *OF_MAPS))
        if record["status"] == "ok" and boxes:
            crops = _boxes(record["crops"])
            for name, found in (
                ("iou", overlap(crops, boxes).iou),
                ("best_iou", best_iou(crops, boxes)),
            ):
                record[name] = None if np.isnan(found) else found

    return pd.DataFrame(records, columns=rows.columns)


def with_best_iou(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows with `best_iou`, also those that were stored before there was this column.

    Stored crops are in the order of their rank, so no model has to run.

    Args:
        rows: stored rows.
    """
    lacking = rows["iou"].notna() & rows["best_iou"].isna()
    if not lacking.any():
        return rows

    filled = rows["best_iou"].astype(float)
    for index, row in rows.loc[lacking, ["iou", "crops", "evidence"]].iterrows():
        filled[index] = row["iou"]  # one crop is its own union
        if len(row["crops"]) > 1:
            filled[index] = best_iou(_boxes(row["crops"]), _boxes(row["evidence"]))

    return rows.assign(best_iou=filled)


def _boxes(stored: Iterable[Iterable[float]]) -> list[Box]:
    """Return the boxes of a stored list of ``x0, y0, x1, y1``."""
    return [Box(*box) for box in stored]
