"""Measures of how a relevance map, or a set of boxes, lies on the evidence.

All are pure functions on relevance maps and on boxes (pixels of the original image). The evidence
may be several boxes; a set of boxes counts as the union of its areas. A value that is not defined
(no target, a constant or an empty map) is NaN. Leave such examples out of a mean: they are not 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box
from entropy_grounding.core.records import RelevanceMap

UNDEFINED = float("nan")
# Evidence is small below the first share of the image, large from the second (TextVQA-GT-bbox).
SMALL, LARGE = 0.005, 0.05


def union_area(boxes: Sequence[Box]) -> float:
    """Return the area that boxes cover together, in square pixels."""
    boxes = [box for box in boxes if box.width > 0 and box.height > 0]
    edges: set[float] = set()
    for box in boxes:
        edges.update((box.x0, box.x1))

    # Between two neighbouring edges every box covers the full width of the strip or none of it.
    area = 0.0
    for left, right in pairwise(sorted(edges)):
        spans = sorted((box.y0, box.y1) for box in boxes if box.x0 <= left and box.x1 >= right)
        end = -np.inf
        for y0, y1 in spans:
            area += (right - left) * max(0.0, y1 - max(y0, end))
            end = max(end, y1)

    return area


@dataclass(frozen=True, slots=True)
class Overlap:
    """How boxes lie on targets, by the area of their unions; all in [0, 1].

    Attributes:
        iou: intersection over union.
        iogt: intersection over the targets: how much of the evidence is in the boxes. The whole
            image scores 1, so read it together with ``iop``.
        iop: intersection over the boxes: how much of the boxes is evidence.
        covered: the smallest share of a single target that is in the boxes; 1 when no target is
            missed.
    """

    iou: float
    iogt: float
    iop: float
    covered: float


def overlap(boxes: Sequence[Box], targets: Sequence[Box]) -> Overlap:
    """Return how boxes lie on targets.

    All values are undefined if the targets have no area, and 0 if there is no box.
    """
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


def best_iou(boxes: Sequence[Box], targets: Sequence[Box]) -> float:
    """Return the IoU of the best box alone with the union of the targets, in [0, 1].

    The released code of the paper measures this, so the paper's 0.29 on TextVQA is this number. The
    ``iou`` of `overlap` takes the union of all boxes: a second box beside the evidence lowers it.

    Args:
        boxes: the best first; without any the value is 0.
        targets: boxes of the evidence; undefined if they have no area.
    """
    # The usual case, for which no areas of unions are needed; tables ask for it row by row.
    if boxes and len(targets) == 1 and targets[0].area > 0:
        return boxes[0].iou(targets[0])

    return overlap(boxes[:1], targets).iou


def _within(boxes: Sequence[Box], target: Box) -> list[Box]:
    """Return the parts of the boxes that lie in a target."""
    parts = []
    for box in boxes:
        common = box.intersection(target)
        if common is not None:
            parts.append(common)

    return parts


def recall_at_k(
    boxes: Sequence[Box], targets: Sequence[Box], k: int, *, least_iou: float = 0.5
) -> float:
    """Return the share of targets that one of the first ``k`` boxes meets.

    A box meets a target if their IoU is at least ``least_iou``. Undefined without targets.

    Raises:
        InputError: for ``k`` below 1.
    """
    if k < 1:
        raise InputError(f"k is {k}: recall counts at least the first box.")
    if not targets:
        return UNDEFINED

    hits = []
    for target in targets:
        hits.append(any(box.iou(target) >= least_iou for box in boxes[:k]))

    return float(np.mean(hits))


def size_bin(targets: Sequence[Box], size: tuple[int, int]) -> str:
    """Return "small", "medium" or "large", by the area that targets cover.

    Args:
        targets: boxes of the evidence.
        size: (width, height) of the image in pixels. Below 0.5 % of its area the evidence is
            small, below 5 % medium.
    """
    share = union_area(targets) / (size[0] * size[1])
    if share < SMALL:
        return "small"

    return "medium" if share < LARGE else "large"


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
    """Return 1 if the center of the most relevant cell lies in a target, else 0.

    A center nearer to a target than ``tolerance`` pixels also counts (Zhang et al. 2016). If
    several cells have the largest value, the mean over them is returned. A constant map, or no
    target, is undefined. On maps of few cells the center may miss a target that the cell holds;
    `shares_on_targets` at the peak shows this.
    """
    values = relevance_map.values[relevance_map.inside]
    if not targets or values.size == 0 or values.max() == values.min():
        return UNDEFINED

    is_peak = (relevance_map.values == values.max()) & relevance_map.inside
    hits = []
    for row, col in np.argwhere(is_peak).tolist():
        x, y = relevance_map.view.cell_box((row, col, row + 1, col + 1)).center
        hits.append(any(_near(x, y, target, tolerance) for target in targets))

    return float(np.mean(hits))


def _near(x: float, y: float, target: Box, tolerance: float) -> bool:
    """Tell whether a point lies in a target, or nearer to it than ``tolerance`` pixels."""
    beside = max(target.x0 - x, 0.0, x - target.x1)
    above = max(target.y0 - y, 0.0, y - target.y1)

    return target.contains(x, y) or bool(np.hypot(beside, above) < tolerance)


def energy_in_box(relevance_map: RelevanceMap, targets: Sequence[Box]) -> float:
    """Return the share of the relevance that lies on the targets (Wang et al. 2020).

    A cell counts by the fraction of it that the targets cover. Undefined without targets or
    without relevance.
    """
    inside = relevance_map.inside
    total = relevance_map.values[inside].sum()
    if not targets or total == 0:
        return UNDEFINED

    on_targets = relevance_map.values * shares_on_targets(relevance_map, targets)
    return float(on_targets[inside].sum() / total)


def chance(relevance_map: RelevanceMap, targets: Sequence[Box]) -> float:
    """Return the energy that a constant map would have on the targets."""
    if not targets:
        return UNDEFINED

    return float(shares_on_targets(relevance_map, targets)[relevance_map.inside].mean())


def enrichment(relevance_map: RelevanceMap, targets: Sequence[Box]) -> float:
    """Return the energy in the box divided by chance.

    The value is 1 for a constant map, and undefined where chance is 0.
    """
    expected = chance(relevance_map, targets)
    return energy_in_box(relevance_map, targets) / expected if expected > 0 else UNDEFINED


def roc_auc(relevance_map: RelevanceMap, targets: Sequence[Box]) -> float:
    """Return the area under the ROC curve that separates cells on and off the targets.

    A tie counts one half. A cell that is partly covered counts as both, by its two parts.
    Undefined when no cell is on the targets, or none is off them.
    """
    _, on, off = _by_falling_value(relevance_map, targets)
    if on.sum() == 0 or off.sum() == 0:
        return UNDEFINED

    above = np.cumsum(on) - on  # weight on the targets at larger values
    return float(((above + on / 2) * off).sum() / (on.sum() * off.sum()))


def average_precision(relevance_map: RelevanceMap, targets: Sequence[Box]) -> float:
    """Return the precision, averaged over the recall steps of falling thresholds.

    Undefined when no cell is on the targets.
    """
    _, on, off = _by_falling_value(relevance_map, targets)
    if on.sum() == 0:
        return UNDEFINED

    precision = np.cumsum(on) / np.cumsum(on + off)
    return float((on / on.sum() * precision).sum())


def _by_falling_value(
    relevance_map: RelevanceMap, targets: Sequence[Box]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Group the cells of a map by their value.

    Returns:
        Three float arrays of the same length: the distinct values, largest first, then the weight
        of the cells on the targets and off them at each value.
    """
    shares = shares_on_targets(relevance_map, targets)[relevance_map.inside]
    # np.unique sorts upwards, so the values are negated.
    values, index = np.unique(-relevance_map.values[relevance_map.inside], return_inverse=True)
    on = np.bincount(index, weights=shares, minlength=len(values))

    return -values, on, np.bincount(index, minlength=len(values)) - on


