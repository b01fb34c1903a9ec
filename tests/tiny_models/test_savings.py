"""What is saved is exact: kept passes, shared prefixes, checkpointing, shared variants.

What is approximate is bounded.
"""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from entropy_grounding.benchmarks.config import Protocol
from entropy_grounding.core.config import compose_config
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box
from entropy_grounding.evaluation.config import EvaluateConfig
from entropy_grounding.evaluation.rows import TIMES, WALL_TIMES
from entropy_grounding.evaluation.run import evaluate, evaluate_together
from entropy_grounding.grounding import ground
from entropy_grounding.method.gate import GateOptions, uncertainty
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.method.stopping import StoppingOptions
from entropy_grounding.method.target import next_token_entropy
from entropy_grounding.vlm.memory import map_bytes
from entropy_grounding.vlm.session import ImageSession
from support.families import GEOMETRIES, TINY, Case

QUESTION = "what is it ?"
CROPS = (Box(8, 6, 48, 38), Box(0, 0, 40, 40))
THREE_ROUNDS = StoppingOptions(rule="fixed", rounds=3)
ONE_A_FAMILY = pytest.mark.parametrize(
    "case",
    [
        Case(name, build, variants[0], sizes[0])
        for name, (build, variants, sizes) in GEOMETRIES.items()
    ]
    + TINY[::2],
    ids=lambda case: case.name,
)


def prompts_of(case):
    vlm, image = case.vlm(), case.image()
    full = vlm.encode(image)
    return (
        vlm,
        vlm.prompt(QUESTION, [full]),
        vlm.prompt(QUESTION, [full, *(vlm.encode(image, box) for box in CROPS)]),
    )


@ONE_A_FAMILY
def test_a_prompt_goes_on_behind_the_kept_full_image(case):
    vlm, plain, prompt = prompts_of(case)
    kept = vlm.run([plain], keep=True).detached()
    (whole,), behind = (
        vlm.gradients([prompt], next_token_entropy),
        vlm.continue_from(kept, prompt),
    )
    (found,) = vlm.backward(behind, next_token_entropy)
    torch.testing.assert_close(found.logits, whole.logits, atol=1e-4, rtol=1e-4)
    crops = whole.gradients[len(plain.features[0]) :]
    assert found.gradients.shape == crops.shape
    assert (found.gradients - crops).norm() <= 1e-3 * crops.norm()
    assert 0 < behind.start < prompt.length


@ONE_A_FAMILY
def test_an_answer_from_a_kept_pass_is_that_of_the_prompt_run_anew(case):
    vlm, plain, prompt = prompts_of(case)
    kept = vlm.run([plain], keep=True).detached()
    behind = vlm.continue_from(kept, prompt, graph=False)
    vlm.run([plain], graph=False)  # the model has seen another prompt since
    assert vlm.generate(prompt, max_new_tokens=6, after=behind) == vlm.generate(
        prompt, max_new_tokens=6
    )
    assert vlm.generate(plain, max_new_tokens=6, after=kept) == vlm.generate(
        plain, max_new_tokens=6
    )


@ONE_A_FAMILY
def test_reuse_changes_no_map_and_no_answer(case):
    vlm, image = case.vlm(), case.image()
    exact, off = (
        ground(vlm, image, QUESTION, GroundingOptions(stopping=THREE_ROUNDS, reuse=reuse))
        for reuse in ("exact", "off")
    )
    assert (exact.answer, exact.plain_answer) == (off.answer, off.plain_answer)
    np.testing.assert_allclose(
        [box.xyxy() for box in exact.crops], [box.xyxy() for box in off.crops], rtol=1e-6
    )
    for one, other in zip(exact.steps, off.steps, strict=True):
        for mine, theirs in zip(one.maps, other.maps, strict=True):
            np.testing.assert_allclose(mine.values, theirs.values, atol=1e-4 * theirs.values.max())
    assert exact.cost.lm_tokens < off.cost.lm_tokens


