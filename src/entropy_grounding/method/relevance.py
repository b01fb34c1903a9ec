"""Token relevance: from the gradient at the visual tokens to maps over the original image (paper, step 3)."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from entropy_grounding.core.geometry import View
from entropy_grounding.core.records import RelevanceMap
from entropy_grounding.method.regions import smooth


def robust_norm(vectors: Float[Tensor, "tokens dim"]) -> Float[Tensor, " tokens"]:
    """Return the L2 norm of each row in float64, so that squaring neither under- nor overflows in any input precision."""
    wide = vectors.detach().double()
    largest = wide.abs().amax(-1)
    scaled = wide / torch.where(largest > 0, largest, torch.ones_like(largest))[:, None]
    return torch.linalg.vector_norm(scaled, dim=-1) * largest


def gradient_norm(
    gradients: Float[Tensor, "tokens dim"], embeddings: Float[Tensor, "tokens dim"]
) -> Float[Tensor, " tokens"]:
    """Return ``||g_t||``, the paper's relevance."""
    return robust_norm(gradients)


def norm_product(
    gradients: Float[Tensor, "tokens dim"], embeddings: Float[Tensor, "tokens dim"]
) -> Float[Tensor, " tokens"]:
    """Return ``||g_t|| ||v_t||``: pre-norm layers see only directions, so the gradient norm alone falls as 1 / ``||v_t||``."""
    return robust_norm(gradients) * robust_norm(embeddings)


def gradient_x_input(
    gradients: Float[Tensor, "tokens dim"], embeddings: Float[Tensor, "tokens dim"]
) -> Float[Tensor, " tokens"]:
    """Return ``|<g_t, v_t>|``, the magnitude of gradient x input summed over channels."""
    return (gradients.detach().double() * embeddings.detach().double()).sum(-1).abs()


RELEVANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gradient_norm": gradient_norm,
    "norm_product": norm_product,
    "gradient_x_input": gradient_x_input,
}


def relative_relevance(
    relevance: Float[Tensor, "*cells"], neutral: Float[Tensor, "*cells"], *, floor: float = 0.01
) -> Float[Tensor, "*cells"]:
    """Divide by the relevance, of tokens or pixels, under a neutral question, which cancels position bias and sink tokens.

    The divisor is at least ``floor`` times its mean, so that a token which the neutral question ignores cannot explode.
    """
    mean = float(neutral.mean())
    return (
        torch.zeros_like(relevance)
        if mean == 0
        else relevance / neutral.clamp(min=max(floor * mean, torch.finfo(neutral.dtype).tiny))
    )


def relevance_maps(
    relevance: Float[Tensor, " tokens"],
    views: Sequence[View],
    sigma_for: Callable[[tuple[int, int]], float],
) -> tuple[RelevanceMap, ...]:
    """Put the relevance of the visual tokens on the token grid of each view; cells that show only padding are 0.

    Smoothing sees the other cells only, so padding neither dims its border nor counts as quiet ground.

    Args:
        relevance: one value per visual token of the prompt.
        views: the token grids.
        sigma_for: the Gaussian smoothing, in cells, of a ``(rows, cols)`` grid.
    """
    values = relevance.detach().double().cpu().numpy()
    maps = []
    for view in views:
        inside = view.cells_inside()
        grid = np.where(inside, values[view.token_indices], 0.0)
        smoothed = np.zeros_like(grid)
        if inside.any():
            smoothed[inside] = smooth(on_image(grid, inside), sigma_for(view.shape)).ravel()
        maps.append(RelevanceMap(view, grid, smoothed, inside))
    return tuple(maps)


def on_image(
    grid: Float[np.ndarray, "rows cols"], inside: np.ndarray
) -> Float[np.ndarray, "inner_rows inner_cols"]:
    """Return the rectangle of the cells that lie on the image; ``inside`` is true exactly there."""
    return grid[np.ix_(inside.any(axis=1), inside.any(axis=0))]
