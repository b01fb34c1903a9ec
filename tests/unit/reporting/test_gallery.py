"""Which stored examples the gallery shows."""

import pandas as pd

from entropy_grounding.reporting.gallery import rescued_late


def rows(scores, status="ok"):
    return pd.DataFrame(
        {"example_id": ["a", "b", "c", "d"], "status": status, "plain_score": 0.0, "score": scores}
    )


def test_late_is_what_every_smaller_number_of_rounds_gets_wrong():
    three, two, one = rows([1, 1, 1, 0]), rows([0, 1, 0, 0]), rows([0, 0, 1, 0])
    assert list(rescued_late(three, one, two)["example_id"]) == ["a"]
    assert list(rescued_late(three, one)["example_id"]) == ["a", "b"]


def test_an_example_that_failed_with_fewer_rounds_is_not_late():
    assert rescued_late(rows([1, 1, 1, 1]), rows([0, 0, 0, 0], "failed")).empty
