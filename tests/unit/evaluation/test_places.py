"""The IoU of the best crop alone, in rows that were stored before there was its column."""

import numpy as np
import pandas as pd
import pytest

from entropy_grounding.core.geometry import Box
from entropy_grounding.evaluation.archive import RESULTS, load_rows, table_rows
from entropy_grounding.evaluation.places import with_best_iou, with_evidence
from entropy_grounding.metrics.localization import best_iou, overlap

NEAR, FAR = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0)
EVIDENCE = (0.0, 0.0, 10.0, 20.0)
OLD = pd.DataFrame(
    {
        "example_id": ["two", "one", "none", "no evidence"],
        "status": "ok",
        "crops": [[NEAR, FAR], [NEAR], [], [NEAR]],
        "evidence": [[EVIDENCE], [EVIDENCE], [EVIDENCE], []],
        "iou": [1 / 3, 1 / 2, 0.0, np.nan],
        "best_iou": None,
        "pointing": None,
        "energy": None,
        "chance": None,
    }
)


def test_rows_from_before_the_column_get_it_from_their_crops():
    filled = with_best_iou(OLD)["best_iou"]
    assert filled.tolist()[:3] == pytest.approx([1 / 2, 1 / 2, 0.0])
    assert np.isnan(filled[3])


def test_a_stored_value_stays():
    stored = OLD.assign(best_iou=[0.9, 0.8, None, None])
    filled = with_best_iou(stored)["best_iou"]
    assert filled.tolist()[:3] == [0.9, 0.8, 0.0]
    complete = OLD.assign(best_iou=[0.9, 0.8, 0.7, None])
    assert with_best_iou(complete) is complete


def test_other_evidence_changes_it():
    found = with_evidence(OLD, {"two": (Box(*FAR),), "one": ()})
    assert found.loc[0, ["iou", "best_iou"]].tolist() == [1 / 2, 0.0]
    assert found.loc[1, ["iou", "best_iou"]].isna().all()


def test_published_rows_have_it_in_tables():
    evaluation = RESULTS / "rows" / "table1" / "tiny_llava" / "mini_infovqa" / "entropy_gradient"
    stored, shown = load_rows(evaluation)[0], table_rows(evaluation)[0]
    assert len(shown) == len(stored)

    for row in shown.itertuples():
        crops, evidence = ([Box(*box) for box in boxes] for boxes in (row.crops, row.evidence))
        assert row.iou == pytest.approx(overlap(crops, evidence).iou)
        assert row.best_iou == pytest.approx(best_iou(crops, evidence))
    assert shown["best_iou"].mean() > 1.5 * shown["iou"].mean()
