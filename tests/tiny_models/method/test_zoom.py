"""The loop on real models: what it records, how it ends, what it refuses."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from PIL import Image

from entropy_grounding.baselines.controls import answer_from_crops, oracle_box, random_box
from entropy_grounding.benchmarks.miniature.questions import held_out_example
from entropy_grounding.benchmarks.miniature.scenes import draw_scene
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box
from entropy_grounding.grounding import ground, relevance_map
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.method.regions import RegionOptions
from entropy_grounding.method.relevance import RELEVANCES
from entropy_grounding.method.stopping import StoppingOptions
from entropy_grounding.method.target import TARGETS
from entropy_grounding.method.zoom import ground_round
from entropy_grounding.tiny.architectures import Size, build_llava
from entropy_grounding.vlm.llava import LlavaFamily
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.session import ImageSession
from entropy_grounding.vlm.types import TokenGradients


def options(**stopping):
    return GroundingOptions(stopping=StoppingOptions(**stopping))


def test_the_tiny_vlm_fails_finds_zooms_and_answers(tiny_vlm, scene):
    image, question = scene
    grounding = ground(tiny_vlm, image, question.text)
    assert grounding.plain_answer != question.answer
    assert grounding.answer == question.answer
    assert len(grounding.steps) >= 2


def test_the_first_map_peaks_on_the_evidence(tiny_vlm, scene):
    image, question = scene
    found = relevance_map(tiny_vlm, image, question.text)
    row, col = (int(i) for i in np.unravel_index(found.values.argmax(), found.values.shape))
    assert found.view.cell_box((row, col, row + 1, col + 1)).intersection(question.evidence[0])


def test_every_round_is_recorded_and_counted(tiny_vlm, scene):
    image, question = scene
    grounding = ground(tiny_vlm, image, question.text, options(rule="fixed", rounds=3))
    assert [len(step.crops) for step in grounding.steps] == [
        0,
        *(len(step.regions) for step in grounding.steps[:-1]),
    ]
    assert [step.visual_tokens for step in grounding.steps] == [
        64 * (1 + len(step.crops)) for step in grounding.steps
    ]
    assert (grounding.cost.forwards, grounding.cost.backwards) == (
        4,
        3,
    )  # the plain answer goes on from the first map's forward
    answer = 64 * len(
        grounding.crops
    )  # behind the full image, which has been through the language model
    assert (
        grounding.cost.visual_tokens == sum(step.visual_tokens for step in grounding.steps) + answer
    )
    assert grounding.crops == tuple(region.box for region in grounding.steps[-1].regions)
    assert all(step.target == step.entropy for step in grounding.steps)
    assert all(0 < step.top_probability <= 1 for step in grounding.steps)


def test_each_crop_is_encoded_once(tiny_vlm, scene, monkeypatch):
    image, question = scene
    seen = []
    encode = type(tiny_vlm).encode
    monkeypatch.setattr(
        type(tiny_vlm),
        "encode",
        lambda self, image, box=None: seen.append(box) or encode(self, image, box),
    )
    ground(tiny_vlm, image, question.text, options(rule="fixed", rounds=3))
    assert len(seen) == len(set(seen))


def test_rollback_answers_from_the_crops_before_the_rise(random_vlm):
    rising = (held_out_example(seed) for seed in range(30))
    kept = lagged = None
    for drawn, question in rising:
        image = draw_scene(drawn)
        kept, lagged = (
            ground(random_vlm, image, question.text, options(rollback=rollback, offset=1.5))
            for rollback in (True, False)
        )
        if kept.stop_reason == "entropy_rose":
            break
    assert kept.stop_reason == lagged.stop_reason == "entropy_rose"
    assert kept.crops == tuple(region.box for region in kept.steps[-2].regions)
    assert lagged.crops == tuple(region.box for region in lagged.steps[-1].regions)


def test_no_zoom_means_the_plain_answer_and_one_forward(tiny_vlm, scene):
    image, question = scene
    grounding = ground(tiny_vlm, image, question.text, options(max_rounds=0))
    assert (grounding.stop_reason, grounding.steps, grounding.crops) == ("no_zoom", (), ())
    assert grounding.answer == grounding.plain_answer
    assert (grounding.cost.forwards, grounding.cost.backwards) == (1, 0)


def test_an_all_zero_map_is_no_error(tiny_vlm, scene, monkeypatch):
    image, question = scene
    backward = type(tiny_vlm).backward

    def without_gradient(self, begun, target):
        (found,) = backward(self, begun, target)
        return [TokenGradients(found.logits, torch.zeros_like(found.gradients), found.embeddings)]

    monkeypatch.setattr(type(tiny_vlm), "backward", without_gradient)
    grounding = ground(tiny_vlm, image, question.text)
    assert (grounding.stop_reason, grounding.crops) == ("empty_map", ())
    assert grounding.answer == grounding.plain_answer
    assert grounding.steps[0].spatial_entropy == math.inf


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("relevance", RELEVANCES)
def test_every_target_and_relevance_gives_crops(random_vlm, scene, target, relevance):
    image, question = scene
    chosen = GroundingOptions(
        target=target, relevance=relevance, stopping=StoppingOptions(rule="fixed", rounds=1)
    )
    assert ground(random_vlm, image, question.text, chosen).crops


def test_kl_to_uniform_gives_the_same_map_as_entropy(tiny_vlm, scene):
    image, question = scene
    entropy, divergence = (
        relevance_map(tiny_vlm, image, question.text, GroundingOptions(target=t)).values
        for t in ("entropy", "kl_to_uniform")
    )
    np.testing.assert_allclose(entropy, divergence, rtol=1e-3, atol=1e-5 * entropy.max())


def test_a_map_relative_to_its_own_question_is_flat(tiny_vlm, scene):
    image, question = scene
    found = relevance_map(
        tiny_vlm, image, question.text, GroundingOptions(neutral_question=question.text)
    )
    assert found.values.max() == pytest.approx(1.0)


@pytest.mark.parametrize("size", [(256, 96), (96, 256)])
def test_crops_of_padded_images_stay_on_the_image(random_vlm, size):
    image = Image.fromarray(
        np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    )
    grounding = ground(
        random_vlm, image, "What letter is on the red card?", options(rule="none", max_rounds=4)
    )
    assert grounding.stop_reason in ("max_rounds", "no_region")
    for step in grounding.steps:
        for region in step.regions:
            assert Box(0, 0, *size).intersection(region.box) == region.box


def test_ignoring_padding_stretches_the_view(random_vlm):
    image = Image.new("RGB", (200, 100), "gray")
    session = ImageSession(random_vlm, image)
    from entropy_grounding.method.zoom import ground_round

    released = ground_round(session, "What?", (), GroundingOptions(padding="ignored"))
    assert released.maps[0].view.box == Box(0, 0, 200, 100)


@pytest.mark.parametrize("most", [1, 2])
def test_at_most_k_regions_become_crops(random_vlm, scene, most):
    image, question = scene
    regions = RegionOptions(max_regions=most, threshold="quantile:0.7", sigma=0)
    chosen = GroundingOptions(regions=regions, stopping=StoppingOptions(rule="fixed", rounds=1))
    assert len(ground(random_vlm, image, question.text, chosen).crops) == most


@pytest.mark.parametrize("question", ["", "  \n"])
def test_an_empty_question_is_refused(tiny_vlm, scene, question):
    with pytest.raises(InputError, match="question is empty"):
        ground(tiny_vlm, scene[0], question)


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK"])
def test_pictures_in_other_modes_are_converted(random_vlm, scene, mode):
    image, question = scene
    assert (
        ground(random_vlm, image.convert(mode), question.text, options(rule="fixed", rounds=1)).size
        == image.size
    )


def test_progress_sees_every_round(tiny_vlm, scene):
    image, question = scene
    calls = []
    ground(
        tiny_vlm,
        image,
        question.text,
        options(rule="fixed", rounds=2),
        progress=lambda *call: calls.append(call),
    )
    assert [rounds for rounds, _ in calls] == [1, 2]
    assert [decision is None for _, decision in calls] == [True, False]


def test_an_oracle_crop_has_context_and_a_random_one_its_size():
    oracle = oracle_box(Box(100, 100, 120, 120), (256, 256), context=2.0)
    assert oracle == Box(90, 90, 130, 130)
    anywhere = random_box(np.random.default_rng(0), oracle, (256, 256))
    assert (anywhere.width, anywhere.height) == pytest.approx((40, 40))
    assert Box(0, 0, 256, 256).intersection(anywhere) == anywhere


def test_given_crops_answer_without_a_map(tiny_vlm, scene):
    image, question = scene
    grounding = answer_from_crops(
        tiny_vlm, image, question.text, [oracle_box(question.evidence[0], image.size)]
    )
    assert grounding.answer == question.answer
    assert dataclasses.astuple(grounding.cost)[:2] == (2, 0)


def test_crops_beyond_the_context_are_dropped_lowest_rank_first(scene):
    image, question = scene
    model, processor = build_llava(Size(32, 1, 1))
    model.config.get_text_config().max_position_embeddings = 64 * 3 + 30  # the image and two crops
    vlm = VLM(model, processor, LlavaFamily())
    crops = [Box(x, 0, x + 40, 40) for x in (0, 50, 100, 150)]
    with pytest.warns(
        UserWarning, match="4 crops do not fit into the context: the first 2 by rank are used"
    ):
        grounding = answer_from_crops(vlm, image, question.text, crops)
    assert grounding.crops == tuple(crops[:2])
    with pytest.warns(UserWarning, match="the first 2 by rank"):
        step = ground_round(ImageSession(vlm, image), question.text, crops, GroundingOptions())
    assert step.crops == tuple(crops[:2])
    assert step.visual_tokens == 3 * 64


def test_an_image_beyond_the_context_is_refused(scene):
    image, question = scene
    model, processor = build_llava(Size(32, 1, 1))
    model.config.get_text_config().max_position_embeddings = 50
    with pytest.raises(InputError, match="more than the 50 of the model's context"):
        ground(VLM(model, processor, LlavaFamily()), image, question.text)
