"""Relevance: from gradients at the visual tokens to maps over the image (paper, step 3)."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from entropy_grounding.core.geometry import View
from entropy_grounding.core.records import RelevanceMap
from entropy_grounding.method.regions import smooth

# --- One number per visual token ---


def robust_norm(vectors: Float[Tensor, "tokens dim"]) -> Float[Tensor, " tokens"]:
    """Return the L2 norm of each row in float64.

    Rows are scaled by their largest entry, so that squaring neither under- nor overflows in any
    input precision.
    """
    wide = vectors.detach().double()
    largest = wide.abs().amax(-1)
    scale = torch.where(largest > 0, largest, torch.ones_like(largest))

    return torch.linalg.vector_norm(wide / scale[:, None], dim=-1) * largest


def gradient_norm(
    gradients: Float[Tensor, "tokens dim"], embeddings: Float[Tensor, "tokens dim"]
) -> Float[Tensor, " tokens"]:
    """Return ``||g_t||``, the paper's relevance."""
    return robust_norm(gradients)


def norm_product(
    gradients: Float[Tensor, "tokens dim"], embeddings: Float[Tensor, "tokens dim"]
) -> Float[Tensor, " tokens"]:
    """Return ``||g_t|| ||v_t||``.

    Pre-norm layers see only directions, so the gradient norm alone falls as 1 / ``||v_t||``.
    """
    return robust_norm(gradients) * robust_norm(embeddings)


def gradient_x_input(
    gradients: Float[Tensor, "tokens dim"], embeddings: Float[Tensor, "tokens dim"]
) -> Float[Tensor, " tokens"]:
    """Return ``|<g_t, v_t>|``, the magnitude of gradient x input summed over channels."""
    products = gradients.detach().double() * embeddings.detach().double()
    return products.sum(-1).abs()


RELEVANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gradient_norm": gradient_norm,
    "norm_product": norm_product,
    "gradient_x_input": gradient_x_input,
}


def relative_relevance(
    relevance: Float[Tensor, "*cells"], neutral: Float[Tensor, "*cells"], *, floor: float = 0.01
) -> Float[Tensor, "*cells"]:
    """Divide by the relevance under a neutral question.

    This cancels position bias and sink tokens.

    Args:
        relevance: of tokens or pixels.
        neutral: of the same tokens or pixels under the neutral question.
        floor: smallest divisor as a fraction of its mean, so that a token which the neutral
            question ignores cannot explode.
    """
    mean = float(neutral.mean())
    if mean == 0:
        return torch.zeros_like(relevance)

    least = max(floor * mean, torch.finfo(neutral.dtype).tiny)
    return relevance / neutral.clamp(min=least)


# --- Maps ---


def relevance_maps(
    relevance: Float[Tensor, " tokens"],
    views: Sequence[View],
    sigma_for: Callable[[tuple[int, int]], float],
) -> tuple[RelevanceMap, ...]:
    """Put the relevance of the visual tokens on the token grid of each view.

    Cells that show only padding are 0. Smoothing sees the other cells only, so padding neither dims
    its border nor counts as quiet ground.

    Args:
        relevance: one value per visual token of the prompt.
        views: the token grids.
        sigma_for: returns the Gaussian smoothing, in cells, of a ``(rows, cols)`` grid.
    """
    values = relevance.detach().double().cpu().numpy()
    maps = []
    for view in views:
        inside = view.cells_inside()
        grid = np.where(inside, values[view.token_indices], 0.0)  # (rows, cols)

        smoothed = np.zeros_like(grid)
        if inside.any():
            blurred = smooth(on_image(grid, inside), sigma_for(view.shape))
            smoothed[inside] = blurred.ravel()
        maps.append(RelevanceMap(view, grid, smoothed, inside))

    return tuple(maps)


def on_image(
    grid: Float[np.ndarray, "rows cols"], inside: np.ndarray
) -> Float[np.ndarray, "inner_rows inner_cols"]:
    """Return the rectangle of the cells that lie on the image; ``inside`` is true exactly there."""
    return grid[np.ix_(inside.any(axis=1), inside.any(axis=0))]