@ONE_A_FAMILY
def test_checkpointing_changes_no_gradient_and_leaves_the_model_as_it_was(case):
    vlm, _, prompt = prompts_of(case)
    usual = vlm.gradient(prompt, next_token_entropy)
    vlm.checkpointing = "on"
    saving = vlm.gradient(prompt, next_token_entropy)
    torch.testing.assert_close(saving.gradients, usual.gradients, atol=1e-7, rtol=1e-4)
    layers = vlm.model.get_decoder().layers
    assert not any(layer.gradient_checkpointing or layer.training for layer in layers)


def test_checkpointing_begins_where_a_map_would_take_half_of_the_memory(tiny_vlm, monkeypatch):
    needed = map_bytes(tiny_vlm.model.config, torch.float32, 100)
    for free, expected in ((2 * needed + 1, False), (2 * needed - 1, True)):
        monkeypatch.setattr(
            "psutil.virtual_memory", lambda free=free: type("Memory", (), {"available": free})
        )
        assert tiny_vlm.checkpoints(100) == expected


@ONE_A_FAMILY
def test_the_gradient_at_the_first_layer_is_that_of_the_visual_tokens(case):
    vlm, _, prompt = prompts_of(case)
    (early,) = vlm.backward(vlm.run_from_layer(prompt, 0), next_token_entropy)
    # Of Qwen3-VL that is the part that enters at the embeddings.
    width = early.gradients.shape[1]
    whole = vlm.gradient(prompt, next_token_entropy).gradients
    torch.testing.assert_close(early.gradients, whole[:, :width], atol=1e-7, rtol=1e-4)


def test_a_layer_that_the_model_does_not_have_is_refused(tiny_vlm, scene):
    with pytest.raises(InputError, match="gradient_layer is 9: this model has 4"):
        ground(tiny_vlm, scene[0], scene[1].text, GroundingOptions(gradient_layer=9))


def test_later_rounds_on_crops_keep_the_first_map_of_the_full_image(tiny_vlm, scene):
    image, question = scene
    found = ground(
        tiny_vlm, image, question.text, GroundingOptions(stopping=THREE_ROUNDS, reground="crops")
    )
    first = found.steps[0].maps[0].values
    assert all(np.array_equal(step.maps[0].values, first) for step in found.steps)
    assert len(found.steps[1].maps) == 1 + len(found.steps[1].crops)
    exact = ground(tiny_vlm, image, question.text, GroundingOptions(stopping=THREE_ROUNDS))
    assert found.cost.lm_tokens < exact.cost.lm_tokens


@pytest.mark.parametrize(
    "options",
    [
        {"reuse": "off"},
        {"signal": "attention"},
        {"answer_token": 2},
        {"neutral_question": "what ?"},
    ],
)
def test_later_rounds_on_crops_need_kept_passes(options):
    with pytest.raises(InputError, match="reground is 'crops'"):
        GroundingOptions(reground="crops", **options)


def test_smaller_crops_need_a_family_with_a_budget(tiny_vlm, scene):
    with pytest.raises(
        InputError, match=r"crop_scale is 0.5: the pictures of 'tiny_llava' have no budget"
    ):
        ground(tiny_vlm, scene[0], scene[1].text, GroundingOptions(crop_scale=0.5))


def test_smaller_crops_have_fewer_visual_tokens():
    case = next(case for case in TINY if case.options["family"] == "qwen2_5_vl")
    vlm, image = case.vlm(), case.image()
    box = Box(0, 0, image.width / 2, image.height / 2)
    whole, half = (
        len(ImageSession(vlm, image, crop_scale=scale).encode([box])[1].features)
        for scale in (1.0, 0.25)
    )
    assert half < whole


def plain_uncertainty(vlm, scene):
    image, question = scene
    return uncertainty(vlm.logits(vlm.prompt(question.text, [vlm.encode(image)])))


