"""Regions: smooth a map, threshold it, rank its components, make boxes (paper, steps 4-6)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import ndimage
from skimage.filters import threshold_otsu

from entropy_grounding.core.checks import check_at_least, check_choice
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box
from entropy_grounding.core.records import Region, RelevanceMap

REFERENCE_GRID = 24  # cells per side for which the paper gives its sigma of 1.5 cells
SCORES: dict[str, Callable[[np.ndarray], np.floating]] = {
    "sum": np.sum,
    "mean": np.mean,
    "peak": np.max,
}


@dataclass(frozen=True, slots=True)
class CellRegion:
    """A connected component of salient cells.

    Attributes:
        score: of its unsmoothed relevance.
        cells: its tight half-open range ``(row0, col0, row1, col1)``.
    """

    score: float
    cells: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class RegionOptions:
    """How maps become boxes.

    Attributes:
        max_regions: K, the number of crops of a round.
        sigma: Gaussian smoothing in cells.
        scale_sigma: read ``sigma`` as cells of a 24-cell grid and scale it to the grid at hand.
        threshold: "elbow", "otsu", "max:F" (fraction F of the largest value), "quantile:Q", or an
            absolute value.
        connectivity: 4 or 8 neighbours.
        score: "sum", "mean" or "peak" of the unsmoothed relevance.
        max_aspect: largest ratio of the sides of a box; the shorter side is widened.
        aspect_rule: "two_sided", or "released" for the authors' arithmetic, which turns tall boxes
            into wide ones.
        margin: added on every side, as a fraction of the longer side of the box.
        min_side: smallest side of a box, as a fraction of the shorter side of the image; two cells
            of 24 by default.
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

    def __post_init__(self) -> None:
        """Refuse impossible values before any model runs."""
        check_choice("regions.score", self.score, SCORES)
        check_choice("regions.connectivity", self.connectivity, (4, 8))
        check_choice("regions.aspect_rule", self.aspect_rule, ("two_sided", "released"))

        for name in ("max_regions", "max_aspect"):
            check_at_least(f"regions.{name}", getattr(self, name), 1)
        for name in ("sigma", "margin", "min_side", "max_iou"):
            check_at_least(f"regions.{name}", getattr(self, name), 0)
        threshold_value(np.array([0.0, 1.0]), self.threshold)  # raises for an unknown rule

    def sigma_for(self, shape: tuple[int, int]) -> float:
        """Return the smoothing in cells of a ``(rows, cols)`` grid.

        Grids of 8 x 8 and of 41 x 61 cells are blurred alike. The shorter side counts: on 41 x 61
        cells it gives 2.56, where the authors' Qwen script uses 2.5.
        """
        return self.sigma * min(shape) / REFERENCE_GRID if self.scale_sigma else self.sigma


# --- From a map to components ---


def smooth(
    relevance: Float[np.ndarray, "rows cols"], sigma: float
) -> Float[np.ndarray, "rows cols"]:
    """Return the map blurred by a Gaussian of ``sigma`` cells.

    Borders are reflected, so a constant map stays constant.
    """
    values = np.asarray(relevance, dtype=np.float64)
    return ndimage.gaussian_filter(values, sigma, mode="reflect")


