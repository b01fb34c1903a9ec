"""The tiny LLaVA on large pictures: more than one round comes near enough to read."""

import pytest

from entropy_grounding.evaluation.archive import table_rows
from entropy_grounding.experiments.complete import complete
from entropy_grounding.experiments.config import load_experiment

N = 2
METHODS = "fixed_1,fixed_3,control_oracle"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Rows of validation pictures, which are no reported ones, by method."""
    setup = load_experiment(
        "high_resolution",
        "smoke",
        ["benchmark.split=validation", f"benchmark.examples={N}"],
        method=METHODS,
        tracking="disabled",
        results_dir=str(tmp_path_factory.mktemp("rows")),
    )
    return {method: table_rows(folder)[0] for (*_, method), folder in complete(setup).items()}


def side(row):
    return min((x1 - x0) for x0, _, x1, _ in row.crops)


def test_every_example_is_answered_on_the_same_pictures(found):
    assert set(found) == set(METHODS.split(","))
    for rows in found.values():
        assert list(rows["status"]) == ["ok"] * N
        assert list(rows["plain_answer"]) == list(found["fixed_1"]["plain_answer"])


def test_three_rounds_come_closer_than_one(found):
    pairs = zip(found["fixed_1"].itertuples(), found["fixed_3"].itertuples(), strict=True)
    assert all(side(three) <= side(one) for one, three in pairs)
    assert all(side(row) < 4096 / 10 for row in found["fixed_3"].itertuples())


def test_the_oracle_reads_what_the_full_picture_hides(found):
    assert list(found["control_oracle"]["score"]) == [1.0] * N
