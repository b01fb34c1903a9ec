"""Opt-in: models with the released sizes and random weights on a GPU.

``pytest -m gpu tests/gpu/test_released_shapes.py``; needs no checkpoint, and a GPU of 40 GB.
"""

import pytest
import torch
from transformers.utils import is_flash_attn_2_available

from entropy_grounding.profiling.random_vlm import SHAPES, with_layers
from support.released import (
    built,
    check_budget,
    check_checkpointing,
    check_finite_differences,
    check_kernel,
    check_logits,
    check_precision,
    freed,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
HALF = {"device": "cuda", "dtype": torch.bfloat16}
FLASH = pytest.param(
    "flash_attention_2",
    marks=pytest.mark.skipif(not is_flash_attn_2_available(), reason="flash-attn is not installed"),
)


@pytest.fixture
def told(record_property):
    """Keep the figures of a check in the report."""

    def tell(figures):
        for name, value in figures.items():
            record_property(name, value)

    yield tell
    freed()


@pytest.fixture(scope="module", params=list(SHAPES))
def whole(request):
    """All layers in bfloat16; one model at a time."""
    freed()
    vlm = built(request.param, SHAPES[request.param], **HALF)
    yield vlm
    del vlm
    freed()


# The whole models come first: pytest runs all tests of one before the next is built.


def test_logits_are_finite_and_hidden_states_keep_their_scale(whole, told):
    told(check_logits(whole))


def test_checkpointing_gives_the_same_map_with_less_memory(whole, told):
    told(check_checkpointing(whole))


@pytest.mark.parametrize("kernel", [FLASH, "eager"])
def test_another_kernel_gives_the_map_of_sdpa(whole, kernel, told):
    told(check_kernel(whole, kernel))


def test_a_grounding_at_the_budgets_of_the_paper_fits(whole, told):
    told(check_budget(whole))


@pytest.mark.parametrize("name", list(SHAPES))
def test_the_gradient_is_that_of_finite_differences(name, told):
    told(check_finite_differences(built(name, with_layers(SHAPES[name], 2), device="cuda")))


@pytest.mark.parametrize("name", list(SHAPES))
def test_a_map_in_bfloat16_ranks_tokens_as_in_float32(name, told):
    told(check_precision(built(name, with_layers(SHAPES[name], 8), **HALF)))
