"""Targets: scalars of the next-token distribution that are differentiated (paper, step 2).

Every target maps logits ``(..., vocabulary)`` to ``(...)``. Half precision is raised to float32,
and 0 log 0 = 0.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from entropy_grounding.core.errors import InputError
from entropy_grounding.vlm.types import Target


def log_probabilities(
    logits: Float[Tensor, "*batch vocabulary"],
) -> Float[Tensor, "*batch vocabulary"]:
    """Return log-probabilities in at least float32.

    Raises:
        InputError: for a NaN or +inf logit.
    """
    bad = torch.isnan(logits) | torch.isposinf(logits)
    if bool(bad.any()):
        raise InputError(
            f"The model returned {int(bad.sum())} NaN or infinite logits of {logits.numel()}: "
            "the weights or the precision are unsound; try dtype=float32."
        )

    wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    return torch.log_softmax(wide, dim=-1)


def _negative_p_log_p(log_p: Tensor) -> Tensor:
    """Return -sum p log p with 0 log 0 = 0, also for the gradient."""
    possible = log_p > float("-inf")
    safe = torch.where(possible, log_p, torch.zeros_like(log_p))
    terms = torch.where(possible, safe.exp() * safe, torch.zeros_like(log_p))

    return -terms.sum(-1)


def next_token_entropy(
    logits: Float[Tensor, "*batch vocabulary"],
) -> Float[Tensor, "*batch"]:
    """Return the entropy -sum p log p of the next-token distribution, in nats (paper, step 2)."""
    return _negative_p_log_p(log_probabilities(logits))


def nucleus_entropy(
    logits: Float[Tensor, "*batch vocabulary"], top_p: float = 0.9
) -> Float[Tensor, "*batch"]:
    """Return the entropy in nats of the renormalised nucleus.

    The nucleus is the fewest tokens whose probabilities reach ``top_p``.
    """
    log_p = log_probabilities(logits)
    ordered, order = log_p.detach().sort(dim=-1, descending=True)
    before = ordered.exp().cumsum(-1) - ordered.exp()  # probability of all likelier tokens
    kept = torch.zeros_like(log_p, dtype=torch.bool).scatter(-1, order, before < top_p)

    nucleus = log_p.masked_fill(~kept, float("-inf"))
    return _negative_p_log_p(torch.log_softmax(nucleus, dim=-1))


def max_log_probability(
    logits: Float[Tensor, "*batch vocabulary"],
) -> Float[Tensor, "*batch"]:
    """Return log p of the most likely token, in nats (the confidence of the greedy answer)."""
    return log_probabilities(logits).amax(-1)


def kl_to_uniform(logits: Float[Tensor, "*batch vocabulary"]) -> Float[Tensor, "*batch"]:
    """Return KL(p || uniform) = log n - H, in nats.

    Its gradient is minus that of the entropy, so the map is the same.
    """
    log_p = log_probabilities(logits)
    tokens = log_p.new_tensor(float(log_p.shape[-1]))

    return torch.log(tokens) - _negative_p_log_p(log_p)


def margin(logits: Float[Tensor, "*batch vocabulary"]) -> Float[Tensor, "*batch"]:
    """Return the log-probability of the most likely token minus that of the second, in nats."""
    best = log_probabilities(logits).topk(2, dim=-1).values
    return best[..., 0] - best[..., 1]


TARGETS: dict[str, Target] = {
    "entropy": next_token_entropy,
    "nucleus_entropy": nucleus_entropy,
    "max_log_probability": max_log_probability,
    "kl_to_uniform": kl_to_uniform,
    "margin": margin,
}
