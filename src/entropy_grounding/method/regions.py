"""Regions: smooth a relevance map, threshold it, take connected components, rank them, turn them into boxes (paper, steps 4-5)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import ndimage
from skimage.filters import threshold_otsu

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box
from entropy_grounding.core.records import Region, RelevanceMap

REFERENCE_GRID = 24  # cells a side for which the paper's sigma of 1.5 cells is given
SCORES: dict[str, Callable[[np.ndarray], np.floating]] = {
    "sum": np.sum,
    "mean": np.mean,
    "peak": np.max,
}


@dataclass(frozen=True, slots=True)
class CellRegion:
    """A connected component of salient cells: its score, and its tight half-open ``(row0, col0, row1, col1)``."""

    score: float
    cells: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class RegionOptions:
    """How maps become boxes.

    Attributes:
        max_regions: K, the number of crops of a round.
        sigma: Gaussian smoothing in cells.
        scale_sigma: read ``sigma`` as cells of a 24-cell grid and scale it to the grid at hand.
        threshold: "elbow", "otsu", "max:F" (fraction F of the largest value), "quantile:Q", or an absolute value.
        connectivity: 4 or 8 neighbours.
        score: "sum", "mean" or "peak" of the unsmoothed relevance.
        max_aspect: largest ratio of the sides of a box; the shorter side is widened.
        aspect_rule: "two_sided", or "released" for the authors' arithmetic, which turns tall boxes into wide ones.
        margin: added on every side, as a fraction of the longer side of the box.
        min_side: smallest side of a box, as a fraction of the shorter side of the image; two cells of 24 by default.
        max_iou: drop a region whose box overlaps a better one by more than this; 1 keeps all.
    """

    max_regions: int = 2
    sigma: float = 1.5
    scale_sigma: bool = True
    threshold: str | float = "elbow"
    connectivity: int = 4
    score: str = "sum"
    max_aspect: float = 3.0
    aspect_rule: str = "two_sided"
    margin: float = 0.0
    min_side: float = 0.0833
    max_iou: float = 1.0

    def sigma_for(self, shape: tuple[int, int]) -> float:
        """Return the smoothing in cells of a ``(rows, cols)`` grid, so that 8 x 8 and 41 x 61 grids are blurred alike.

        The shorter side counts: on 41 x 61 cells it gives 2.56, where the authors' Qwen script uses 2.5.
        """
        return self.sigma * min(shape) / REFERENCE_GRID if self.scale_sigma else self.sigma


def smooth(
    relevance: Float[np.ndarray, "rows cols"], sigma: float
) -> Float[np.ndarray, "rows cols"]:
    """Return the map blurred by a Gaussian of ``sigma`` cells (reflecting borders, so a constant map stays constant)."""
    return ndimage.gaussian_filter(np.asarray(relevance, dtype=np.float64), sigma, mode="reflect")


def elbow_threshold(values: np.ndarray) -> float:
    """Return the value of the ascending curve that is farthest from the chord between its ends (paper, step 4).

    That is ``argmax_i |(y_i - y_0) / (y_{n-1} - y_0) - i / (n-1)|``. A constant or single value is returned as it is, and since
    cells must lie strictly above the threshold, a constant map has no region.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64).ravel())
    if ordered.size == 0:
        raise InputError("The elbow of an empty map is not defined: pass at least one value.")
    span = ordered[-1] - ordered[0]
    if span <= 0:
        return float(ordered[0])
    distance = np.abs((ordered - ordered[0]) / span - np.linspace(0.0, 1.0, ordered.size))
    return float(ordered[np.argmax(distance)])


def threshold_value(values: np.ndarray, threshold: str | float) -> float:
    """Return the threshold of these values for a rule by name or an absolute number (see `RegionOptions`)."""
    if not isinstance(threshold, str):
        return float(threshold)
    name, _, argument = threshold.partition(":")
    try:
        if name == "elbow":
            return elbow_threshold(values)
        if name == "otsu":
            return (
                float(threshold_otsu(np.asarray(values)))
                if np.ptp(values) > 0
                else float(np.max(values))
            )
        if name == "max":
            return float(argument or 0.5) * float(np.max(values))
        if name == "quantile":
            return float(np.quantile(values, float(argument or 0.9)))
        return float(threshold)
    except ValueError as error:
        raise InputError(
            f"Unknown threshold '{threshold}': use elbow, otsu, max:0.5 (fraction of the largest value), quantile:0.9, or a number."
        ) from error


