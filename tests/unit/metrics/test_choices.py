"""The option that an answer chooses: by hand, and on wordy answers with known letters."""

import string
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_grounding.metrics.answers import realworldqa_match
from entropy_grounding.metrics.choices import letter_of, parse_choice
from entropy_grounding.metrics.option_lines import option_lines
from support.fuzz import tries
from support.wordy_answers import wordy_answers

COLORS = {"A": "red", "B": "blue", "C": "light blue", "D": "a dog"}
RIVER = {
    "A": "The dog is on the left side of the river.",
    "B": "The dog is on the right side of the river.",
}


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        *[
            (text, "B")
            for text in (
                "B",
                "b",
                "B.",
                "(B)",
                "B) blue",
                "Answer: B",
                "The answer is B",
                "option B",
                "It is B",
                "**B**",
                "B: blue\n",
            )
        ],
        *[
            (text, "A")
            for text in (
                "A",
                "a",
                "A.",
                "The answer is A because it is",
                "(A) red",
                "red",
                "It is red.",
            )
        ],
        *[(text, "D") for text in ("A dog", "a dog.", "Based on the picture, D")],
        *[(text, "B") for text in ("blue", "Blue.", "The car is blue")],
        *[(text, "C") for text in ("light blue", "It is light blue")],
        *[
            (text, None)
            for text in (
                "",
                "cotton",
                "leather",
                "B or C",
                "A and B",
                "none",
                "red or blue",
                "Bold",
                "A's",
            )
        ],
    ],
)
def test_a_choice_is_never_read_out_of_a_word(text, letter):
    assert parse_choice(text, COLORS) == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("I considered (A) at first. Final answer: D.", "D"),
        ("The answer is **B** because option C is wrong", "B"),
        (
            "Let's see:\nA. red: there is none.\nB. blue: the car is.\nC. light blue: "
            "no.\n\nTherefore, the answer is B.",
            "B",
        ),
        ("A) red ❌\nB) blue ✅\nC) light blue ❌", "B"),
        ("I'm torn between A and B but will answer B.", "B"),
        ("Final Answer: The final answer is $\\boxed{B}$. I hope it is correct.", "B"),
        ("ANSWER: A DOG", "D"),
        ("THE CAR IS A RED ONE", "A"),
        ("Vitamin C is shown. Answer: B", "B"),
        ("A. red\nB. blue\nC. light blue\nD. a dog", None),
        ("A. red\nB. blue\nC. light blue\nD. a dog\n\nB", "B"),
        ("Ｂ", "B"),
        ("图中的车是蓝色的，因此正确选项为B。", "B"),
        ("選択肢Bが正しいです", "B"),
        ("A looks close. Answer: E.", None),
        ("There is no dog", None),
        ("It's neither red nor blue", None),
        ("It isn't red, it's blue", "B"),
        ("Dogs", None),
    ],
)
def test_the_last_explicit_answer_decides(text, letter):
    assert parse_choice(text, COLORS) == letter


@pytest.mark.parametrize(
    "text",
    [
        "The dog is on the right side of the river",
        "the dog is on the right side of a river!",
        "Dog is on the RIGHT side of river",
    ],
)
def test_case_articles_and_marks_do_not_decide(text):
    assert parse_choice(text, RIVER) == "B"


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("b.", "B"),
        ("(B)", "B"),
        ("blue", "B"),
        ("Blue.", "B"),
        ("B. blue", "B"),
        ("Dog", "D"),
        ("B. red", None),
        ("green", None),
    ],
)
def test_a_reference_is_a_letter_or_an_options_text(answer, letter):
    assert letter_of(answer, COLORS) == letter


def test_options_that_differ_in_marks_alone_are_told_apart():
    options = {"A": "€5", "B": "5%", "C": "$5", "D": "5 km"}
    assert [
        parse_choice(f"It costs {text}, I think", options) for text in options.values()
    ] == list(options)
    assert parse_choice("5", options) is None


@pytest.mark.parametrize("seed", tries(1))
def test_wordy_answers_are_read_as_they_were_meant(seed):
    """Every template with its letters, option texts, styles and decoys.

    See tests/support/wordy_answers.py.
    """
    corpus = list(wordy_answers(seed))
    assert len(corpus) > 7_000
    assert [each for each in corpus if parse_choice(each.answer, each.options) != each.letter] == []


PIECES = [
    *"ABC().:,*_\n ",
    "not ",
    "is ",
    "answer: ",
    "答案",
    "不",
    "\\boxed{",
    "<answer>",
    "Ａ",
    "\ud800",
    "\u0301",
    "a ",
    "no",
]
WILD = st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=12).map("".join))


@given(WILD, st.lists(WILD, max_size=5))
@settings(max_examples=1_000)
def test_any_text_gives_an_option_or_none(text, texts):
    options = dict(zip(string.ascii_uppercase, texts, strict=False))
    assert parse_choice(text, options) in (None, *options)
    assert letter_of(text, options) in (None, *options)


@pytest.mark.parametrize("benchmark", ["mini_vstar", "mini_realworldqa"])
def test_stored_answers_keep_their_scores(benchmark):
    """Every row of the main table, whose prompt lists the options that it was scored against."""
    columns = ["prompt", "references", "plain_answer", "answer", "plain_score", "score", "status"]
    packs = Path(__file__).parents[3] / "results" / "rows" / "table1"
    rows = pd.concat(
        pd.read_parquet(pack, columns=columns, filters=[("benchmark", "==", benchmark)])
        for pack in packs.glob("*.parquet")
    )
    rows = rows[rows["status"] == "ok"]
    assert len(rows) > 10_000

    pairs = (("plain_answer", "plain_score"), ("answer", "score"))
    said = pd.concat(
        rows[["prompt", answer, score]]
        .set_axis(["prompt", "answer", "score"], axis=1)
        .assign(right=rows["references"].str[0])
        for answer, score in pairs
    ).drop_duplicates()
    for each in said.itertuples():
        options = {line.letter: line.text for line in option_lines(each.prompt)}
        assert realworldqa_match(each.answer, each.right, options) == each.score, each
