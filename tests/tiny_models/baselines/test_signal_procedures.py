"""Every signal with every procedure: one seam gives the relevance of loop, window and search."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from entropy_grounding.baselines.privileged import Privileged
from entropy_grounding.baselines.search import entropy_search
from entropy_grounding.core.geometry import Box
from entropy_grounding.grounding import ground, relevance_map
from entropy_grounding.method.attribution import token_relevance
from entropy_grounding.method.budget import BudgetOptions
from entropy_grounding.method.candidates import candidate_boxes, ranked
from entropy_grounding.method.detail import has_detail, pooled
from entropy_grounding.method.options import GroundingOptions, WindowOptions
from entropy_grounding.method.relevance import relative_relevance
from entropy_grounding.method.signals import round_relevance
from entropy_grounding.method.target import max_log_probability
from entropy_grounding.vlm.cached import CachedVLM
from entropy_grounding.vlm.session import ImageSession

QUESTION = "What letter is on the red card?"
CROP = Box(10, 10, 50, 50)
PIXELS = GroundingOptions(signal="pixel_gradient", mask="none")


@pytest.fixture
def session(vlm, case):
    return ImageSession(vlm, case.image())


# --- Pixels of several pictures ---


def test_pixel_gradients_of_one_picture_are_those_of_it_alone(vlm, case):
    """The reference differentiates one picture by hand, through the vision tower."""
    picture = vlm.encode(case.image())
    prompt = vlm.prompt(QUESTION, [picture])
    inputs = vlm.processed(picture.image)
    pixels = inputs["pixel_values"].clone().requires_grad_()
    logits = vlm.logits(prompt, vlm.features({**inputs, "pixel_values": pixels}))
    (gradient,) = torch.autograd.grad(max_log_probability(logits), pixels)
    expected = vlm.family.picture(
        vlm.model.config, vlm.processor, inputs, gradient, picture.image.size
    )

    found = vlm.pixel_gradients(prompt, max_log_probability)
    assert found.logits.equal(logits.detach())
    assert found.gradients[0].equal(expected)
    assert found.pictures[0].view.box == prompt.views[0].box


def test_the_pixels_of_every_picture_lie_under_its_own_tokens(session):
    prompt = session.prompt(QUESTION, (CROP,))
    found = session.pixel_gradients(prompt, max_log_probability)
    full, crop = found.pictures
    assert [each.view.image_index for each in (full, crop)] == [0, 1]
    assert crop.view.token_indices.min() >= len(prompt.features[0]) > full.view.token_indices.max()
    assert crop.view.token_indices.max() < prompt.visual_tokens
    assert all(float(gradient.abs().sum()) > 0 for gradient in found.gradients)


def test_the_gradient_of_a_crop_agrees_with_finite_differences(vlm, session):
    prompt = session.prompt(QUESTION, (CROP,))
    found = vlm.pixel_gradients(prompt, max_log_probability)
    inputs = vlm.processed(prompt.pictures[1].image)

    pixels = inputs["pixel_values"].clone().requires_grad_()
    tokens = torch.cat([prompt.features[0], vlm.features({**inputs, "pixel_values": pixels})])
    (gradient,) = torch.autograd.grad(max_log_probability(vlm.logits(prompt, tokens)), pixels)
    direction = gradient / gradient.norm()

    def value(step):
        moved = {**inputs, "pixel_values": inputs["pixel_values"] + step * direction}
        with torch.no_grad():
            tokens = torch.cat([prompt.features[0], vlm.features(moved)])
            return float(max_log_probability(vlm.logits(prompt, tokens).double()))

    expected = (value(1e-2) - value(-1e-2)) / 2e-2
    assert float(gradient.norm()) == pytest.approx(expected, rel=0.02)
    size = prompt.pictures[1].image.size
    known = vlm.model.config, vlm.processor, inputs
    torch.testing.assert_close(found.gradients[1], vlm.family.picture(*known, gradient, size))


# --- The seam ---


@pytest.mark.parametrize("neutral", [None, "Write a general description of the image."])
def test_token_gradients_pass_the_seam_unchanged(session, neutral):
    options = GroundingOptions(neutral_question=neutral)
    prompt = session.prompt(QUESTION, (CROP,))
    expected = token_relevance(session, prompt, options).relevance
    if neutral:
        other = session.vlm.prompt(neutral, session.encode((CROP,)))
        divisor = token_relevance(session, other, options).relevance
        expected = relative_relevance(expected, divisor, floor=options.neutral_floor)

    found = round_relevance(session, prompt, options)
    assert found.relevance.equal(expected)
    assert found.views == prompt.views


def test_the_relevance_of_pixels_is_their_mean_energy_in_each_cell(session):
    prompt = session.prompt(QUESTION, (CROP,))
    found = round_relevance(session, prompt, PIXELS)
    gradients = session.pixel_gradients(prompt, max_log_probability)
    on_cells = []
    for view, gradient in zip(found.views, gradients.gradients, strict=True):
        energy = gradient.norm(dim=0).double().numpy()
        cells = found.relevance.numpy()[view.token_indices]
        np.testing.assert_allclose(cells, pooled(energy, view.shape))
        on_cells.append(view.token_indices.ravel())

    outside = np.setdiff1d(np.arange(prompt.visual_tokens), np.concatenate(on_cells))
    assert not found.relevance.numpy()[outside].any()


@pytest.mark.parametrize("signal", ["gradient", "attention", "pixel_gradient"])
def test_tokens_without_detail_are_zero_and_no_other_is(session, signal):
    prompt = session.prompt(QUESTION, (CROP,))
    bare = GroundingOptions(signal=signal, mask="none", window=WindowOptions(median=3))
    masked = round_relevance(session, prompt, replace(bare, mask="detail"))
    unmasked = round_relevance(session, prompt, bare).relevance.double()

    for picture in session.pixels(prompt):
        detail = has_detail(picture.pixels, 3)
        share = pooled(detail.astype(float), picture.view.shape)
        where = picture.view.token_indices
        assert not masked.relevance.numpy()[where][share == 0].any()
        if signal != "pixel_gradient":
            expected = unmasked.numpy()[where] * share
            np.testing.assert_allclose(masked.relevance.numpy()[where], expected)
        full = share == 1
        np.testing.assert_allclose(masked.relevance.numpy()[where][full], unmasked[where][full])


@pytest.mark.parametrize(("signal", "same"), [("pixel_gradient", "detail"), ("gradient", "none")])
def test_the_default_mask_is_that_of_the_signal(session, signal, same):
    prompt = session.prompt(QUESTION, ())
    options = GroundingOptions(signal=signal)
    explicit = round_relevance(session, prompt, replace(options, mask=same))
    assert round_relevance(session, prompt, options).relevance.equal(explicit.relevance)


def test_pixel_gradients_are_of_the_log_probability_whatever_the_target(session):
    prompt = session.prompt(QUESTION, ())
    entropy = round_relevance(session, prompt, PIXELS)
    other = round_relevance(session, prompt, replace(PIXELS, target="max_log_probability"))
    assert entropy.relevance.equal(other.relevance)


def test_a_cached_vlm_gives_the_same_maps_of_pixels_and_attention(vlm, case):
    cached = CachedVLM(vlm)
    for signal in ("pixel_gradient", "attention"):
        options = GroundingOptions(signal=signal)
        expected = relevance_map(vlm, case.image(), QUESTION, options).values
        for _ in range(2):
            found = relevance_map(cached, case.image(), QUESTION, options).values
            np.testing.assert_array_equal(found, expected)


# --- The ranked search ---


def tried(session, options, monkeypatch):
    """Return the candidates that a search shows, in its order."""
    shown = []
    prompt = session.prompt

    def seen(question, crops):
        shown.extend(crops)
        return prompt(question, crops)

    monkeypatch.setattr(session, "prompt", seen)
    entropy_search(session, QUESTION, options, Privileged())
    return list(dict.fromkeys(shown))


@pytest.mark.parametrize("signal", ["gradient", "attention", "pixel_gradient"])
def test_a_search_tries_the_most_relevant_candidates_of_the_map(
    vlm, case, session, monkeypatch, signal
):
    options = GroundingOptions(signal=signal, crops="search", budget=BudgetOptions(tries=4))
    boxes = candidate_boxes(case.size, 16)
    best = ranked(boxes, relevance_map(vlm, case.image(), QUESTION, options))[:4]
    assert tried(session, options, monkeypatch) == best


def test_a_search_without_tries_makes_no_map_and_tries_all(case, session, monkeypatch):
    options = GroundingOptions(crops="search")
    assert tried(session, options, monkeypatch) == candidate_boxes(case.size, 16)
    assert session.ledger.cost().backwards == 0


def test_a_ranked_search_costs_a_map_and_its_tries(vlm, case):
    options = GroundingOptions(crops="search", budget=BudgetOptions(tries=4))
    found = ground(vlm, case.image(), QUESTION, options)
    assert (found.cost.forwards, found.cost.backwards) == (1 + 4, 1)
    assert len(found.steps) == 1
