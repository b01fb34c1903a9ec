"""Control crops: they separate "the right place" from "more pixels"."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from entropy_grounding.regions import RegionOptions, fit_box
from entropy_grounding.structures import Box, Grounding
from entropy_grounding.vlm import VLM
from entropy_grounding.zoom import GroundingOptions, Session

CONTEXT = 3.0  # side of the oracle crop relative to the evidence


def oracle_box(evidence: Box, size: tuple[int, int], context: float = CONTEXT) -> Box:
    """Return the evidence with context around it, inside an image of ``size`` (width, height); all in pixels.

    The margin on every side is (context - 1) / 2 of the geometric mean of its sides, so a square is ``context`` times as wide.
    """
    margin = (context - 1) / 2 * evidence.area**0.5
    return fit_box(evidence.expand(margin), size, RegionOptions())


def random_box(rng: np.random.Generator, like: Box, size: tuple[int, int]) -> Box:
    """Return a box with the sides of ``like`` at a uniformly random place inside an image of ``size`` (width, height)."""
    x0, y0 = rng.uniform(0, size[0] - like.width), rng.uniform(0, size[1] - like.height)
    return Box(x0, y0, x0 + like.width, y0 + like.height)


def answer_from_crops(
    vlm: VLM,
    image: Image.Image,
    question: str,
    crops: Sequence[Box],
    options: GroundingOptions | None = None,
    *,
    choices: Sequence[tuple[str, str]] = (),
) -> Grounding:
    """Answer from the full image and crops that are given rather than found; the stop reason is "given_crops"."""
    options = options or GroundingOptions()
    session = Session(vlm, image, choices)
    plain, _ = session.answer(question, (), options.max_new_tokens)
    answer, used = session.answer(question, crops, options.max_new_tokens) if crops else (plain, ())
    return Grounding(question, image.size, (), used, "given_crops", plain, answer, session.cost())
