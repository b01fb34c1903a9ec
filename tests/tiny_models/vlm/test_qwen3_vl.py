"""Qwen3-VL: a visual token is all that enters for it, at the embeddings and behind early layers."""

import pytest
import torch
from PIL import Image

from entropy_grounding.core.errors import InputError
from entropy_grounding.grounding import ground
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.method.target import next_token_entropy
from support.families import GEOMETRIES, Case

QUESTION = "what is it ?"


def vlm_of(family):
    build, variants, sizes = GEOMETRIES[family]
    case = Case(family, build, variants[0], sizes[0])
    return case.vlm(), case.image()


@pytest.fixture(scope="module")
def qwen3():
    return vlm_of("qwen3_vl")


def test_a_visual_token_holds_every_injection(qwen3):
    vlm, image = qwen3
    levels = 1 + len(vlm.model.config.vision_config.deepstack_visual_indexes)
    width = vlm.model.config.get_text_config().hidden_size
    assert vlm.encode(image).features.shape[1] == levels * width


def test_the_gradient_at_each_injection_is_that_of_finite_differences(qwen3):
    vlm, image = qwen3
    prompt = vlm.prompt(QUESTION, [vlm.encode(image)])
    vlm.model.double()
    tokens = prompt.features[0].double()
    try:
        run = vlm.run([prompt])
        (found,) = vlm.backward(run, next_token_entropy)
        width = vlm.model.config.get_text_config().hidden_size
        for start in range(0, tokens.shape[1], width):
            step = torch.zeros_like(tokens)
            step[:, start : start + width] = torch.randn(
                len(tokens), width, generator=torch.Generator().manual_seed(start)
            ).double()
            # Norms compute in float32, which bounds the precision.
            entropies = [
                next_token_entropy(vlm.logits(prompt, tokens + sign * 1e-4 * step)).item()
                for sign in (1, -1)
            ]
            difference = (entropies[0] - entropies[1]) / 2e-4
            assert difference != 0
            assert float((found.gradients * step).sum()) == pytest.approx(difference, rel=2e-3)
    finally:
        vlm.model.float()


def test_the_first_injection_alone_gives_another_map(qwen3):
    vlm, image = qwen3
    maps = [
        ground(vlm, image, QUESTION, GroundingOptions(injections=which)).steps[0].maps[0].values
        for which in ("all", "first")
    ]
    assert maps[0].shape == maps[1].shape
    assert (maps[0] >= maps[1]).all()
    assert (maps[0] > maps[1]).any()


def test_the_first_injection_is_refused_where_there_is_one():
    vlm, _ = vlm_of("llava")
    with pytest.raises(InputError, match="has no meaning for 'llava'"):
        ground(vlm, Image.new("RGB", (96, 96)), QUESTION, GroundingOptions(injections="first"))


def test_an_unknown_choice_of_injections_is_refused():
    with pytest.raises(InputError, match="injections"):
        GroundingOptions(injections="second")