def elbow_threshold(values: np.ndarray) -> float:
    """Return the elbow of the ascending curve of values (paper, step 4).

    It is the value farthest from the chord between the ends of the curve. That is ``argmax_i |(y_i
    - y_0) / (y_{n-1} - y_0) - i / (n-1)|``. A constant or single value is returned as it is; since
    cells must lie strictly above the threshold, a constant map has no region.

    Raises:
        InputError: for no value.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64).ravel())
    if ordered.size == 0:
        raise InputError("The elbow of an empty map is not defined: pass at least one value.")

    span = ordered[-1] - ordered[0]
    if span <= 0:
        return float(ordered[0])

    chord = np.linspace(0.0, 1.0, ordered.size)
    distance = np.abs((ordered - ordered[0]) / span - chord)
    return float(ordered[np.argmax(distance)])


def threshold_value(values: np.ndarray, threshold: str | float) -> float:
    """Return the threshold of values, for a rule by name or an absolute number.

    Raises:
        InputError: for an unknown rule.
    """
    if not isinstance(threshold, str):
        return float(threshold)

    name, _, argument = threshold.partition(":")
    try:
        if name == "elbow":
            return elbow_threshold(values)
        if name == "otsu":
            constant = np.ptp(values) == 0
            return float(np.max(values)) if constant else float(threshold_otsu(np.asarray(values)))
        if name == "max":
            return float(argument or 0.5) * float(np.max(values))
        if name == "quantile":
            return float(np.quantile(values, float(argument or 0.9)))
        return float(threshold)
    except ValueError as error:
        raise InputError(
            f"Unknown threshold '{threshold}': use elbow, otsu, "
            "max:0.5 (fraction of the largest value), quantile:0.9, or a number."
        ) from error


def label_components(mask: np.ndarray, connectivity: int) -> tuple[np.ndarray, int]:
    """Return the labelled connected components of a bool array ``(rows, cols)``, and their number.

    Raises:
        InputError: for another connectivity than 4 or 8.
    """
    if connectivity not in (4, 8):
        raise InputError(f"Unknown connectivity {connectivity}: use 4 or 8 neighbours.")

    structure = ndimage.generate_binary_structure(2, 1 if connectivity == 4 else 2)
    labels, count = ndimage.label(mask, structure=structure)
    return labels, count


def find_regions(
    relevance: Float[np.ndarray, "rows cols"],
    *,
    sigma: float,
    threshold: str | float,
    connectivity: int,
    score: str = "sum",
) -> list[CellRegion]:
    """Return the regions of one map, the best first (paper, steps 4-5).

    Args:
        relevance: array ``(rows, cols)``, unsmoothed.
        sigma: Gaussian smoothing in cells; 0 for none.
        threshold: a rule by name or an absolute value, on the smoothed map; cells strictly above it
            are kept.
        connectivity: 4 or 8.
        score: "sum", "mean" or "peak" of the unsmoothed relevance over the component.
    """
    values = np.asarray(relevance, dtype=np.float64)
    inside = np.ones(values.shape, bool)
    return components(values, smooth(values, sigma), inside, threshold, connectivity, score)


def components(
    values: np.ndarray,
    smoothed: np.ndarray,
    inside: np.ndarray,
    threshold: str | float,
    connectivity: int,
    score: str,
) -> list[CellRegion]:
    """Return the components of the cells that stand out, the best first.

    A cell stands out if it lies inside the image and its smoothed relevance strictly above the
    threshold.

    Args:
        values: unsmoothed relevance ``(rows, cols)``, for the score.
        smoothed: smoothed relevance ``(rows, cols)``, for the threshold.
        inside: which cells lie on the image, bool ``(rows, cols)``.
        threshold: a rule by name or an absolute value.
        connectivity: 4 or 8.
        score: a key of `SCORES`.
    """
    if score not in SCORES:
        raise InputError(f"Unknown score '{score}': use {', '.join(SCORES)}.")
    if not inside.any():
        return []

    mask = (smoothed > threshold_value(smoothed[inside], threshold)) & inside
    labels, _ = label_components(mask, connectivity)

    regions = []
    for number, (rows, cols) in enumerate(ndimage.find_objects(labels), start=1):
        member = values[labels == number]
        cells = (rows.start, cols.start, rows.stop, cols.stop)
        regions.append(CellRegion(float(SCORES[score](member)), cells))
    return sorted(regions, key=lambda region: (-region.score, region.cells))


# --- From components to boxes ---


def fit_box(box: Box, size: tuple[int, int], options: RegionOptions) -> Box:
    """Return the box with margin, minimum side and aspect limit, inside the image; never empty.

    Args:
        box: pixels of the original image, possibly reaching outside it.
        size: (width, height) of the original image.
        options: margin, smallest side, aspect limit.
    """
    box = box.expand(options.margin * max(box.width, box.height))
    least = max(options.min_side * min(size), 1.0)
    width, height = max(box.width, least), max(box.height, least)

    if options.aspect_rule == "released" and height > options.max_aspect * width:
        width = options.max_aspect * height
    widened = max(width, height / options.max_aspect)
    heightened = max(height, width / options.max_aspect)

    x0, x1 = fit_side(box.center[0], widened, size[0])
    y0, y1 = fit_side(box.center[1], heightened, size[1])
    return Box(x0, y0, x1, y1)


def fit_side(center: float, length: float, limit: float) -> tuple[float, float]:
    """Place an interval around ``center`` inside [0, limit]; a longer one is the whole side."""
    length = min(length, float(limit))
    start = min(max(center - length / 2, 0.0), limit - length)
    return start, start + length


def propose_regions(
    maps: Sequence[RelevanceMap], size: tuple[int, int], options: RegionOptions
) -> tuple[Region, ...]:
    """Let the components of all maps compete, and return the best K as boxes (paper, steps 5-6).

    Args:
        maps: of the full image and its crops.
        size: (width, height) of the original image in pixels.
        options: K, threshold, score, and the shape of boxes.
    """
    regions: list[Region] = []
    for index, relevance in enumerate(maps):
        parts = components(
            relevance.values,
            relevance.smoothed,
            relevance.inside,
            options.threshold,
            options.connectivity,
            options.score,
        )
        for part in parts:
            box = fit_box(relevance.view.cell_box(part.cells), size, options)
            regions.append(Region(box, part.score, index, part.cells))

    regions.sort(key=lambda region: -region.score)
    kept: list[Region] = []
    for region in regions:
        if all(region.box.iou(better.box) <= options.max_iou for better in kept):
            kept.append(region)
    return tuple(kept[: options.max_regions])
