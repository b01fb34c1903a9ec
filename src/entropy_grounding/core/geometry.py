"""Boxes in pixels of the original image, and grids of visual tokens over it.

Boxes are XYXY, half-open, in float pixels of the *original image*. Arrays are (rows, cols); PIL sizes are (width, height).
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle ``x0 <= x < x1``, ``y0 <= y < y1`` in pixels of the original image."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        """Width in pixels."""
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        """Height in pixels."""
        return self.y1 - self.y0

    @property
    def area(self) -> float:
        """Area in square pixels; 0 for an inverted box."""
        return max(self.width, 0.0) * max(self.height, 0.0)

    @property
    def center(self) -> tuple[float, float]:
        """Center (x, y) in pixels."""
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    def expand(self, margin: float) -> "Box":
        """Return the box grown by ``margin`` pixels on every side."""
        return Box(self.x0 - margin, self.y0 - margin, self.x1 + margin, self.y1 + margin)

    def intersection(self, other: "Box") -> "Box | None":
        """Return the common rectangle, or None when its area is zero."""
        box = Box(
            max(self.x0, other.x0),
            max(self.y0, other.y0),
            min(self.x1, other.x1),
            min(self.y1, other.y1),
        )
        return box if box.width > 0 and box.height > 0 else None

    def iou(self, other: "Box") -> float:
        """Return intersection over union, in [0, 1]."""
        common = self.intersection(other)
        shared = common.area if common else 0.0
        return shared / (self.area + other.area - shared) if shared else 0.0

    def contains(self, x: float, y: float) -> bool:
        """Tell whether the point (x, y) lies inside (half-open)."""
        return self.x0 <= x < self.x1 and self.y0 <= y < self.y1

    def xyxy(self) -> tuple[float, float, float, float]:
        """Return ``(x0, y0, x1, y1)``."""
        return self.x0, self.y0, self.x1, self.y1


@dataclass(frozen=True, slots=True)
class View:
    """A rectangular grid of visual tokens and the rectangle of the original image that it covers.

    Attributes:
        image_index: which picture of the prompt it belongs to; 0 is the full image, the crops follow.
        token_indices: int array ``(rows, cols)``, positions in the prompt's flat sequence of visual tokens.
        box: what the grid covers, in pixels of the original image; reaches outside ``shown`` where the picture was padded.
        shown: what the picture shows of the original image; None when it is all of ``box``.
    """

    image_index: int
    token_indices: np.ndarray
    box: Box
    shown: Box | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the token grid."""
        rows, cols = self.token_indices.shape
        return rows, cols

    def cell_box(self, cells: tuple[int, int, int, int]) -> Box:
        """Return the pixels of the half-open cell range ``(row0, col0, row1, col1)``."""
        row0, col0, row1, col1 = cells
        rows, cols = self.shape
        height, width = self.box.height / rows, self.box.width / cols
        x0, y0 = self.box.x0, self.box.y0
        return Box(x0 + col0 * width, y0 + row0 * height, x0 + col1 * width, y0 + row1 * height)

    def cells_inside(self) -> np.ndarray:
        """Return a bool array ``(rows, cols)``: which cells show the picture rather than its padding.

        Those that hold at least half as much of it as the fullest row and column do: half a cell, or less where the picture is thinner.
        """
        shown = self.shown or self.box
        rows, cols = self.shape
        down = _shares(self.box.y0, self.box.y1, rows, shown.y0, shown.y1)
        across = _shares(self.box.x0, self.box.x1, cols, shown.x0, shown.x1)
        return (down >= down.max() / 2)[:, None] & (across >= across.max() / 2)[None, :]


def _shares(start: float, end: float, cells: int, low: float, high: float) -> np.ndarray:
    """Return how much of each of ``cells`` equal parts of [start, end] lies in [low, high], in pixels."""
    edges = np.linspace(start, end, cells + 1)
    return np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0.0, None)
