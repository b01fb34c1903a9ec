"""Does a map, or a set of boxes, lie on the evidence? Pure functions on boxes (pixels of the original image) and relevance maps.

Evidence may be several boxes; a set of boxes counts as the union of its areas. What is not defined (no target, a constant or an
empty map) is NaN: such examples are left out of a mean, never scored as 0 by accident.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box
from entropy_grounding.core.records import RelevanceMap

UNDEFINED = float("nan")
SMALL, LARGE = (
    0.005,
    0.05,
)  # share of the image: evidence below is small, from the second on large (TextVQA-GT-bbox)


def union_area(boxes: Sequence[Box]) -> float:
    """Return the area that boxes cover together, in square pixels."""
    boxes = [box for box in boxes if box.width > 0 and box.height > 0]
    xs = sorted({x for box in boxes for x in (box.x0, box.x1)})
    area = 0.0
    for left, right in pairwise(xs):
        spans = sorted((box.y0, box.y1) for box in boxes if box.x0 <= left and box.x1 >= right)
        end = -np.inf
        for y0, y1 in spans:
            area += (right - left) * max(0.0, y1 - max(y0, end))
            end = max(end, y1)
    return area


@dataclass(frozen=True, slots=True)
class Overlap:
    """How boxes lie on targets, by area of their unions.

    Attributes:
        iou: intersection over union.
        iogt: intersection over the targets: how much of the evidence is in the boxes. The whole image scores 1, so read it with ``iop``.
        iop: intersection over the boxes: how much of the boxes is evidence.
        covered: the smallest share of a single target that is in the boxes; 1 when no target is missed.
    """

    iou: float
    iogt: float
    iop: float
    covered: float


def overlap(boxes: Sequence[Box], targets: Sequence[Box]) -> Overlap:
    """Return how boxes lie on targets; all undefined without a target of some area, all 0 without a box."""
    aimed = union_area(targets)
    if aimed == 0:
        return Overlap(UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED)
    proposed = union_area(boxes)
    both = proposed + aimed - union_area([*boxes, *targets])
    shares = [
        union_area(_within(boxes, target)) / target.area for target in targets if target.area > 0
    ]
    return Overlap(
        both / (proposed + aimed - both),
        both / aimed,
        both / proposed if proposed else 0.0,
        min(shares),
    )


def _within(boxes: Sequence[Box], target: Box) -> list[Box]:
    return [common for box in boxes if (common := box.intersection(target)) is not None]


def recall_at_k(
    boxes: Sequence[Box], targets: Sequence[Box], k: int, *, least_iou: float = 0.5
) -> float:
    """Return the share of targets that one of the first ``k`` boxes meets with at least this IoU; undefined without targets."""
    if k < 1:
        raise InputError(f"k is {k}: recall counts at least the first box.")
    if not targets:
        return UNDEFINED
    return float(
        np.mean([any(box.iou(target) >= least_iou for box in boxes[:k]) for target in targets])
    )


def size_bin(targets: Sequence[Box], size: tuple[int, int]) -> str:
    """Return "small" (under 0.5 % of an image of ``size``), "medium" (under 5 %) or "large", by the area that targets cover."""
    share = union_area(targets) / (size[0] * size[1])
    return "small" if share < SMALL else "medium" if share < LARGE else "large"


def shares_on_targets(relevance_map: RelevanceMap, targets: Sequence[Box]) -> np.ndarray:
    """Return which fraction of each cell the targets cover, float array ``(rows, cols)``."""
    view = relevance_map.view
    rows, cols = view.shape
    shares = np.zeros((rows, cols))
    for row in range(rows):
        for col in range(cols):
            cell = view.cell_box((row, col, row + 1, col + 1))
            shares[row, col] = union_area(_within(targets, cell)) / cell.area
    return shares


def pointing_game(
    relevance_map: RelevanceMap, targets: Sequence[Box], *, tolerance: float = 0.0
) -> float:
    """Return 1 when the center of the most relevant cell lies in a target, or nearer to it than ``tolerance`` pixels (Zhang et al. 2016).

    Cells that tie for the largest value share the hit; a constant map, or no target, is undefined. On maps of few cells the center may
    miss a target that the cell holds: `shares_on_targets` at the peak tells.
    """
    values = relevance_map.values[relevance_map.inside]
    if not targets or values.size == 0 or values.max() == values.min():
        return UNDEFINED
    peaks = np.argwhere((relevance_map.values == values.max()) & relevance_map.inside).tolist()
    centers = [
        relevance_map.view.cell_box((row, col, row + 1, col + 1)).center for row, col in peaks
    ]
    return float(
        np.mean([any(_near(x, y, target, tolerance) for target in targets) for x, y in centers])
    )


def _near(x: float, y: float, target: Box, tolerance: float) -> bool:
    distance = np.hypot(
        max(target.x0 - x, 0.0, x - target.x1), max(target.y0 - y, 0.0, y - target.y1)
    )
    return target.contains(x, y) or bool(distance < tolerance)


def energy_in_box(relevance_map: RelevanceMap, targets: Sequence[Box]) -> float:
    """Return the share of the relevance that lies on the targets, cells counted by the fraction that is covered (Wang et al. 2020)."""
    total = relevance_map.values[relevance_map.inside].sum()
    if not targets or total == 0:
        return UNDEFINED
    return float(
        (relevance_map.values * shares_on_targets(relevance_map, targets))[
            relevance_map.inside
        ].sum()
        / total
    )


def chance(relevance_map: RelevanceMap, targets: Sequence[Box]) -> float:
    """Return the energy that a constant map would have on the targets."""
    return (
        float(shares_on_targets(relevance_map, targets)[relevance_map.inside].mean())
        if targets
        else UNDEFINED
    )


def enrichment(relevance_map: RelevanceMap, targets: Sequence[Box]) -> float:
    """Return energy in box relative to chance; 1 for a constant map, undefined where chance is 0."""
    expected = chance(relevance_map, targets)
    return energy_in_box(relevance_map, targets) / expected if expected > 0 else UNDEFINED


def roc_auc(relevance_map: RelevanceMap, targets: Sequence[Box]) -> float:
    """Return the area under the ROC curve of cells on against cells off the targets, ties half; partly covered cells count as both."""
    _, on, off = _by_falling_value(relevance_map, targets)
    if on.sum() == 0 or off.sum() == 0:
        return UNDEFINED
    above = np.cumsum(on) - on
    return float(((above + on / 2) * off).sum() / (on.sum() * off.sum()))


def average_precision(relevance_map: RelevanceMap, targets: Sequence[Box]) -> float:
    """Return the precision averaged over the recall steps of falling thresholds; undefined when no cell is on the targets."""
    _, on, off = _by_falling_value(relevance_map, targets)
    if on.sum() == 0:
        return UNDEFINED
    precision = np.cumsum(on) / np.cumsum(on + off)
    return float((on / on.sum() * precision).sum())


def _by_falling_value(
    relevance_map: RelevanceMap, targets: Sequence[Box]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return distinct values, largest first, with the cell weight on and off the targets at each."""
    shares = shares_on_targets(relevance_map, targets)[relevance_map.inside]
    values, index = np.unique(-relevance_map.values[relevance_map.inside], return_inverse=True)
    on = np.bincount(index, weights=shares, minlength=len(values))
    return -values, on, np.bincount(index, minlength=len(values)) - on


def deletion_curve(
    order: Sequence[int], score: Callable[[Sequence[int]], float], steps: int = 10
) -> np.ndarray:
    """Return the score as the most relevant tokens are removed, in ``steps`` equal parts from none to all (Petsiuk et al. 2018).

    Args:
        order: indices of all tokens, the most relevant first.
        score: the score when these tokens are removed.
        steps: number of parts.
    """
    return np.array([score(order[: round(len(order) * part / steps)]) for part in range(steps + 1)])


def insertion_curve(
    order: Sequence[int], score: Callable[[Sequence[int]], float], steps: int = 10
) -> np.ndarray:
    """Return the score as the most relevant tokens come back, from none to all; arguments as in `deletion_curve`."""
    return np.array([score(order[round(len(order) * part / steps) :]) for part in range(steps + 1)])


def area_under(curve: np.ndarray) -> float:
    """Return the mean height of a curve (trapezoids over equal parts); low is faithful for deletion, high for insertion."""
    return float(np.trapezoid(curve) / (len(curve) - 1))