def label_components(mask: np.ndarray, connectivity: int) -> tuple[np.ndarray, int]:
    """Return the labelled connected components of a bool array ``(rows, cols)`` and their number."""
    if connectivity not in (4, 8):
        raise InputError(f"Unknown connectivity {connectivity}: use 4 or 8 neighbours.")
    labels, count = ndimage.label(
        mask, structure=ndimage.generate_binary_structure(2, 1 if connectivity == 4 else 2)
    )
    return labels, count


def find_regions(
    relevance: Float[np.ndarray, "rows cols"],
    *,
    sigma: float,
    threshold: str | float,
    connectivity: int,
    score: str = "sum",
) -> list[CellRegion]:
    """Return the regions of one map, best first (paper, steps 4-5).

    Args:
        relevance: array ``(rows, cols)``, unsmoothed.
        sigma: Gaussian smoothing in cells; 0 for none.
        threshold: a rule by name or an absolute value, applied to the smoothed map; cells strictly above it are kept.
        connectivity: 4 or 8.
        score: "sum", "mean" or "peak" of the unsmoothed relevance over the component.
    """
    values = np.asarray(relevance, dtype=np.float64)
    return components(
        values, smooth(values, sigma), np.ones(values.shape, bool), threshold, connectivity, score
    )


def components(
    values: np.ndarray,
    smoothed: np.ndarray,
    inside: np.ndarray,
    threshold: str | float,
    connectivity: int,
    score: str,
) -> list[CellRegion]:
    """Return the components of the cells of ``smoothed`` that lie strictly above the threshold and inside the image, best first."""
    if score not in SCORES:
        raise InputError(f"Unknown score '{score}': use {', '.join(SCORES)}.")
    if not inside.any():
        return []
    mask = (smoothed > threshold_value(smoothed[inside], threshold)) & inside
    labels, _ = label_components(mask, connectivity)
    found = []
    for number, (rows, cols) in enumerate(ndimage.find_objects(labels), start=1):
        member = values[labels == number]
        found.append(
            CellRegion(float(SCORES[score](member)), (rows.start, cols.start, rows.stop, cols.stop))
        )
    return sorted(found, key=lambda region: (-region.score, region.cells))


def fit_box(box: Box, size: tuple[int, int], options: RegionOptions) -> Box:
    """Return the box with margin, minimum side and aspect limit applied, moved and clipped into the image; never empty.

    Args:
        box: pixels of the original image, possibly reaching outside it.
        size: (width, height) of the original image.
        options: margin, smallest side, aspect limit.
    """
    box = box.expand(options.margin * max(box.width, box.height))
    least = max(options.min_side * min(size), 1.0)
    width, height = max(box.width, least), max(box.height, least)
    if options.aspect_rule == "released" and height > options.max_aspect * width:
        width, height = options.max_aspect * height, height
    width, height = max(width, height / options.max_aspect), max(height, width / options.max_aspect)
    x0, x1 = fit_side(box.center[0], width, size[0])
    y0, y1 = fit_side(box.center[1], height, size[1])
    return Box(x0, y0, x1, y1)


def fit_side(center: float, length: float, limit: float) -> tuple[float, float]:
    """Place an interval of ``length`` around ``center`` inside [0, limit]; longer ones become the whole side."""
    length = min(length, float(limit))
    start = min(max(center - length / 2, 0.0), limit - length)
    return start, start + length


def propose_regions(
    maps: Sequence[RelevanceMap], size: tuple[int, int], options: RegionOptions
) -> tuple[Region, ...]:
    """Let the components of all maps compete and return the best K as boxes of the original image (paper, steps 5-6)."""
    found: list[Region] = []
    for index, each in enumerate(maps):
        for part in components(
            each.values,
            each.smoothed,
            each.inside,
            options.threshold,
            options.connectivity,
            options.score,
        ):
            box = fit_box(each.view.cell_box(part.cells), size, options)
            found.append(Region(box, part.score, index, part.cells))
    found.sort(key=lambda region: -region.score)
    kept: list[Region] = []
    for region in found:
        if all(region.box.iou(better.box) <= options.max_iou for better in kept):
            kept.append(region)
    return tuple(kept[: options.max_regions])