def deletion_curve(
    order: Sequence[int], score: Callable[[Sequence[int]], float], steps: int = 10
) -> np.ndarray:
    """Return the scores while the most relevant tokens are removed (Petsiuk et al. 2018).

    Args:
        order: indices of all tokens, the most relevant first.
        score: gives the score when these tokens are removed.
        steps: number of equal parts.

    Returns:
        Float array ``(steps + 1,)``, from no token removed to all removed.
    """
    return np.array([score(order[:cut]) for cut in _cuts(len(order), steps)])


def insertion_curve(
    order: Sequence[int], score: Callable[[Sequence[int]], float], steps: int = 10
) -> np.ndarray:
    """Return the scores while the most relevant tokens come back.

    Args:
        order: indices of all tokens, the most relevant first.
        score: gives the score when these tokens are removed.
        steps: number of equal parts.

    Returns:
        Float array ``(steps + 1,)``, from all tokens removed to none removed.
    """
    return np.array([score(order[cut:]) for cut in _cuts(len(order), steps)])


def _cuts(count: int, steps: int) -> list[int]:
    """Return where so many tokens are cut into equal parts, both ends included."""
    return [round(count * part / steps) for part in range(steps + 1)]


def area_under(curve: np.ndarray) -> float:
    """Return the mean height of a curve (trapezoids over equal parts).

    A faithful map has a low area for deletion and a high one for insertion.
    """
    return float(np.trapezoid(curve) / (len(curve) - 1))
