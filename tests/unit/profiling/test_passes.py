"""The benchmark of cost: what its figures are made of."""

import pytest
import torch

from entropy_grounding.profiling.passes import (
    big_memory,
    by_operation,
    interleaved,
    operation_times,
)
from entropy_grounding.profiling.random_vlm import SHAPES, shaped

# of the safetensors files on the hub
PARAMETERS = {
    "llava_1_5_7b": 7_063_427_072,
    "llava_1_6_mistral_7b": 7_566_747_648,
    "internvl3_5_8b": 8_528_318_464,
    "qwen2_5_vl_7b": 8_292_166_656,
}


@pytest.mark.parametrize("name", list(PARAMETERS))
def test_shapes_have_as_many_weights_as_the_released_checkpoints(name):
    config, _, kind = shaped(SHAPES[name])
    with torch.device("meta"):
        model = kind(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]


def test_ratios_are_to_the_reference_of_the_same_repeat(monkeypatch):
    now = iter([0, 1, 1, 3, 10, 12, 12, 18])  # two repeats: 1 and 2 seconds, then 2 and 6
    monkeypatch.setattr("time.perf_counter", lambda: float(next(now)))
    monkeypatch.setattr("entropy_grounding.profiling.released.tqdm", lambda each, **_: each)
    assert interleaved({"plain": int, "map": int}, 2, "plain") == {"plain": 1.0, "map": 2.5}


def attend_and_multiply():
    matrix = torch.ones(1, 1, 64, 64)
    return torch.nn.functional.scaled_dot_product_attention(
        matrix, matrix, matrix[0, 0] @ matrix + 1
    )


def test_operations_are_counted_by_kind():
    assert operation_times(lambda: torch.ones(64, 64) @ torch.ones(64, 64))["attention"] == 0
    assert all(spent > 0 for spent in operation_times(attend_and_multiply).values())


def test_the_shares_of_operations_are_those_of_a_plain_forward():
    found = by_operation({"plain": attend_and_multiply, "map": attend_and_multiply})
    assert sum(
        value for name, value in found.items() if name.startswith("plain, share of")
    ) == pytest.approx(1)
    assert {name for name in found if name.startswith("map")} == {
        "map, matrix products",
        "map, attention",
        "map, the rest",
    }


def test_a_map_of_16_000_tokens_of_the_7b_model_fits_with_checkpointing_only():
    whole, saving = big_memory(16_000).values()
    assert saving < 40 < whole
    assert big_memory(8_000)["Qwen2.5-VL 7B, map of 8,000 tokens, GB"] < whole
