"""Control crops: they separate "the right place" from "more pixels".

Each control has the number and the sizes of the crops that the method found.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from entropy_grounding.baselines.privileged import Privileged
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box
from entropy_grounding.core.records import Grounding, RelevanceMap
from entropy_grounding.method.answer import finish
from entropy_grounding.method.candidates import covered
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.method.regions import RegionOptions, fit_box
from entropy_grounding.method.zoom import ground_round, zoom
from entropy_grounding.vlm.contexts import pixels_scaled
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.session import ImageSession

CONTEXT = 3.0  # side of the oracle crop relative to the evidence
GRAY = (127, 127, 127)
_STEPS = 17  # places of a box along each side that are compared for the lowest relevance
_OVERLAP = 0.5  # IoU up to which two boxes of low relevance are different places


# --- Places ---


def oracle_box(evidence: Box, size: tuple[int, int], context: float = CONTEXT) -> Box:
    """Return the evidence with context around it, in pixels.

    The margin on every side is (context - 1) / 2 of the geometric mean of the sides of the
    evidence, so a square becomes ``context`` times as wide.

    Args:
        evidence: box of the evidence.
        size: (width, height) of the image that the box must stay in.
        context: side of the crop relative to the evidence.
    """
    margin = (context - 1) / 2 * evidence.area**0.5
    return fit_box(evidence.expand(margin), size, RegionOptions())


def random_box(rng: np.random.Generator, like: Box, size: tuple[int, int]) -> Box:
    """Return a box with the sides of ``like`` at a uniformly random place in an image.

    Args:
        rng: source of the place.
        like: box whose sides are copied.
        size: (width, height) of the image in pixels.
    """
    x0 = rng.uniform(0, size[0] - like.width)
    y0 = rng.uniform(0, size[1] - like.height)
    return Box(x0, y0, x0 + like.width, y0 + like.height)


def center_box(like: Box, size: tuple[int, int]) -> Box:
    """Return a box with the sides of ``like`` in the middle of an image.

    Args:
        like: box whose sides are copied.
        size: (width, height) of the image in pixels.
    """
    x0 = (size[0] - like.width) / 2
    y0 = (size[1] - like.height) / 2
    return Box(x0, y0, x0 + like.width, y0 + like.height)


def lowest_boxes(
    relevance_map: RelevanceMap, like: Sequence[Box], size: tuple[int, int]
) -> list[Box]:
    """Return boxes with the sides of ``like`` where the least relevance lies.

    No box covers more than half of an earlier one, if there is room. Relevance is unsmoothed, and a
    cell counts by the part of it that a box covers.

    Args:
        relevance_map: of the full image.
        like: boxes whose sides are copied.
        size: (width, height) of the image in pixels.
    """
    boxes: list[Box] = []
    for box in like:
        ranked = _by_relevance(relevance_map, box, size)
        apart = (place for place in ranked if all(place.iou(other) < _OVERLAP for other in boxes))
        boxes.append(next(apart, ranked[0]))

    return boxes


def _by_relevance(relevance_map: RelevanceMap, box: Box, size: tuple[int, int]) -> list[Box]:
    """Return places of a box on a regular grid over the image, the least relevant first."""
    view = relevance_map.view
    rows, cols = view.shape
    xs = np.linspace(0, size[0] - box.width, _STEPS)
    ys = np.linspace(0, size[1] - box.height, _STEPS)

    across = np.array([covered(x, x + box.width, view.box.x0, view.box.x1, cols) for x in xs])
    down = np.array([covered(y, y + box.height, view.box.y0, view.box.y1, rows) for y in ys])
    relevance = down @ relevance_map.values @ across.T  # (places down, places across)

    places = [Box(x, y, x + box.width, y + box.height) for y in ys for x in xs]
    order = np.argsort(relevance.ravel(), kind="stable")
    return [places[index] for index in order]


def budget_boxes(evidence: Sequence[Box], count: int, size: tuple[int, int]) -> list[Box]:
    """Return ``count`` oracle crops.

    If there are more boxes of evidence, their hull is shown. If there are fewer, the same boxes are
    shown again with twice the context, and so on.

    Args:
        evidence: boxes of the evidence.
        count: number of crops.
        size: (width, height) of the image in pixels.
    """
    if not evidence or count == 0:
        return []

    if count < len(evidence):
        corners = np.array([box.xyxy() for box in evidence])
        low, high = corners[:, :2].min(0), corners[:, 2:].max(0)
        evidence = [Box(float(low[0]), float(low[1]), float(high[0]), float(high[1]))]

    boxes = []
    for index in range(count):
        times, which = divmod(index, len(evidence))
        boxes.append(oracle_box(evidence[which], size, CONTEXT * 2**times))
    return boxes


# --- One function for each place, from a session to the crops ---


def _copied(
    session: ImageSession, question: str, options: GroundingOptions, given: Privileged
) -> tuple[Box, ...]:
    """Return the crops to copy: those given, or those that the paper's loop finds now."""
    if given.like is not None:
        return given.like

    _, crops, _ = zoom(session, question, replace(options, crops="found"))
    return crops


