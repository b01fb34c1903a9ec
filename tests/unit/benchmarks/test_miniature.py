"""The miniature benchmarks: real schema, real prompts, exact evidence, drawn from a seed."""

import numpy as np
import pytest
from PIL import ImageChops

from entropy_grounding.app.question import unknown_words
from entropy_grounding.benchmarks.load import (
    BENCHMARKS,
    PAPER_BENCHMARKS,
    benchmark_config,
    load_benchmark,
)
from entropy_grounding.benchmarks.miniature import MINIATURES, miniature_rows
from entropy_grounding.benchmarks.miniature.base import letter_of
from entropy_grounding.benchmarks.schemas import SCHEMAS
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box
from entropy_grounding.tiny.architectures import build_llava

EACH = pytest.mark.parametrize("kind", list(MINIATURES))


def examples(kind, count=20, **options):
    return list(load_benchmark(benchmark_config(f"mini_{kind}", examples=count, **options)))


def test_there_is_one_for_every_benchmark_of_the_paper():
    assert set(PAPER_BENCHMARKS) <= set(MINIATURES) <= set(BENCHMARKS)


@EACH
def test_rows_have_the_published_columns_and_the_evidence(kind):
    rows = miniature_rows(kind, None, "test", 256)
    assert dict(rows.features) == {**SCHEMAS[kind], "evidence": rows.features["evidence"]}
    assert set(next(iter(rows))) == {*SCHEMAS[kind], "evidence"}


@EACH
def test_a_seed_draws_the_same_examples(kind):
    for first, again in zip(examples(kind, 4), examples(kind, 4), strict=True):
        assert (first.id, first.prompt, first.references, first.boxes) == (
            again.id,
            again.prompt,
            again.references,
            again.boxes,
        )
        assert ImageChops.difference(first.image, again.image).getbbox() is None


@EACH
def test_splits_and_canvases_show_other_pictures(kind):
    pictures = [
        np.asarray(examples(kind, 1, split=split)[0].image) for split in ("test", "validation")
    ]
    assert not np.array_equal(*pictures)
    assert examples(kind, 1, canvas=512)[0].image.size == (512, 512)


@EACH
def test_every_word_is_in_the_vocabulary(kind):
    _, processor = build_llava()
    for example in examples(kind):
        assert not unknown_words(
            processor.tokenizer, f"{example.prompt} {' '.join(example.references)}"
        )


@EACH
def test_ids_are_unique_and_boxes_lie_in_the_picture(kind):
    found = examples(kind)
    assert len({example.id for example in found}) == len(found)
    assert all(
        Box(0, 0, 256, 256).intersection(box) == box for example in found for box in example.boxes
    )


@EACH
def test_the_reference_answer_scores_one_and_another_zero(kind):
    for example in examples(kind):
        answer = max(set(example.references), key=example.references.count)
        assert BENCHMARKS[kind].score(answer, example) == 1.0
        wrong = {"yes": "no", "no": "yes"}.get(answer, "nothing")
        assert BENCHMARKS[kind].score(wrong, example) < 0.5


@EACH
def test_the_evidence_is_what_the_question_is_about(kind):
    for _, scene, question in MINIATURES[kind].questions("test", 256):
        for box in question.evidence:
            element = next(element for element in scene.elements if element.evidence == box)
            assert element.color in question.text or f"letter {element.text}?" in question.text


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [("textvqa", 14, 18), ("vstar", 14, 18), ("docvqa", 14, 18), ("infovqa", 14, 18)],
)
def test_hidden_evidence_is_small(kind, low, high):
    heights = [
        box.height
        for *_, question in MINIATURES[kind].questions("test", 256)
        for box in question.evidence
    ]
    assert low <= min(heights) <= max(heights) <= high


@pytest.mark.parametrize("kind", ["pope", "infovqa", "gqa"])
def test_yes_and_no_are_balanced(kind):
    answers = [
        question.answer
        for *_, question in MINIATURES[kind].questions("test", 256)
        if question.answer in ("yes", "no")
    ]
    assert len(answers) > 200
    assert 0.4 < answers.count("yes") / len(answers) < 0.6


def test_letters_of_the_right_option_are_balanced():
    found = [
        letter_of(q)
        for *_, q in MINIATURES["vstar"].questions("test", 256)
        if q.group == "direct_attributes"
    ]
    assert len(found) > 400
    assert all(0.2 < found.count(letter) / len(found) < 0.3 for letter in "ABCD")


def test_pope_has_its_three_kinds_of_negatives_and_yes_boxes_only():
    found = [question for *_, question in MINIATURES["pope"].questions("test", 256)]
    assert {question.group for question in found} == {"random", "popular", "adversarial"}
    assert all(bool(question.evidence) == (question.answer == "yes") for question in found)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("mmlu", None, "test", 256), "Unknown miniature 'mmlu': use one of textvqa"),
        (
            ("gqa", None, "train", 256),
            "The miniature 'gqa' has no split 'train': use test or validation",
        ),
        (("vstar", "images", "test", 256), "The miniature 'vstar' has no configuration 'images'"),
    ],
)
def test_unknown_miniatures_are_named(arguments, complaint):
    with pytest.raises(InputError, match=complaint):
        miniature_rows(*arguments)
