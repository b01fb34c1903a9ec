"""Composites: five miniatures on photographs."""

from itertools import islice

import numpy as np
import pytest
import skimage.data
from PIL import Image

from entropy_grounding.benchmarks.load import BENCHMARKS, benchmark_config, load_benchmark
from entropy_grounding.benchmarks.miniature import FURTHER, MINIATURES
from entropy_grounding.benchmarks.miniature.photographs import (
    PHOTOGRAPHS,
    Composite,
    photograph,
    photographed,
)
from entropy_grounding.benchmarks.miniature.scenes import CANVAS
from entropy_grounding.benchmarks.names import display_name, drawn_sibling, in_paper_order
from entropy_grounding.core.errors import InputError

COMPOSITES = [kind for kind, each in FURTHER.items() if isinstance(each, Composite)]


def first(miniature, split="test", count=6):
    return list(islice(miniature.draw(split, CANVAS), count))


@pytest.mark.parametrize("kind", COMPOSITES)
def test_a_composite_asks_what_its_drawn_sibling_asks(kind):
    drawn = MINIATURES[drawn_sibling(kind)]
    for mine, other in zip(first(FURTHER[kind]), first(drawn), strict=True):
        assert (mine.scene, mine.question) == (other.scene, other.question)
        assert mine.image.size == other.image.size


@pytest.mark.parametrize("kind", COMPOSITES)
def test_a_composite_shows_the_same_elements_on_another_background(kind):
    drawn = MINIATURES[drawn_sibling(kind)]
    for mine, other in zip(first(FURTHER[kind]), first(drawn), strict=True):
        inside = np.zeros((CANVAS, CANVAS), bool)
        for element in mine.scene.elements:
            x0, y0, x1, y1 = map(int, element.box.xyxy())
            inside[y0:y1, x0:x1] = True

        same = (np.asarray(mine.image) == np.asarray(other.image)).all(-1)
        assert same[inside].all()
        assert same[~inside].mean() < 0.05  # two pixels may be equal by chance


@pytest.mark.parametrize("kind", COMPOSITES)
def test_its_examples_are_read_and_scored_as_those_of_the_benchmark(kind):
    config = benchmark_config(f"mini_{kind}", examples=2)
    for example in load_benchmark(config):
        answer = dict(example.options).get(example.references[0], example.references[0])
        assert BENCHMARKS[config.kind].score(answer, example) == 1.0


def test_a_seed_cuts_the_same_part_and_other_seeds_show_every_photograph():
    drawn = first(FURTHER["gqa_photo"], count=40)
    again = photographed(drawn[0].scene)
    assert again.tobytes() == drawn[0].image.tobytes()

    chosen = {
        str(np.random.default_rng(each.scene.texture_seed).choice(list(PHOTOGRAPHS)))
        for each in drawn
    }
    assert chosen == set(PHOTOGRAPHS)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_a_photograph_is_the_one_whose_digest_is_noted(name):
    assert photograph(name).mode == "RGB"


def test_another_photograph_under_the_same_name_is_refused(monkeypatch):
    photograph.cache_clear()
    monkeypatch.setattr(skimage.data, "coffee", lambda: np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(InputError, match=r"'coffee' .* not 0ce2b51640b9c95f.*constraints\.txt"):
        photograph("coffee")


def test_a_composite_says_so_in_its_name_and_stands_beside_its_sibling():
    assert display_name("mini_vstar_photo") == "mini-V* on photographs"
    asked = ["mini_gqa_photo", "mini_gqa", "mini_vstar_photo"]
    assert in_paper_order(asked) == ["mini_vstar_photo", "mini_gqa_photo", "mini_gqa"]


def test_a_photograph_is_not_changed_by_what_is_drawn_on_it():
    before = photograph("chelsea").tobytes()
    first(FURTHER["textvqa_photo"], count=20)
    assert photograph("chelsea").tobytes() == before
    assert isinstance(photograph("chelsea"), Image.Image)
