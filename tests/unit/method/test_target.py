"""Targets against values derived by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entropy_grounding.core.errors import InputError
from entropy_grounding.method.target import (
    TARGETS,
    kl_to_uniform,
    margin,
    max_log_probability,
    next_token_entropy,
    nucleus_entropy,
)

FINITE = st.floats(-30, 30)


def logits_of(*probabilities):
    return torch.tensor(probabilities, dtype=torch.float64).log()


def test_entropy_of_uniform_logits_is_log_n():
    assert next_token_entropy(torch.zeros(197)).item() == pytest.approx(math.log(197), rel=1e-6)


def test_entropy_of_a_certain_token_is_zero():
    assert next_token_entropy(torch.tensor([0.0, float("-inf"), float("-inf")])).item() == 0.0


def test_entropy_of_half_quarter_quarter():
    assert next_token_entropy(logits_of(0.5, 0.25, 0.25)).item() == pytest.approx(1.5 * math.log(2))


def test_entropy_keeps_leading_shape():
    assert next_token_entropy(torch.zeros(2, 3, 5)).shape == (2, 3)


def test_entropy_of_a_single_vector_is_a_scalar():
    assert next_token_entropy(torch.zeros(5)).shape == ()


def test_impossible_tokens_give_no_nan_gradient():
    logits = torch.tensor([1.0, 2.0, float("-inf")], requires_grad=True)
    (gradient,) = torch.autograd.grad(next_token_entropy(logits), logits)
    assert torch.isfinite(gradient).all()
    assert gradient[2] == 0


@given(st.lists(FINITE, min_size=2, max_size=20))
def test_entropy_gradient_is_minus_p_times_log_p_plus_entropy(values):
    """DH/dz_i = -p_i (log p_i + H), by hand."""
    logits = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    entropy = next_token_entropy(logits)
    (gradient,) = torch.autograd.grad(entropy, logits)
    log_p = torch.log_softmax(logits.detach(), -1)
    torch.testing.assert_close(
        gradient, -log_p.exp() * (log_p + entropy.detach()), atol=1e-12, rtol=1e-9
    )


def test_half_precision_logits_are_raised_to_float32():
    logits = torch.randn(32_000, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    assert next_token_entropy(logits).dtype == torch.float32
    assert next_token_entropy(logits).item() == pytest.approx(
        next_token_entropy(logits.double()).item(), rel=1e-6
    )


def test_nucleus_keeps_the_fewest_tokens_that_reach_top_p():
    """0.5 + 0.3 < 0.9 <= 0.5 + 0.3 + 0.15: three tokens, renormalised by 0.95."""
    shares = [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95]
    assert nucleus_entropy(logits_of(0.5, 0.3, 0.15, 0.05)).item() == pytest.approx(
        -sum(p * math.log(p) for p in shares)
    )


def test_nucleus_of_everything_is_the_entropy():
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(nucleus_entropy(logits, top_p=1.1), next_token_entropy(logits))


def test_kl_to_uniform_is_log_n_minus_entropy():
    logits = logits_of(0.5, 0.25, 0.25)
    assert kl_to_uniform(logits).item() == pytest.approx(math.log(3) - 1.5 * math.log(2))


def test_max_log_probability_and_margin():
    logits = logits_of(0.1, 0.6, 0.3)
    assert max_log_probability(logits).item() == pytest.approx(math.log(0.6))
    assert margin(logits).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", TARGETS)
def test_unsound_logits_are_refused(name, bad):
    with pytest.raises(InputError, match="1 NaN or infinite logits"):
        TARGETS[name](torch.tensor([0.0, bad, 1.0]))
