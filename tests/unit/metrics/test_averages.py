"""Published scores of whole benchmarks; all values are derived by hand."""

import pytest

from entropy_grounding.core.errors import InputError
from entropy_grounding.metrics.averages import rotation_means, task_means


def test_whole_rotations_score_as_the_mean_of_the_rows():
    # Two questions, one of each category, in four rotations.
    rotations = ["0", "1", "2", "3"] * 2
    groups = ["single"] * 4 + ["cross"] * 4
    scores = [1, 1, 0, 1, 1, 0, 0, 0]
    assert rotation_means(scores, rotations, groups) == {
        "cross": 1 / 4,
        "single": 3 / 4,
        "all": 4 / 8,
    }


def test_each_rotation_counts_alike_where_rows_are_missing():
    # Of the single questions, rotation 0 has two rows (mean 1/2), rotation 1 one row (mean 1).
    # Over all rows, rotation 0 has the scores 1, 0, 0 (mean 1/3), rotation 1 has 1, 1 (mean 1).
    rotations = ["0", "0", "1", "0", "1"]
    groups = ["single", "single", "single", "cross", "cross"]
    found = rotation_means([1, 0, 1, 0, 1], rotations, groups)
    assert found == pytest.approx({"single": 3 / 4, "cross": 1 / 2, "all": 2 / 3})
    assert found["single"] != pytest.approx(2 / 3)  # the mean of its rows
    assert found["all"] != pytest.approx(3 / 5)


def test_a_task_is_averaged_over_questions_and_over_domains():
    groups = ["Perception/OCR"] * 3 + ["Perception/Monitoring"] + ["Reasoning/Monitoring"] * 2
    found = task_means([1, 1, 1, 0, 1, 0], groups)
    assert found == pytest.approx(
        {
            "Perception": 3 / 4,  # of 4 questions
            "Perception by domain": 1 / 2,  # of the means 1 and 0
            "Reasoning": 1 / 2,
            "Reasoning by domain": 1 / 2,
        }
    )


def test_the_domains_of_two_tasks_are_apart():
    found = task_means([1, 0], ["Perception/Monitoring", "Reasoning/Monitoring"])
    assert (found["Perception"], found["Reasoning"]) == (1.0, 0.0)


@pytest.mark.parametrize("groups", [[], ["Perception/OCR"] * 3])
def test_lists_of_different_lengths_are_refused(groups):
    with pytest.raises(InputError, match="2 scores, and values of .* rows: pass one of each"):
        task_means([1, 0], groups)
    with pytest.raises(InputError, match="2 scores, and values of"):
        rotation_means([1, 0], ["0", "1"], groups)


def test_without_rows_there_is_nothing():
    assert task_means([], []) == {}
