"""Control crops: they separate "the right place" from "more pixels". Each has the number and sizes of the crops that the method found."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from entropy_grounding.baselines.privileged import Given
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box
from entropy_grounding.core.records import Grounding, RelevanceMap
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.method.regions import RegionOptions, fit_box
from entropy_grounding.method.zoom import ground_once, zoom
from entropy_grounding.vlm.contexts import pixels_scaled
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.session import Session

CONTEXT = 3.0  # side of the oracle crop relative to the evidence
_STEPS = 17  # places of a box along each side that are compared for the lowest relevance
GRAY = (127, 127, 127)


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


def center_box(like: Box, size: tuple[int, int]) -> Box:
    """Return a box with the sides of ``like`` in the middle of an image of ``size`` (width, height)."""
    x0, y0 = (size[0] - like.width) / 2, (size[1] - like.height) / 2
    return Box(x0, y0, x0 + like.width, y0 + like.height)


def lowest_boxes(
    relevance_map: RelevanceMap, like: Sequence[Box], size: tuple[int, int]
) -> list[Box]:
    """Return boxes with the sides of ``like`` where the least relevance lies, none half over an earlier one where there is room.

    Relevance is unsmoothed and counted by the part of each cell that a box covers.
    """
    view = relevance_map.view
    rows, cols = view.shape
    found: list[Box] = []
    for box in like:
        starts_x, starts_y = (
            np.linspace(0, size[0] - box.width, _STEPS),
            np.linspace(0, size[1] - box.height, _STEPS),
        )
        across = np.array(
            [_covered(x, x + box.width, view.box.x0, view.box.x1, cols) for x in starts_x]
        )
        down = np.array(
            [_covered(y, y + box.height, view.box.y0, view.box.y1, rows) for y in starts_y]
        )
        order = np.argsort((down @ relevance_map.values @ across.T).ravel(), kind="stable")
        places = [Box(x, y, x + box.width, y + box.height) for y in starts_y for x in starts_x]
        ranked = [places[index] for index in order]
        found.append(
            next(
                (place for place in ranked if all(place.iou(other) < 0.5 for other in found)),
                ranked[0],
            )
        )
    return found


def _covered(low: float, high: float, start: float, end: float, cells: int) -> np.ndarray:
    """Return which share of each of ``cells`` equal parts of [start, end] lies in [low, high]."""
    edges = np.linspace(start, end, cells + 1)
    return (
        np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None)
        * cells
        / (end - start)
    )


def budget_boxes(evidence: Sequence[Box], count: int, size: tuple[int, int]) -> list[Box]:
    """Return ``count`` oracle crops: of more evidence the hull, of less the same boxes again with twice the context, and so on."""
    if not evidence or count == 0:
        return []
    if count < len(evidence):
        corners = np.array([box.xyxy() for box in evidence])
        hull = Box(*(float(v) for v in (*corners[:, :2].min(0), *corners[:, 2:].max(0))))
        evidence = [hull]
    return [
        oracle_box(evidence[i % len(evidence)], size, CONTEXT * 2 ** (i // len(evidence)))
        for i in range(count)
    ]


def _found(
    session: Session, question: str, options: GroundingOptions, given: Given
) -> tuple[Box, ...]:
    """Return the crops to copy: those given, else those that the paper's loop finds now."""
    return (
        given.like
        if given.like is not None
        else zoom(session, question, replace(options, crops="found"))[1]
    )


def _lowest(session: Session, question: str, options: GroundingOptions, given: Given) -> list[Box]:
    like = _found(session, question, options, given)
    return (
        lowest_boxes(ground_once(session, question, (), options).maps[0], like, session.image.size)
        if like
        else []
    )


def _random(session: Session, question: str, options: GroundingOptions, given: Given) -> list[Box]:
    rng = np.random.default_rng(given.seed)
    return [
        random_box(rng, box, session.image.size)
        for box in _found(session, question, options, given)
    ]


def _centers(session: Session, question: str, options: GroundingOptions, given: Given) -> list[Box]:
    return [
        center_box(box, session.image.size) for box in _found(session, question, options, given)
    ]


def _repeated(
    session: Session, question: str, options: GroundingOptions, given: Given
) -> list[Box]:
    return [session.full.box] * len(_found(session, question, options, given))


def _oracle(session: Session, question: str, options: GroundingOptions, given: Given) -> list[Box]:
    return [oracle_box(box, session.image.size) for box in given.evidence][
        : options.regions.max_regions
    ]


def _oracle_budget(
    session: Session, question: str, options: GroundingOptions, given: Given
) -> list[Box]:
    return budget_boxes(
        given.evidence, len(_found(session, question, options, given)), session.image.size
    )


PLACES: dict[str, Callable[[Session, str, GroundingOptions, Given], Sequence[Box]]] = {
    "random": _random,
    "center": _centers,
    "lowest": _lowest,
    "repeated": _repeated,
    "oracle": _oracle,
    "oracle_budget": _oracle_budget,
}


def control(session: Session, question: str, options: GroundingOptions, given: Given) -> Grounding:
    """Answer from crops at the place that ``options.crops`` names, one of `PLACES`.

    The cost includes finding the crops to copy only when ``given`` has none.
    """
    return session.finish(
        question, PLACES[options.crops](session, question, options, given), options, "given_crops"
    )


def blank(session: Session, question: str, options: GroundingOptions, given: Given) -> Grounding:
    """Answer from gray crops: as many visual tokens as the method's, nothing to see."""
    crops = _found(session, question, options, given)
    session.cut_crops_from(Image.new("RGB", session.image.size, GRAY))
    return session.finish(question, crops, options, "given_crops")


def upscaled(session: Session, question: str, options: GroundingOptions, given: Given) -> Grounding:
    """Answer from the full image alone, with the pixels or tiles that the method spends on its crops.

    Raises:
        InputError: for a family whose pictures have a fixed budget.
    """
    crops = _found(session, question, options, given)
    before = session.finish(question, (), options, "given_crops")
    with pixels_scaled(session.vlm, 1 + len(crops)) as possible:
        if not possible:
            raise InputError(
                f"'{session.vlm.name}' has no budget of pixels or tiles to raise: method.crops=upscaled needs one."
            )
        after = Session(session.vlm, session.image, session.choices).finish(
            question, (), options, "given_crops"
        )
    return replace(after, plain_answer=before.plain_answer)


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
    return Session(vlm, image, choices).finish(
        question, crops, options or GroundingOptions(), "given_crops"
    )
