"""Candidate crops that cover an image, and their order by a map."""

from collections.abc import Sequence

import numpy as np

from entropy_grounding.core.geometry import Box
from entropy_grounding.core.records import RelevanceMap

OVERLAP = 0.25  # of the side of a cell, by which a candidate reaches over each border


def candidate_boxes(size: tuple[int, int], count: int) -> list[Box]:
    """Return ``count`` overlapping boxes that cover an image of ``size`` (width, height).

    They are the cells of a grid, as square as can be, each a little enlarged.
    """
    width, height = size
    grids = [(rows, count // rows) for rows in range(1, count + 1) if count % rows == 0]
    rows, cols = min(grids, key=lambda grid: (_elongation(size, grid), grid))

    boxes = []
    w, h = width / cols, height / rows
    for row in range(rows):
        for col in range(cols):
            x0 = max(0.0, (col - OVERLAP) * w)
            y0 = max(0.0, (row - OVERLAP) * h)
            x1 = min(float(width), (col + 1 + OVERLAP) * w)
            y1 = min(float(height), (row + 1 + OVERLAP) * h)
            boxes.append(Box(x0, y0, x1, y1))
    return boxes


def _elongation(size: tuple[int, int], grid: tuple[int, int]) -> float:
    """Return how far the cells of a grid (rows, columns) are from squares; 0 for squares."""
    return abs(np.log((size[0] / grid[1]) / (size[1] / grid[0])))


def ranked(boxes: Sequence[Box], relevance_map: RelevanceMap) -> list[Box]:
    """Return boxes by the relevance of the map in them, the most relevant first.

    A cell counts by the part of it that a box covers. Boxes with the same relevance keep their
    order.

    Args:
        boxes: in pixels of the original image.
        relevance_map: of the full image.
    """
    found = [relevance_in(box, relevance_map) for box in boxes]
    order = np.argsort(-np.array(found), kind="stable")
    return [boxes[index] for index in order]


def relevance_in(box: Box, relevance_map: RelevanceMap) -> float:
    """Return the sum of the unsmoothed relevance of a map inside a box."""
    view = relevance_map.view
    rows, cols = view.shape
    across = covered(box.x0, box.x1, view.box.x0, view.box.x1, cols)
    down = covered(box.y0, box.y1, view.box.y0, view.box.y1, rows)
    return float(down @ relevance_map.values @ across)


def covered(low: float, high: float, start: float, end: float, cells: int) -> np.ndarray:
    """Return which share of each of ``cells`` equal parts of [start, end] lies in [low, high]."""
    edges = np.linspace(start, end, cells + 1)
    common = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
    return np.clip(common, 0, None) * cells / (end - start)
