"""Runs of real checkpoints: no value of a tiny VLM, and nothing found out row by row."""

from dataclasses import replace

import pytest

from entropy_grounding.core.errors import InputError
from entropy_grounding.evaluation.config import EvaluateConfig, fingerprint, resolved
from entropy_grounding.experiments.config import evaluations, experiments, load_experiment
from entropy_grounding.method.options import GroundingOptions, at_depth
from entropy_grounding.vlm.registry import BIG_SIBLINGS

TINY_SIDE = 64  # pixels: full detail for a tiny VLM


@pytest.mark.parametrize("name", experiments())
@pytest.mark.parametrize("run", ["full", "pilot"])
def test_layers_follow_the_depth_of_the_vlm(name, run):
    for variant, config in evaluations(load_experiment(name, run)):
        options = " ".join(variant.overrides)
        assert "decoder_layers" not in options
        assert "gradient_layer=" not in options
        assert config.method.stopping.min_pixels > TINY_SIDE
        assert config.method.depths == (None, None)  # numbers by now


def test_a_fraction_becomes_the_layer_of_each_vlm():
    setup = load_experiment("ablation_token_layer", "full", method="depth_0.25,depth_0.75")
    layers = {
        (config.vlm.name, variant.name): config.method.decoder_layers
        for variant, config in evaluations(setup)
    }
    assert layers[("llava_1_5_7b", "depth_0.25")] == 8
    assert layers[("llava_1_5_7b", "depth_0.75")] == 24
    assert layers[("qwen2_5_vl_7b", "depth_0.25")] == 7
    assert layers[("qwen2_5_vl_7b", "depth_0.75")] == 21


@pytest.mark.parametrize(
    ("fraction", "number"),
    [
        ({"decoder_depth": 0.25}, {"decoder_layers": 1}),
        ({"decoder_depth": 0.75}, {"decoder_layers": 3}),
        ({"gradient_depth": 0.25}, {"gradient_layer": 1}),
        ({"gradient_depth": 0.5}, {"gradient_layer": 2}),
    ],
)
def test_a_fraction_of_a_tiny_vlm_has_the_hash_of_its_layer(fraction, number):
    config = next(evaluations(load_experiment("table1", "smoke")))[1]
    by_fraction = resolved(replace(config, method=GroundingOptions(**fraction)))
    by_number = resolved(replace(config, method=GroundingOptions(**number)))
    assert by_fraction == by_number
    assert fingerprint(by_fraction) == fingerprint(by_number)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder_layers": 5}, "method.decoder_layers is 5: this model has 4; use"),
        ({"gradient_layer": 4}, "method.gradient_layer is 4: this model has 4 layers, from 0"),
    ],
)
def test_a_layer_that_the_vlm_lacks_is_refused_before_it_is_loaded(options, message):
    config = next(evaluations(load_experiment("table1", "smoke")))[1]
    with pytest.raises(InputError, match=message):
        resolved(replace(config, method=GroundingOptions(**options)))


@pytest.mark.parametrize("depth", [-0.1, 1.1])
def test_a_depth_is_a_fraction(depth):
    with pytest.raises(InputError, match="use a fraction from 0 to 1"):
        GroundingOptions(decoder_depth=depth)


def test_a_depth_and_a_number_are_one_too_many():
    with pytest.raises(InputError, match="use one of the two"):
        GroundingOptions(gradient_depth=0.5, gradient_layer=2)


@pytest.mark.parametrize("layers", [1, 4, 28, 36])
def test_every_depth_names_a_layer_that_exists(layers):
    for depth in (0.0, 0.01, 0.5, 0.99, 1.0):
        assert 1 <= at_depth(GroundingOptions(decoder_depth=depth), layers).decoder_layers <= layers
        assert 0 <= at_depth(GroundingOptions(gradient_depth=depth), layers).gradient_layer < layers


@pytest.mark.parametrize("name", sorted({*BIG_SIBLINGS.values()} - {"llava_1_5_7b"}))
def test_attention_of_a_chosen_layer_is_refused_where_none_is_chosen(name):
    setup = load_experiment("table1", "full", vlm=name, method="vicrop_rel_att")
    config = next(evaluations(setup))[1]
    chosen = replace(config, method=replace(config.method, layers="chosen"))
    with pytest.raises(InputError, match=f"vlm.attention_layer of '{name}' is not set"):
        resolved(chosen)


def test_an_attention_layer_that_the_vlm_lacks_is_refused():
    setup = load_experiment("table1", "full", vlm="llava_1_5_7b", method="vicrop_rel_att")
    config = next(evaluations(setup))[1]
    vlm = replace(config.vlm, attention_layer=32)
    with pytest.raises(InputError, match="needs one from 0 to 31"):
        resolved(EvaluateConfig(vlm, config.benchmark, replace(config.method, layers="chosen")))


def test_a_pilot_is_the_full_run_with_fewer_examples():
    for name in experiments():
        pilot, full = (list(evaluations(load_experiment(name, run))) for run in ("pilot", "full"))
        assert [each.name for each, _ in pilot] == [each.name for each, _ in full]
        for (_, small), (_, whole) in zip(pilot, full, strict=True):
            assert fingerprint_sections(small) == fingerprint_sections(whole)
            assert small.benchmark.examples == 100


def fingerprint_sections(config):
    """What the hash is made of, without asking the hub for commits."""
    return config.vlm, config.method, replace(config.benchmark, examples=None)