def _lowest(
    session: ImageSession, question: str, options: GroundingOptions, given: Privileged
) -> list[Box]:
    like = _copied(session, question, options, given)
    if not like:
        return []

    first = ground_round(session, question, (), options).maps[0]
    return lowest_boxes(first, like, session.image.size)


def _random(
    session: ImageSession, question: str, options: GroundingOptions, given: Privileged
) -> list[Box]:
    rng = np.random.default_rng(given.seed)
    like = _copied(session, question, options, given)
    return [random_box(rng, box, session.image.size) for box in like]


def _centers(
    session: ImageSession, question: str, options: GroundingOptions, given: Privileged
) -> list[Box]:
    like = _copied(session, question, options, given)
    return [center_box(box, session.image.size) for box in like]


def _repeated(
    session: ImageSession, question: str, options: GroundingOptions, given: Privileged
) -> list[Box]:
    return [session.full.box] * len(_copied(session, question, options, given))


def _oracle(
    session: ImageSession, question: str, options: GroundingOptions, given: Privileged
) -> list[Box]:
    boxes = [oracle_box(box, session.image.size) for box in given.evidence]
    return boxes[: options.regions.max_regions]


def _oracle_budget(
    session: ImageSession, question: str, options: GroundingOptions, given: Privileged
) -> list[Box]:
    count = len(_copied(session, question, options, given))
    return budget_boxes(given.evidence, count, session.image.size)


PLACES: dict[str, Callable[[ImageSession, str, GroundingOptions, Privileged], Sequence[Box]]] = {
    "random": _random,
    "center": _centers,
    "lowest": _lowest,
    "repeated": _repeated,
    "oracle": _oracle,
    "oracle_budget": _oracle_budget,
}


# --- Methods ---


def control(
    session: ImageSession, question: str, options: GroundingOptions, given: Privileged
) -> Grounding:
    """Answer from crops at the place that ``options.crops`` names, one of `PLACES`.

    The cost includes finding the crops to copy only if ``given`` has none.
    """
    crops = PLACES[options.crops](session, question, options, given)
    return finish(session, question, crops, options, "given_crops")


def blank(
    session: ImageSession, question: str, options: GroundingOptions, given: Privileged
) -> Grounding:
    """Answer from gray crops: as many visual tokens as the method's, nothing to see."""
    crops = _copied(session, question, options, given)
    session.cut_crops_from(Image.new("RGB", session.image.size, GRAY))

    return finish(session, question, crops, options, "given_crops")


def upscaled(
    session: ImageSession, question: str, options: GroundingOptions, given: Privileged
) -> Grounding:
    """Answer from the full image alone, with the pixels or tiles that crops would take.

    Raises:
        InputError: for a family whose pictures have a fixed budget.
    """
    crops = _copied(session, question, options, given)
    before = finish(session, question, (), options, "given_crops")

    with pixels_scaled(session.vlm.processor, 1 + len(crops)) as possible:
        if not possible:
            raise InputError(
                f"'{session.vlm.name}' has no budget of pixels or tiles to raise: "
                "method.crops=upscaled needs one."
            )
        larger = ImageSession(
            session.vlm,
            session.image,
            session.choices,
            max_new_tokens=session.max_new_tokens,
        )
        after = finish(larger, question, (), options, "given_crops")

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
    """Answer from the full image and crops that are given; the stop reason is "given_crops"."""
    session = ImageSession(vlm, image, choices)
    return finish(session, question, crops, options or GroundingOptions(), "given_crops")
