"""Baselines on real models of all four families: attention, pixel gradients, every preset."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from entropy_grounding.app.question import ground_config
from entropy_grounding.baselines.privileged import Privileged
from entropy_grounding.baselines.vicrop import tiles
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box
from entropy_grounding.core.paths import CONF_DIR
from entropy_grounding.grounding import ground
from entropy_grounding.method.attribution import ATTRIBUTIONS
from entropy_grounding.method.gate import calibrated
from entropy_grounding.method.options import GroundingOptions, WindowOptions
from entropy_grounding.method.target import max_log_probability
from entropy_grounding.vlm.contexts import first_layers
from entropy_grounding.vlm.session import ImageSession

QUESTION = "What letter is on the red card?"
PRESETS = sorted(path.stem for path in Path(CONF_DIR, "method").glob("*.yaml"))


def test_attention_is_that_of_the_last_position_and_the_kernel_is_put_back(vlm, case):
    prompt = vlm.prompt(QUESTION, [vlm.encode(case.image())])
    decoder = vlm.model.get_decoder()
    found = vlm.attention(prompt)
    assert found.weights.shape == (2, 4, prompt.visual_tokens)
    assert (found.weights > 0).all()
    assert (found.weights.sum(-1) < 1).all()
    assert decoder.config._attn_implementation == "sdpa"
    with torch.no_grad():
        torch.testing.assert_close(found.logits, vlm.logits(prompt), atol=1e-5, rtol=1e-5)


def test_a_later_answer_token_is_seen_after_the_earlier_ones(vlm, case):
    picture = vlm.encode(case.image())
    prompt = vlm.prompt(QUESTION, [picture])
    ids = vlm._greedy(prompt, 1)
    prompt_and_first = vlm.continued(prompt, 1)
    if ids[0] in vlm.processor.tokenizer.all_special_ids:
        assert prompt_and_first.inputs["input_ids"].equal(prompt.inputs["input_ids"])
    else:
        assert prompt_and_first.inputs["input_ids"][0].equal(
            torch.cat([prompt.inputs["input_ids"][0], ids])
        )
        second = vlm._greedy(prompt, 2)[1]
        assert vlm.logits(prompt_and_first).argmax() == second


def test_the_first_layers_alone_skip_the_others_and_the_model_is_put_back(vlm, case):
    prompt = vlm.prompt(QUESTION, [vlm.encode(case.image())])
    whole = vlm.logits(prompt)
    ran = []
    hooks = [
        layer.register_forward_hook(lambda *_, n=n: ran.append(n))
        for n, layer in enumerate(vlm.model.get_decoder().layers)
    ]
    with first_layers(vlm.model, 1):
        vlm.logits(prompt)
    assert ran == [0]
    for hook in hooks:
        hook.remove()
    assert vlm.logits(prompt).equal(whole)


def test_more_layers_than_there_are_is_an_error(vlm, case):
    with (
        pytest.raises(InputError, match="method.decoder_layers is 3: this model has 2"),
        first_layers(vlm.model, 3),
    ):
        pass


def test_attention_follows_the_visual_tokens(vlm, case):
    """With all visual tokens equal but one, the weights of the first layer differ at that one only.

    Up to positions.
    """
    picture = vlm.encode(case.image())
    prompt = vlm.prompt(QUESTION, [picture])
    found = vlm.attention(prompt).weights
    changed = prompt.features[0].clone()
    changed[3] *= -3.0
    moved = vlm.attention(
        type(prompt)(prompt.text, prompt.inputs, (changed,), prompt.views)
    ).weights
    assert int((moved[0] - found[0]).abs().sum(0).argmax()) == 3


def test_the_gradient_of_attention_is_the_chain_rule_at_the_last_layer(vlm, case):
    """A head's output is sum_t A_t V_t, so dv/dA_t = <dv/d output, V_t>.

    Both sides come from a forward with the other kernel.
    """
    prompt = vlm.prompt(QUESTION, [vlm.encode(case.image())])
    layer = vlm.model.get_decoder().layers[-1].self_attn
    seen = {}
    hooks = [
        layer.v_proj.register_forward_hook(lambda _, args, out: seen.update(values=out)),
        layer.o_proj.register_forward_pre_hook(lambda _, args: seen.update(outputs=args[0])),
    ]
    logits = vlm.logits(prompt, torch.cat(prompt.features).requires_grad_())
    for hook in hooks:
        hook.remove()
    (gradient,) = torch.autograd.grad(max_log_probability(logits), seen["outputs"])
    heads, width = layer.config.num_attention_heads, layer.head_dim
    values = (
        seen["values"][0]
        .reshape(-1, layer.config.num_key_value_heads, width)
        .repeat_interleave(layer.num_key_value_groups, 1)
    )
    expected = torch.einsum("hd,thd->ht", gradient[0, -1].reshape(heads, width), values)
    places = prompt.inputs["input_ids"][0] == vlm.model.config.image_token_id
    found = vlm.attention(prompt, max_log_probability).gradients
    torch.testing.assert_close(found[-1], expected[:, places].detach(), atol=1e-6, rtol=1e-3)


def test_pixels_are_laid_out_as_the_view_shows_them(vlm, case):
    """A bright cell of the first view is the brightest block of the laid out pixels."""
    width, height = case.size
    view = vlm.encode(case.image()).views[0]
    inside = np.argwhere(view.cells_inside())
    row, col = (int(v) for v in inside[len(inside) // 2 + 1])
    cell = view.cell_box((row, col, row + 1, col + 1))
    image = Image.new("RGB", (width, height), "black")
    image.paste((255, 255, 255), tuple(round(v) for v in cell.xyxy()))
    found = vlm.pixel_gradients(vlm.prompt(QUESTION, [vlm.encode(image)]), max_log_probability)
    (picture,) = found.pictures
    assert picture.pixels.shape == found.gradients[0].shape
    rows, cols = picture.view.shape
    bright = picture.pixels.sum(0).numpy()
    blocks = bright.reshape(rows, bright.shape[0] // rows, cols, bright.shape[1] // cols).mean(
        (1, 3)
    )
    assert np.unravel_index(np.argmax(blocks), blocks.shape) == (row, col)


def test_the_pixel_gradient_agrees_with_finite_differences(vlm, case):
    picture = vlm.encode(case.image())
    prompt = vlm.prompt(QUESTION, [picture])
    (found,) = vlm.pixel_gradients(prompt, max_log_probability).gradients
    inputs = vlm.processed(picture.image)

    pixels = inputs["pixel_values"].clone().requires_grad_()
    logits = vlm.logits(
        vlm.prompt(QUESTION, [picture]), vlm.features({**inputs, "pixel_values": pixels})
    )
    (gradient,) = torch.autograd.grad(max_log_probability(logits), pixels)
    direction = gradient / gradient.norm()

    def value(step):
        with torch.no_grad():
            tokens = vlm.features(
                {**inputs, "pixel_values": inputs["pixel_values"] + step * direction}
            )
            return float(
                max_log_probability(vlm.logits(vlm.prompt(QUESTION, [picture]), tokens).double())
            )

    expected = (value(1e-2) - value(-1e-2)) / 2e-2
    assert float(gradient.norm()) == pytest.approx(expected, rel=0.02)
    laid_out = vlm.family.picture(
        vlm.model.config, vlm.processor, inputs, gradient, picture.image.size
    )
    torch.testing.assert_close(found, laid_out)


@pytest.mark.parametrize("signal", ATTRIBUTIONS)
def test_every_signal_runs_the_loop(vlm, case, signal):
    options = GroundingOptions(signal=signal, neutral_question="vlm")
    grounding = ground(vlm, case.image(), QUESTION, options)
    assert grounding.steps
    most = (
        2 * len(grounding.steps) * ATTRIBUTIONS[signal].backwards
    )  # fewer where crops were proposed again
    assert min(most, 2) <= grounding.cost.backwards <= most


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_answers_and_its_crops_lie_in_the_image(tiny_vlm, scene, preset):
    image, question = scene
    options = ground_config([f"method={preset}"]).method
    options = replace(options, gate=calibrated(options.gate, "tiny_llava", "mini_textvqa"))
    tiny_vlm.attention_layer = 2
    if options.crops == "upscaled":
        with pytest.raises(InputError, match="'tiny_llava' has no budget of pixels or tiles"):
            ground(tiny_vlm, image, question.text, options)
        return
    given = Privileged(
        evidence=question.evidence, like=(Box(10, 10, 50, 40), Box(100, 100, 130, 130))
    )
    grounding = ground(tiny_vlm, image, question.text, options, given=given)
    assert all(Box(0, 0, *image.size).intersection(box) == box for box in grounding.crops)
    assert grounding.answer
    assert grounding.plain_answer == "D"


def test_the_upscaled_image_has_about_the_tokens_of_image_and_crops(scene):
    from entropy_grounding import load_vlm

    vlm = load_vlm("tiny_qwen2_5_vl")
    like = (Box(10, 10, 50, 50), Box(100, 100, 140, 140))
    grounding = ground(
        vlm,
        scene[0],
        scene[1].text,
        GroundingOptions(crops="upscaled"),
        given=Privileged(like=like),
    )
    assert grounding.cost.visual_tokens == pytest.approx(3 * 64, rel=0.15)
    assert len(vlm.encode(scene[0]).features) == 64


@pytest.mark.parametrize("crops", ["oracle", "oracle_budget"])
def test_an_oracle_needs_evidence(tiny_vlm, scene, crops):
    with pytest.raises(
        InputError, match=f"method.crops is '{crops}': such crops need evidence boxes"
    ):
        ground(tiny_vlm, scene[0], "What?", GroundingOptions(crops=crops))


@pytest.mark.parametrize("layer", [None, 4, -1])
def test_a_chosen_layer_must_exist(tiny_vlm, scene, layer):
    tiny_vlm.attention_layer = layer
    with pytest.raises(
        InputError,
        match=f"vlm.attention_layer is {layer}: method.layers=chosen needs one from 0 to 3",
    ):
        ground(tiny_vlm, scene[0], "What?", GroundingOptions(signal="attention", layers="chosen"))


@pytest.mark.parametrize(
    ("size", "grid"), [((800, 1000), (1, 1)), ((2000, 1000), (2, 1)), ((1000, 2100), (1, 3))]
)
def test_tiles_of_high_resolution_also_for_portraits(random_vlm, size, grid):
    """Columns = int(rows * width / height), where the released code may have none."""
    session = ImageSession(
        random_vlm,
        Image.fromarray(
            np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
        ),
    )
    found = tiles(session, 1024)
    assert (len(found[0]), len(found)) == grid
    assert found[-1][-1].box.x1 == pytest.approx(size[0], abs=grid[0])
    assert found[-1][-1].box.y1 == pytest.approx(size[1], abs=grid[1])


def test_high_resolution_reads_every_tile(tiny_vlm, scene):
    options = GroundingOptions(
        signal="attention", crops="window", window=WindowOptions(high_res=True, tile=128)
    )
    grounding = ground(tiny_vlm, scene[0], scene[1].text, options)
    assert grounding.steps[0].maps[0].values.shape == (16, 16)
    assert grounding.cost.forwards == 4 + 2
