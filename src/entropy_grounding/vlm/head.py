"""The output layer in float32: next-token logits of a half-precision model without coarse steps.

At a logit of 20, bfloat16 has steps of 0.125. Entropy, margin and the thresholds of the gate would
be as coarse.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

_HALF = (torch.bfloat16, torch.float16)
_ROWS = 16_384  # words of the vocabulary at a time: 268 MB of float32 weights at a width of 4,096


class _Float32Product(torch.autograd.Function):
    """The product of hidden states and a weight matrix that is turned to float32 part by part."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor) -> Tensor:
        """Return ``hidden`` (..., dim) times ``weight`` (vocabulary, dim), transposed."""
        ctx.save_for_backward(weight)
        parts = [hidden @ rows.float().T for rows in weight.split(_ROWS)]
        return torch.cat(parts, dim=-1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Return the gradient at the hidden states; the weights get none."""
        (weight,) = ctx.saved_tensors
        parts = zip(gradients[0].split(_ROWS, dim=-1), weight.split(_ROWS), strict=True)

        total = torch.zeros((), device=gradients[0].device)
        for gradient, rows in parts:
            total = total + gradient @ rows.float()
        return total, None


def float32_logits(
    hidden: Float[Tensor, "*batch dim"], head: torch.nn.Linear
) -> Float[Tensor, "*batch vocabulary"]:
    """Return the logits of hidden states, computed in float32 from the stored weights.

    Args:
        hidden: of the last decoder layer, after its norm.
        head: the output layer; its weights stay as they are, and get no gradient.
    """
    logits = _Float32Product.apply(hidden.float(), head.weight)
    return logits if head.bias is None else logits + head.bias.float()


@contextmanager
def float32_head(model: Any, positions: int = 1) -> Iterator[None]:
    """Let the output layer of a half-precision model compute in float32 for a block.

    What a model does with its logits afterwards (scale them, cap them) stays in place. A float32
    model is not touched, and a quantised output layer computes as its kernel does.

    Args:
        model: the model.
        positions: how many last positions get logits. Others are computed, if the model asks for
            them, as it computes them itself, and are dropped.
    """
    head = model.get_output_embeddings()
    if type(head) is not torch.nn.Linear or head.weight.dtype not in _HALF:
        yield
        return

    # Hooks of accelerate, which bring offloaded weights, stand in ``forward`` and call this name.
    name = "_old_forward" if hasattr(head, "_old_forward") else "forward"
    own, before = getattr(head, name), head.__dict__.get(name)

    def forward(hidden: Tensor) -> Tensor:
        if hidden.shape[1] > positions:
            own(hidden)
        return float32_logits(hidden[:, -positions:], head)

    setattr(head, name, forward)
    try:
        yield
    finally:
        delattr(head, name)
        if before is not None:
            setattr(head, name, before)
