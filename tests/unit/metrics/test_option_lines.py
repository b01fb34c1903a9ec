"""Option lines of questions: styles, what is none, and other texts in their place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropy_grounding.metrics.option_lines import option_lines, with_texts

STYLES = (
    "{}. ",
    "{}) ",
    "{}: ",
    "({}) ",
    "({}). ",
    "{} ",
    "  {}. ",
    "{}.",
    "({})",
    "{}\t",
    "（{}）",
    "{}．",
    "{}：",
)
TEXT = st.text("abc xyz0.,-é中", max_size=12).map(lambda text: f"t{text.strip()}")


def read(question):
    return {line.letter: line.text for line in option_lines(question)}


@st.composite
def questions(draw):
    """A question with 2 to 6 options, each in a style of its own, and what stands around them."""
    texts = draw(
        st.lists(TEXT.filter(lambda text: text[0].isalnum()), min_size=2, max_size=6)
    )  # a mark would belong to the letter
    styles = draw(st.lists(st.sampled_from(STYLES), min_size=len(texts), max_size=len(texts)))
    lines = [
        style.format(letter) + text
        for style, letter, text in zip(styles, "ABCDEF", texts, strict=False)
    ]
    between = draw(st.sampled_from(["\n", "\n\n", "\r\n", "\n \n", "\nor\n"]))
    start = draw(
        st.sampled_from(
            [
                "Which way?\n",
                "Which way?\n\n",
                "",
                "A man stands there.\nWhich way?\n",
                "I see.\nB\n",
            ]
        )
    )
    end = draw(
        st.sampled_from(
            ["", "\n", "\nPlease answer with the letter only.", "\n\nA letter only.", "\nZ. last"]
        )
    )
    return start + between.join(lines) + end, texts


@given(questions())
def test_options_are_read_in_every_style(made):
    question, texts = made
    assert list(read(question).values()) == texts
    assert "".join(read(question)) == "ABCDEF"[: len(texts)]


@given(questions(), st.randoms())
def test_other_texts_keep_the_style_of_the_lines(made, rng):
    question, texts = made
    lines = option_lines(question)
    assert with_texts(question, lines, read(question)) == question
    other = dict(zip("ABCDEF", rng.sample(texts, len(texts)), strict=False))
    changed = with_texts(question, lines, other)
    assert read(changed) == other
    assert len(changed) == len(question)


@given(st.one_of(st.text(), st.text("ABCD.):( \n\tab", max_size=60)))
def test_letters_of_any_text_go_on_from_a(text):
    lines = option_lines(text)
    assert "".join(line.letter for line in lines) == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(lines)]
    assert len(lines) != 1
    assert with_texts(text, lines, {line.letter: line.text for line in lines}) == text


@pytest.mark.parametrize(
    ("question", "options"),
    [
        ("Which way?\n\nA. left\nB right\nC. up\nAnswer.", {"A": "left", "B": "right", "C": "up"}),
        ("What color?\nA: Red\nB: Blue", {"A": "Red", "B": "Blue"}),
        (
            "Which?\n(A) left\n(B) the right one\nAnswer with the option's letter.",
            {"A": "left", "B": "the right one"},
        ),
        ("A man stands here.\nWho?\nA. he\nB. she", {"A": "he", "B": "she"}),
        ("Who?\nA he\nB movies are old\nB. she", {"A": "he", "B": "she"}),
        ("A x\nB y\n\nA. one\nB. two\n", {"A": "one", "B": "two"}),
        ("Ａ．left\nＢ．right", {"A": "left", "B": "right"}),
        *[
            (text, {})
            for text in (
                "A man stands here.",
                "How many A. Smith signs?",
                "A. Smith lives here.\nWho?",
                "B. left\nC. right",
                "A. left\nC. right",
                "A.\nB.\nC.",
                "I am.\nA",
                "a. left\nb. right",
                "",
            )
        ],
    ],
)
def test_options_go_on_in_order_from_a(question, options):
    assert read(question) == options
