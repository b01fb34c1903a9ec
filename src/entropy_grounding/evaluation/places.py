"""Columns about places, filled again when evidence boxes come after the answers."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from entropy_grounding.benchmarks.base import Example, LoadedBenchmark
from entropy_grounding.core.geometry import Box
from entropy_grounding.metrics.localization import overlap

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
        before = tuple(Box(*box) for box in record["evidence"])
        if boxes is None or boxes == before:
            continue

        record["evidence"] = [list(box.xyxy()) for box in boxes]
        record |= dict.fromkeys(("iou", *OF_MAPS))
        if record["status"] == "ok" and boxes:
            crops = [Box(*box) for box in record["crops"]]
            found = overlap(crops, boxes).iou
            record["iou"] = None if np.isnan(found) else found

    return pd.DataFrame(records, columns=rows.columns)
