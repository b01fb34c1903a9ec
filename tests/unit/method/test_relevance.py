import numpy as np
import pytest
import torch
from captum.attr import InputXGradient

from entropy_grounding.core.geometry import Box, View
from entropy_grounding.method.relevance import (
    gradient_norm,
    gradient_x_input,
    norm_product,
    relative_relevance,
    relevance_maps,
    robust_norm,
)
from entropy_grounding.method.target import next_token_entropy


def test_norm_of_three_four_is_five():
    assert robust_norm(torch.tensor([[3.0, 4.0]])).item() == 5.0


@pytest.mark.parametrize(
    ("dtype", "size"),
    [(torch.float16, 6e-8), (torch.float16, 6e4), (torch.bfloat16, 1e-38), (torch.float32, 1e38)],
)
def test_norm_neither_under_nor_overflows(dtype, size):
    """Four equal entries x have norm 2|x|, also where x^2 leaves the range of the type."""
    row = torch.full((1, 4), size, dtype=dtype)
    assert robust_norm(row).item() == pytest.approx(2 * row[0, 0].double().item(), rel=1e-9)


def test_norm_of_a_zero_gradient_is_zero():
    assert robust_norm(torch.zeros(2, 3)).tolist() == [0.0, 0.0]


def test_norm_product_is_scale_free():
    """Pre-norm layers see directions only: a token times c has 1/c of the gradient."""
    gradients, embeddings = torch.randn(5, 8), torch.randn(5, 8)
    torch.testing.assert_close(
        norm_product(gradients / 4, embeddings * 4), norm_product(gradients, embeddings)
    )


def test_gradient_x_input_agrees_with_captum():
    """Captum computes input * gradient independently.

    Ours is the magnitude of its sum over channels.
    """
    torch.manual_seed(0)
    head = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(6 * 4, 10), torch.nn.Tanh(), torch.nn.Linear(10, 7)
    ).double()
    tokens = torch.randn(1, 6, 4, dtype=torch.float64, requires_grad=True)
    theirs = (
        InputXGradient(lambda x: next_token_entropy(head(x))).attribute(tokens).sum(-1).abs()[0]
    )
    (gradient,) = torch.autograd.grad(next_token_entropy(head(tokens)).sum(), tokens)
    torch.testing.assert_close(gradient_x_input(gradient[0], tokens[0]), theirs.detach())


def test_relative_relevance_of_the_same_map_is_one():
    relevance = torch.tensor([1.0, 2.0, 3.0])
    assert relative_relevance(relevance, relevance).tolist() == [1.0, 1.0, 1.0]


def test_relative_relevance_to_an_empty_map_is_empty():
    assert relative_relevance(torch.tensor([1.0, 2.0]), torch.zeros(2)).tolist() == [0.0, 0.0]


def test_gradient_norm_ignores_embeddings():
    gradients = torch.randn(4, 3)
    assert torch.equal(
        gradient_norm(gradients, torch.randn(4, 3)), gradient_norm(gradients, torch.zeros(4, 3))
    )


def test_padding_cells_carry_no_relevance():
    """A 40 x 20 image padded to 40 x 40: the first and last of four rows are padding."""
    view = View(0, np.arange(16).reshape(4, 4), Box(0, -10, 40, 30), Box(0, 0, 40, 20))
    (found,) = relevance_maps(torch.ones(16), [view], lambda shape: 0.0)
    assert found.values.sum(axis=1).tolist() == [0, 4, 4, 0]
    assert not found.inside[0].any()
    assert found.inside[1].all()


def test_padding_does_not_dim_the_border_of_the_image():
    """A constant relevance stays constant on the image, however its padding is blurred."""
    view = View(0, np.arange(64).reshape(8, 8), Box(0, -20, 80, 60), Box(0, 0, 80, 40))
    (found,) = relevance_maps(torch.ones(64), [view], lambda shape: 1.0)
    np.testing.assert_allclose(found.smoothed[2:6], 1.0)
    assert not found.smoothed[[0, 1, 6, 7]].any()


def test_tokens_land_in_the_cells_that_the_view_names():
    view = View(0, np.array([[3, 2], [1, 0]]), Box(0, 0, 2, 2))
    (found,) = relevance_maps(torch.tensor([0.0, 1.0, 2.0, 3.0]), [view], lambda shape: 0.0)
    assert found.values.tolist() == [[3, 2], [1, 0]]
