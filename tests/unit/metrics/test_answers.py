"""Answer metrics against the published rules, by hand (VQA/m4c, RRC, GQA, POPE)."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_grounding.core.errors import InputError
from entropy_grounding.metrics.answers import (
    SCORERS,
    anls,
    binary_scores,
    contained_either_way,
    exact_match,
    exact_match_without_punctuation,
    levenshtein,
    normalize_vqa,
    parse_yes_no,
    realworldqa_match,
    vqa_accuracy,
    vqa_accuracy_official,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$1,000", "$1000"),
        ("a dog", "dog"),
        ("two", "2"),
        ("isnt", "isn't"),
        ("thats", "that's"),
        ("that's", "that 's"),
        ("wi-fi", "wi fi"),
        ("wi - fi", "wi fi"),
        ("10:30", "10:30"),
        ("U.S.A.", "usa"),
        ("2.", "2"),
        ("2.5", "2.5"),
        (".5", ".5"),
        ("no. 5", "no 5"),
        ("line\nbreak\t", "line break"),
        *[(nothing, "") for nothing in ("", "a", "...", "?", " the ")],
    ],
)
def test_vqa_normalisation_follows_the_published_processor(text, expected):
    assert normalize_vqa(text) == expected


def test_at_most_32_periods_are_removed():
    """The published code passes a flag, whose value is 32, as the count of the substitution."""
    assert normalize_vqa("." * 40) == "." * 8


@pytest.mark.parametrize(
    ("matching", "score"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)]
)
def test_vqa_accuracy_of_ten_annotators(matching, score):
    assert vqa_accuracy("Two", ["2"] * matching + ["none such"] * (10 - matching)) == pytest.approx(
        score
    )


def test_a_single_annotator_scores_nothing():
    assert vqa_accuracy("red", ["red"]) == 0.0


def test_the_official_script_compares_unanimous_answers_as_written():
    assert vqa_accuracy_official("Red", ["red"] * 10) == 0.0
    assert vqa_accuracy("Red", ["red"] * 10) == 1.0
    assert vqa_accuracy_official("Red", ["red"] * 9 + ["blue"]) == 1.0


@pytest.mark.parametrize(
    ("prediction", "reference", "score"),
    [
        ("abcd", "abcd", 1.0),
        ("ABCD", "abcd", 1.0),
        ("abce", "abcd", 0.75),
        ("abxy", "abcd", 0.5),  # 0.5 is kept
        ("axyz", "abcd", 0.0),
        ("", "", 1.0),
        ("", "a", 0.0),
        ("a  b", "a b", 1.0),
        (
            "a   x",
            "a b",
            0.8,
        ),  # distance of "a x" and "a b" is 1, length counts all five characters
    ],
)
def test_anls_by_hand(prediction, reference, score):
    assert anls(prediction, [reference]) == pytest.approx(score)


def test_anls_takes_the_best_reference_and_its_threshold():
    assert anls("abcd", ["zzzz", "abce"]) == 0.75
    assert anls("abcd", ["abce"], threshold=0.8) == 0.0


@given(st.text("abc", max_size=8), st.text("abc", max_size=8), st.text("abc", max_size=8))
def test_levenshtein_is_a_metric(a, b, c):
    assert (levenshtein(a, b) == 0) == (a == b)
    assert levenshtein(a, b) == levenshtein(b, a) >= abs(len(a) - len(b))
    assert levenshtein(a, c) <= levenshtein(a, b) + levenshtein(b, c)


def table_of_distances(first, second):
    """The textbook's algorithm, a cell at a time."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, start=1):
        before, row[0] = row[0], i
        for j, b in enumerate(second, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


# Casing changes the length of some letters: "ß" in capitals is two, "İ" in small ones too.
LETTERS = st.one_of(
    st.text("ab", max_size=70), st.text("aßİıſﬁ Жж中\n\u0301", max_size=40), st.text()
)


@given(LETTERS, LETTERS)
def test_levenshtein_equals_the_table_of_distances(a, b):
    assert levenshtein(a, b) == table_of_distances(a, b)


@given(
    LETTERS, st.lists(LETTERS, min_size=1, max_size=3), st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.0])
)
def test_anls_equals_its_definition(prediction, references, threshold):
    def similarity(reference):
        longest = max(len(prediction.upper()), len(reference.upper()))
        texts = (" ".join(text.lower().split()) for text in (prediction, reference))
        return 1 - table_of_distances(*texts) / longest if longest else 1.0

    best = max(similarity(each) for each in references)
    assert anls(prediction, references, threshold) == (best if best >= threshold else 0.0)


