"""The miniature of high resolution: small cards among distractors, apart from the seven."""

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
from entropy_grounding.benchmarks.miniature import FURTHER, MINIATURES, miniature_rows
from entropy_grounding.benchmarks.miniature.base import CHOICES, letter_of
from entropy_grounding.benchmarks.miniature.scenes import draw_scene
from entropy_grounding.benchmarks.miniature.words import COLORS, MUTED
from entropy_grounding.benchmarks.schemas import SCHEMAS
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box
from entropy_grounding.evaluation.config import EvaluateConfig, resolved
from entropy_grounding.tiny.architectures import build_llava
from entropy_grounding.vlm.config import VLMConfig

SIDE = 4096
HIGHRES = FURTHER["highres"]


def scenes(miniature=HIGHRES, split="test", count=40):
    return [one for one, _ in zip(miniature.questions(split, SIDE), range(count), strict=False)]


def test_it_is_none_of_the_seven():
    assert set(MINIATURES) == set(PAPER_BENCHMARKS)
    assert not set(FURTHER) & {*MINIATURES, *BENCHMARKS}


def test_its_pictures_have_one_size_for_every_vlm():
    data = benchmark_config("mini_highres")
    for weights in ("tiny:llava", "tiny:internvl"):
        config = resolved(EvaluateConfig(vlm=VLMConfig(weights=weights), benchmark=data))
        assert config.benchmark.canvas == SIDE


def test_several_small_cards_lie_among_many_distractors():
    for _, scene, question in scenes():
        cards = (*scene.elements, *scene.distractors)
        assert 4 <= len(scene.elements) <= 6
        assert len(scene.distractors) == HIGHRES.distractors
        assert all(116 <= card.box.height <= 136 for card in cards)
        assert question.evidence[0].height < SIDE / 30


def test_the_fine_one_differs_in_the_size_of_its_cards_only():
    fine = FURTHER["highres_fine"]
    heights = [question.evidence[0].height for _, _, question in scenes(fine)]
    assert 76 <= min(heights) <= max(heights) <= 90
    assert (fine.count, fine.distractors) == (HIGHRES.count, HIGHRES.distractors)
    assert benchmark_config("mini_highres_fine").canvas == SIDE


def test_cards_overlap_nothing_and_only_one_has_the_color_asked_for():
    whole = Box(0, 0, SIDE, SIDE)
    for _, scene, question in scenes():
        cards = (*scene.elements, *scene.distractors)
        assert all(whole.intersection(card.box) == card.box for card in cards)
        assert not any(
            a.box.intersection(b.box) for i, a in enumerate(cards) for b in cards[i + 1 :]
        )

        asked = [card for card in cards if f" {card.color} " in question.text]
        assert [card.box for card in asked] == list(question.evidence)
        assert asked[0].text == question.answer
        assert {card.color for card in scene.distractors} <= set(MUTED)
        assert not set(MUTED) & set(COLORS)


def test_a_seed_draws_the_same_picture_and_another_split_another():
    (_, scene, question), *_ = scenes(count=1)
    (_, again, same), *_ = scenes(count=1)
    (_, other, _), *_ = scenes(split="validation", count=1)

    assert (scene, question) == (again, same)
    assert ImageChops.difference(draw_scene(scene), draw_scene(again)).getbbox() is None
    assert scene != other


def test_the_background_is_nowhere_constant():
    (_, scene, _), *_ = scenes(count=1)
    picture = np.asarray(draw_scene(scene))
    assert picture.shape == (SIDE, SIDE, 3)

    corner = picture[:64, :64]
    assert corner.std() > 2
    assert np.array_equal(corner[::4, ::4], corner[3::4, 3::4])  # grains of 4 x 4 pixels


def test_rows_have_the_columns_of_vstar_and_words_that_the_tiny_vlms_know():
    rows = miniature_rows("highres", None, "test", SIDE)
    assert dict(rows.features) == {**SCHEMAS["vstar"], "evidence": rows.features["evidence"]}

    (example,) = load_benchmark(benchmark_config("mini_highres", examples=1))
    assert example.image.size == (SIDE, SIDE)
    assert len(example.options) == 4
    assert all(option in CHOICES for _, option in example.options)
    assert BENCHMARKS["vstar"].score(dict(example.options)[example.references[0]], example) == 1.0

    _, processor = build_llava()
    assert not unknown_words(processor.tokenizer, example.prompt)


def test_letters_of_the_right_option_are_balanced():
    found = [letter_of(question) for *_, question in scenes(count=400)]
    assert all(0.18 < found.count(letter) / len(found) < 0.32 for letter in "ABCD")


@pytest.mark.parametrize(("kind", "least"), [("highres", 1024), ("gqa", 128)])
def test_too_small_a_canvas_is_refused(kind, least):
    with pytest.raises(InputError, match=f"canvas is {least - 1}: .* at least {least} pixels"):
        miniature_rows(kind, None, "test", least - 1)


def test_its_rows_stay_what_they_are():
    """Sides and counts are in no config hash: another choice needs another name."""
    (_, scene, question), (_, other, second) = scenes(count=2)
    assert (question.text, question.answer) == ("What letter is on the blue card?", "M")
    assert question.options == ("M", "T", "X", "H")
    assert question.evidence[0].xyxy() == (2917.0, 65.0, 3034.0, 182.0)
    assert (second.text, second.answer) == ("What letter is on the red card?", "X")
    assert (scene.texture_seed, other.texture_seed) == (474672680, 1685272202)
    assert [(card.color, card.text) for card in scene.distractors[:2]] == [
        ("white", "D"),
        ("gray", "B"),
    ]
