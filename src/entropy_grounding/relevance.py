"""Token relevance: from the gradient at the visual tokens to maps over the original image (paper, step 3)."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from entropy_grounding.structures import RelevanceMap, View


def robust_norm(vectors: Float[Tensor, "tokens dim"]) -> Float[Tensor, " tokens"]:
    """Return the L2 norm of each row in float64, so that squaring neither under- nor overflows in any input precision."""
    wide = vectors.detach().double()
    largest = wide.abs().amax(-1)
    scaled = wide / torch.where(largest > 0, largest, torch.ones_like(largest))[:, None]
    return torch.linalg.vector_norm(scaled, dim=-1) * largest


def gradient_norm(gradients: Float[Tensor, "tokens dim"], embeddings: Float[Tensor, "tokens dim"]) -> Float[Tensor, " tokens"]:
    """Return ``||g_t||``, the paper's relevance."""
    return robust_norm(gradients)


def norm_product(gradients: Float[Tensor, "tokens dim"], embeddings: Float[Tensor, "tokens dim"]) -> Float[Tensor, " tokens"]:
    """Return ``||g_t|| ||v_t||``: pre-norm layers see only directions, so the gradient norm alone falls as 1 / ``||v_t||``."""
    return robust_norm(gradients) * robust_norm(embeddings)


def gradient_x_input(gradients: Float[Tensor, "tokens dim"], embeddings: Float[Tensor, "tokens dim"]) -> Float[Tensor, " tokens"]:
    """Return ``|<g_t, v_t>|``, the magnitude of gradient x input summed over channels."""
    return (gradients.detach().double() * embeddings.detach().double()).sum(-1).abs()


RELEVANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gradient_norm": gradient_norm,
    "norm_product": norm_product,
    "gradient_x_input": gradient_x_input,
}


def relative_relevance(relevance: Float[Tensor, " tokens"], neutral: Float[Tensor, " tokens"]) -> Float[Tensor, " tokens"]:
    """Divide by the relevance under a neutral question, which cancels position bias and sink tokens.

    The divisor is floored at 1 % of its mean, so that a token which the neutral question ignores cannot explode.
    """
    floor = 0.01 * neutral.mean()
    return torch.zeros_like(relevance) if floor == 0 else relevance / neutral.clamp(min=float(floor))


def relevance_maps(
    relevance: Float[Tensor, " tokens"],
    views: Sequence[View],
    size: tuple[int, int],
    smooth: Callable[[np.ndarray], np.ndarray],
) -> tuple[RelevanceMap, ...]:
    """Put the relevance of the visual tokens on the token grid of each view; cells that show only padding are 0.

    Args:
        relevance: one value per visual token of the prompt.
        views: the token grids.
        size: (width, height) of the original image in pixels.
        smooth: maps an array ``(rows, cols)`` to its smoothed version.
    """
    values = relevance.detach().double().cpu().numpy()
    maps = []
    for view in views:
        inside = view.cells_inside(size)
        grid = np.where(inside, values[view.token_indices], 0.0)
        maps.append(RelevanceMap(view, grid, np.where(inside, smooth(grid), 0.0), inside))
    return tuple(maps)