@pytest.mark.parametrize(("length", "other"), [(5_000, 5_000), (1_000_000, 20)])
def test_long_texts_are_compared_within_a_second(length, other):
    started = time.process_time()
    assert 0.0 <= anls("ab c" * (length // 4), ["c ba" * (other // 4)]) < 1.0
    assert time.process_time() - started < 1.0


def test_levenshtein_of_a_textbook_pair():
    assert levenshtein("kitten", "sitting") == 3


@pytest.mark.parametrize(
    ("prediction", "reference", "ours", "without_punctuation"),
    [
        ("Yes.", "yes", 1, 1),
        (" yes ", "yes", 1, 1),
        ("t-shirt", "tshirt", 0, 1),
        ("2.5", "25", 0, 1),
        ("hot dog", "dog", 0, 0),
    ],
)
def test_exact_match_and_its_variant(prediction, reference, ours, without_punctuation):
    assert exact_match(prediction, reference) == ours
    assert exact_match_without_punctuation(prediction, reference) == without_punctuation


def test_the_docvqa_rule_of_vicrop_counts_an_empty_prediction():
    assert contained_either_way("", ["total"]) == 1.0
    assert contained_either_way("Total", ["total"]) == 0.0
    assert contained_either_way("the total", ["total"]) == 1.0


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        *[
            (text, "no")
            for text in (
                "no",
                "No",
                "NO",
                "no\n",
                "No, there is none",
                "It is not there",
                "no. yes",
            )
        ],
        *[
            (text, "yes")
            for text in (
                "yes",
                "Yes.",
                "",
                "garbage",
                "isn't",
                "nothing",
                "Yes. There is no dog",
                "no!",
            )
        ],
    ],
)
def test_pope_answers_by_the_official_rule(text, answer):
    assert parse_yes_no(text) == answer


def test_binary_scores_by_hand():
    scores = binary_scores(["yes", "yes", "no", "no"], ["yes", "no", "yes", "no"])
    assert scores == {"accuracy": 0.5, "precision": 0.5, "recall": 0.5, "f1": 0.5, "yes_ratio": 0.5}


def test_undefined_binary_scores_are_zero():
    assert binary_scores(["no"], ["no"]) == {
        "accuracy": 1.0,
        "precision": 0.0,
        "recall": 0.0,
        "f1": 0.0,
        "yes_ratio": 0.0,
    }
    assert set(binary_scores([], []).values()) == {0.0}


@pytest.mark.parametrize(
    ("predictions", "labels", "complaint"),
    [(["maybe"], ["yes"], "'maybe' is neither"), (["no"], [], "1 predictions for 0")],
)
def test_binary_scores_refuse_what_is_not_parsed(predictions, labels, complaint):
    with pytest.raises(InputError, match=complaint):
        binary_scores(predictions, labels)


@pytest.mark.parametrize(
    ("prediction", "score"),
    [("B", 1), ("right", 1), ("Right!", 1), ("The answer is A", 0), ("not B", 0), ("", 0)],
)
def test_realworldqa_letters(prediction, score):
    assert realworldqa_match(prediction, "B", {"A": "left", "B": "right"}) == score


@pytest.mark.parametrize(
    ("prediction", "score"), [("Four.", 1), ("four", 1), (" 4 ", 1), ("5", 0), ("four cars", 0)]
)
def test_realworldqa_words_and_numbers(prediction, score):
    assert realworldqa_match(prediction, "4", {}) == score


@pytest.mark.parametrize("name", list(SCORERS))
def test_every_rule_needs_a_reference(name):
    with pytest.raises(InputError, match="no reference answer"):
        SCORERS[name]("x", [])


@given(st.one_of(st.text(), st.text(st.characters())), st.lists(st.text(), min_size=1, max_size=4))
@settings(max_examples=500)
def test_every_rule_scores_every_text(prediction, references):
    """Control characters, lone surrogates, letters that grow in capitals."""
    for rule in SCORERS.values():
        assert 0.0 <= rule(prediction, references) <= 1.0
    assert realworldqa_match(prediction, references[0], {}) in (0.0, 1.0)
    assert parse_yes_no(prediction) in ("yes", "no")
