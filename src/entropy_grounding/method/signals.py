"""The relevance of a round, by any signal: what loop, window and ranked search have in common."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from entropy_grounding.core.geometry import View
from entropy_grounding.method.attribution import neutral_question, token_relevance
from entropy_grounding.method.detail import has_detail, pooled
from entropy_grounding.method.options import PIXEL_GRADIENT, GroundingOptions
from entropy_grounding.method.relevance import relative_relevance
from entropy_grounding.method.target import max_log_probability
from entropy_grounding.vlm.session import ImageSession
from entropy_grounding.vlm.types import Pixels, Prompt


@dataclass(frozen=True, slots=True)
class RoundRelevance:
    """How relevant the visual tokens of a prompt are, and the token grids that they lie on.

    Attributes:
        logits: next-token logits of the prompt ``(vocabulary,)``.
        relevance: one number per visual token ``(tokens,)``.
        views: the token grids of all pictures. Pixels lie under the first of each picture.
    """

    logits: Tensor
    relevance: Tensor
    views: tuple[View, ...]


def round_relevance(
    session: ImageSession, prompt: Prompt, options: GroundingOptions
) -> RoundRelevance:
    """Return the relevance of each visual token of a prompt, by ``options.signal``.

    It is divided by that of the neutral question, and masked where the pictures have no detail, if
    the options say so.

    Args:
        session: the image under the VLM.
        prompt: one or more pictures and the question.
        options: the options of the method.
    """
    if options.signal == PIXEL_GRADIENT:
        return _of_pixels(session, prompt, options)

    found = token_relevance(session, prompt, options)
    relevance = found.relevance

    other = _neutral(session, prompt, options)
    if other is not None:
        divisor = token_relevance(session, other, options).relevance
        relevance = relative_relevance(relevance, divisor, floor=options.neutral_floor)

    if not options.masks_detail:
        return RoundRelevance(found.logits, relevance, prompt.views)

    pictures = session.pixels(prompt)
    shares = [_pooled_detail(picture, options) for picture in pictures]
    share = _on_tokens(pictures, shares, prompt.visual_tokens)
    views = tuple(picture.view for picture in pictures)
    return RoundRelevance(found.logits, relevance.detach().double().cpu() * share, views)


def _of_pixels(session: ImageSession, prompt: Prompt, options: GroundingOptions) -> RoundRelevance:
    """Return the mean energy of the pixels of each cell: the norm of log p(t*)'s gradient."""
    found = session.pixel_gradients(prompt, max_log_probability)
    energies = [gradient.norm(dim=0) for gradient in found.gradients]  # (height, width) each

    other = _neutral(session, prompt, options)
    if other is not None:
        divisors = session.pixel_gradients(other, max_log_probability).gradients
        energies = [
            relative_relevance(energy, divisor.norm(dim=0), floor=options.neutral_floor)
            for energy, divisor in zip(energies, divisors, strict=True)
        ]

    grids = [
        _pooled_energy(energy, picture, options)
        for energy, picture in zip(energies, found.pictures, strict=True)
    ]
    relevance = _on_tokens(found.pictures, grids, prompt.visual_tokens)
    views = tuple(picture.view for picture in found.pictures)
    return RoundRelevance(found.logits, relevance, views)


def _neutral(session: ImageSession, prompt: Prompt, options: GroundingOptions) -> Prompt | None:
    """Return the prompt of the neutral question about the same pictures, None for no division."""
    neutral = neutral_question(session.vlm, options)
    return None if neutral is None else session.vlm.prompt(neutral, prompt.pictures)


def _pooled_energy(
    energy: Float[Tensor, "height width"], picture: Pixels, options: GroundingOptions
) -> Float[np.ndarray, "rows cols"]:
    """Return the mean energy of each cell; pixels that are masked count as 0."""
    values = energy.double().cpu().numpy()
    if options.masks_detail:
        values = values * has_detail(picture.pixels, options.window.median)

    return pooled(values, picture.view.shape)


def _pooled_detail(picture: Pixels, options: GroundingOptions) -> Float[np.ndarray, "rows cols"]:
    """Return the share of the pixels of each cell that lie where the picture has detail."""
    detail = has_detail(picture.pixels, options.window.median)
    return pooled(detail.astype(float), picture.view.shape)


def _on_tokens(
    pictures: tuple[Pixels, ...], grids: list[np.ndarray], tokens: int
) -> Float[Tensor, " tokens"]:
    """Return one number per visual token of a prompt: that of its cell, 0 for tokens of no cell.

    Args:
        pictures: with their token grids.
        grids: of each picture, one number per cell.
        tokens: number of visual tokens of the prompt.
    """
    values = np.zeros(tokens)
    for picture, grid in zip(pictures, grids, strict=True):
        values[picture.view.token_indices] = grid

    return torch.from_numpy(values)
