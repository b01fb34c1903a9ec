"""The letter rules of lmms-eval; tests/harness compares them with its own functions."""

import pytest

from entropy_grounding.metrics.answers import SCORERS
from entropy_grounding.metrics.choices import parse_choice
from entropy_grounding.metrics.lmms_eval_letters import (
    mme_realworld_letter,
    realworldqa_letter,
    vstar_letter,
)


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("b.", "B"),
        ("(C) green", "C"),
        ("The answer is D", "D"),
        ("Blue", "B"),  # the first letter of a word
        ("left", None),
        ("right", None),
        ("It is red", "D"),  # the only one of A to D
        ("It is black", None),
        ("", None),
    ],
)
def test_the_rule_of_vstar(answer, letter):
    assert vstar_letter(answer) == letter


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("b", None),
        ("(C) green", "C"),
        ("The answer is D, not A", "A"),  # a letter alone at the end
        ("the answer is D because", "D"),
        ("A. left, then C: right", "A"),
        ("not A but (B) or so", "B"),
        ("Blue", "B"),  # the last capital anywhere
        ("left", None),
        ("", None),
    ],
)
def test_the_rule_of_realworldqa(answer, letter):
    assert realworldqa_letter(answer) == letter


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("E", "E"),
        ("(C) green", "C"),
        ("The best answer is D", "D"),
        ("Answer: C", "A"),  # the first capital, also inside a word
        ("b", "B"),
        ("the answer is b", None),
        ("", "A"),  # an empty text is found in "(a)"
        ("it is one of many words without any capital letter at all", None),
    ],
)
def test_the_rule_of_mme_realworld(answer, letter):
    assert mme_realworld_letter(answer) == letter
    for reference in "ABCDE":
        score = SCORERS["mme_realworld_lmms_eval_letters"](answer, [reference])
        assert score == float(reference == letter)


def test_one_stored_answer_is_scored_under_both_rules():
    options = {"A": "blue", "B": "red"}
    assert parse_choice("Blue", options) == "A"
    assert SCORERS["vstar_lmms_eval_letters"]("Blue", ["A"]) == 0.0
    assert SCORERS["vstar_lmms_eval_letters"]("Blue", ["B"]) == 1.0
    assert SCORERS["realworldqa_lmms_eval_letters"]("blue", ["A"]) == 0.0


@pytest.mark.parametrize(
    ("answer", "score"), [("4", 1.0), ("4.", 1.0), (" 4 ", 1.0), ("four", 0.0), ("5", 0.0)]
)
def test_open_questions_of_realworldqa_are_compared_as_texts(answer, score):
    assert SCORERS["realworldqa_lmms_eval_letters"](answer, ["4"]) == score