@pytest.mark.parametrize(("difference", "reason"), [(0.01, "gated"), (-0.01, None)])
def test_the_gate_answers_at_once_where_the_model_is_sure_enough(
    tiny_vlm, scene, difference, reason
):
    image, question = scene
    gate = GateOptions("entropy", plain_uncertainty(tiny_vlm, scene).entropy + difference)
    found = ground(tiny_vlm, image, question.text, GroundingOptions(gate=gate))
    assert (found.stop_reason == "gated") == (reason == "gated")
    if reason:
        assert (found.answer, found.crops, found.steps) == (found.plain_answer, (), ())
        assert (found.cost.forwards, found.cost.backwards) == (1, 0)


def test_a_gate_that_lets_through_costs_nothing_more(tiny_vlm, scene):
    image, question = scene
    usual = ground(tiny_vlm, image, question.text)
    gated = ground(
        tiny_vlm, image, question.text, GroundingOptions(gate=GateOptions("entropy", -math.inf))
    )
    assert (gated.cost.forwards, gated.cost.backwards, gated.answer) == (
        usual.cost.forwards,
        usual.cost.backwards,
        usual.answer,
    )


def test_a_sure_answer_from_crops_ends_the_zoom_before_the_next_map(tiny_vlm, scene):
    image, question = scene
    gate = GateOptions("entropy", -math.inf, settle=math.inf)
    found = ground(
        tiny_vlm, image, question.text, GroundingOptions(gate=gate, stopping=THREE_ROUNDS)
    )
    assert (found.stop_reason, len(found.steps)) == ("sure", 1)
    assert found.crops == tuple(region.box for region in found.steps[0].regions)
    assert (found.cost.forwards, found.cost.backwards) == (2, 1)


def test_acceptance_keeps_the_surer_of_both_answers(tiny_vlm, scene):
    image, question = scene
    found = ground(
        tiny_vlm, image, question.text, GroundingOptions(gate=GateOptions(accept="entropy"))
    )
    assert found.before is not None
    assert found.after is not None
    kept = found.after.entropy < found.before.entropy
    assert (found.stop_reason == "declined") != kept
    assert found.answer == (
        ground(tiny_vlm, image, question.text).answer if kept else found.plain_answer
    )


def config(folder, *changes, name="any"):
    overrides = [
        "benchmark=mini_textvqa",
        "benchmark.examples=3",
        "tracking=disabled",
        f"results_dir={folder}",
        f"method_name={name}",
    ]
    return compose_config([*overrides, *changes], "evaluate", EvaluateConfig)


VARIANTS = {
    "paper": ["method=entropy_gradient"],
    "margin": ["method=entropy_gradient", "method.target=margin"],
    "two": ["method=entropy_gradient", "method.stopping.rule=fixed", "method.stopping.rounds=2"],
    "crops": ["method=entropy_gradient", "method.reground=crops"],
    "gated": [
        "method=entropy_gradient",
        "method.gate.score=entropy",
        "method.gate.threshold=1.9",
        "method.gate.accept=margin",
    ],
}


def test_methods_evaluated_together_give_the_rows_of_separate_runs(tmp_path, tiny_vlm):
    together = evaluate_together(
        [config(tmp_path / "one", *changes, name=name) for name, changes in VARIANTS.items()],
        tiny_vlm,
    )
    for (name, changes), rows in zip(VARIANTS.items(), together, strict=True):
        alone = evaluate(config(tmp_path / "other", *changes, name=name), tiny_vlm)
        pd.testing.assert_frame_equal(
            rows.drop(columns=list(TIMES)), alone.drop(columns=list(TIMES))
        )
        assert rows[list(WALL_TIMES)].isna().all(axis=None)


def test_only_methods_may_differ_between_configurations_evaluated_together(tmp_path, tiny_vlm):
    first = config(tmp_path)
    other = replace(
        first,
        benchmark=replace(
            first.benchmark, protocol=replace(first.benchmark.protocol, ocr_tokens=True)
        ),
    )
    with pytest.raises(InputError, match="Only methods may differ"):
        evaluate_together([first, other], tiny_vlm)
    assert isinstance(first.benchmark.protocol, Protocol)
