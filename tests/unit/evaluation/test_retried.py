"""Rows that were answered with less than the method asks are counted, and refused if many."""

import pandas as pd
import pytest

from entropy_grounding.core.errors import InputError
from entropy_grounding.evaluation.archive import load_rows, table_rows
from entropy_grounding.evaluation.config import EvaluateConfig
from entropy_grounding.evaluation.merge import merge
from entropy_grounding.evaluation.retried import check_retried, retried_share
from entropy_grounding.evaluation.rows import Row
from entropy_grounding.evaluation.store import RowStore
from entropy_grounding.reporting.tables import retried_note, score_line

SOURCE = {"config": {}, "config_hash": "abc"}


def stored(folder, retried):
    """Store ten rows of which so many gave up crops."""
    store = RowStore(folder, SOURCE, "1/1")
    store.begin({})
    for number in range(10):
        row = Row(
            number,
            f"{number}",
            "abc",
            "v",
            "b",
            "m",
            "{}",
            plain_score=0.0,
            score=1.0,
            retried="fewer crops" if number < retried else "",
        )
        store.add(row, flush_every=100)
    store.flush()
    merge(folder)
    return folder


def test_only_answered_rows_count():
    rows = pd.DataFrame(
        {
            "status": ["ok", "ok", "failed", "ok", "ok"],
            "retried": ["fewer crops", "", "fewer crops", None, float("nan")],
        }
    )
    assert retried_share(rows) == 0.25
    assert retried_share(rows[rows["status"] == "failed"]) == 0.0


def test_tables_refuse_an_evaluation_with_too_many_and_rows_stay_readable(tmp_path):
    folder = stored(tmp_path / "many", 3)
    with pytest.raises(InputError, match="Memory ran out for 30.0 % of the rows of .*at most 5 %"):
        table_rows(folder)
    assert len(load_rows(folder)[0]) == 10

    merge(folder, most_retried=0.3)
    rows, _ = table_rows(folder)
    merge(folder)  # what was accepted stays accepted
    assert len(table_rows(folder)[0]) == 10
    assert "30.0 % with fewer crops or pixels" in score_line(rows)


def test_an_evaluation_without_any_is_shown_as_before(tmp_path):
    rows, _ = table_rows(stored(tmp_path / "none", 0))
    assert "fewer" not in score_line(rows)
    check_retried(rows, tmp_path)
    assert retried_note(pd.DataFrame({"vlm": ["v"], "n": [1]})) == ""


def test_the_note_names_the_evaluations():
    cells = pd.DataFrame(
        {"vlm": ["v", "v"], "benchmark": ["b", "c"], "method": "m", "retried": [0.02, float("nan")]}
    )
    assert retried_note(cells) == (
        " Answered with fewer crops or pixels, for lack of memory: `v` `b` `m` 2.0 %."
    )


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_an_impossible_share_is_refused(share):
    with pytest.raises(InputError, match="most_retried is .*use a share from 0 to 1"):
        EvaluateConfig(most_retried=share)


def test_rows_from_before_a_column_can_be_read(tmp_path):
    """`checkpointed` is younger than the published packs."""
    folder = stored(tmp_path / "old", 0)
    assert load_rows(folder)[0]["checkpointed"].isna().all()
