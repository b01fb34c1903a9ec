"""`eg profile rows`: every second is of one stage, and the model is as it was for others."""

import pytest

from entropy_grounding.commands.catalogue import parsed
from entropy_grounding.commands.profile import main
from entropy_grounding.profiling.rows import MODEL, OUTSIDE, Clock, row_seconds


def test_the_stages_make_up_the_whole():
    table = row_seconds("tiny_llava", "mini_gqa", "entropy_gradient", 2).set_index("stage")
    model = sum(table.loc[stage, "seconds"] for stage in MODEL)
    assert model + table.loc[OUTSIDE, "seconds"] == pytest.approx(table.loc["all", "seconds"])
    assert (table["seconds"] > 0).all()
    assert table.loc["all", "share"] == 1


def test_a_stage_inside_another_counts_once():
    clock = Clock()
    with clock.running("decode"), clock.running("forward"):
        sum(range(100_000))
    assert clock.seconds["forward"] > 10 * clock.seconds["decode"] >= 0


def test_no_example_is_refused():
    with pytest.raises(SystemExit) as ended:
        main(parsed("profile", ["rows", "--examples", "0"]))
    assert ended.value.code == 2
