"""Boxes in pixels of the original image, and grids of visual tokens over it.

Boxes are XYXY, half-open, in float pixels of the *original image*. Arrays are (rows, cols); PIL
sizes are (width, height).
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle ``x0 <= x < x1``, ``y0 <= y < y1`` in pixels of the original image.

    Attributes:
        x0: left edge.
        y0: top edge.
        x1: right edge.
        y1: bottom edge.
    """

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
        """Area in square pixels; 0 for a box whose edges are in the wrong order."""
        return max(self.width, 0.0) * max(self.height, 0.0)

    @property
    def center(self) -> tuple[float, float]:
        """Center (x, y) in pixels."""
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    def expand(self, margin: float) -> "Box":
        """Return the box grown by ``margin`` pixels on every side."""
        return Box(self.x0 - margin, self.y0 - margin, self.x1 + margin, self.y1 + margin)

    def intersection(self, other: "Box") -> "Box | None":
        """Return the common rectangle, or None if its area is zero."""
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

        # The union counts the shared part once.
        return shared / (self.area + other.area - shared) if shared else 0.0

    def contains(self, x: float, y: float) -> bool:
        """Tell whether the point (x, y) lies in the box; the right and bottom edges do not."""
        return self.x0 <= x < self.x1 and self.y0 <= y < self.y1

    def xyxy(self) -> tuple[float, float, float, float]:
        """Return ``(x0, y0, x1, y1)``."""
        return self.x0, self.y0, self.x1, self.y1


@dataclass(frozen=True, slots=True)
class View:
    """A rectangular grid of visual tokens and the rectangle of the original image that it covers.

    Attributes:
        image_index: index of its picture in the prompt; 0 is the full image, then the crops follow.
        token_indices: int array ``(rows, cols)``, positions in the flat sequence of the visual
            tokens of the prompt.
        box: the area that the grid covers, in pixels of the original image. It is larger than
            ``shown`` if the picture was padded.
        shown: the area that the picture shows, in pixels of the original image; None if it is all
            of ``box``.
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
        """Return the box of the half-open cell range ``(row0, col0, row1, col1)``, in pixels."""
        row0, col0, row1, col1 = cells
        rows, cols = self.shape

        # Size of one cell. All cells are equal, also those that show padding.
        height, width = self.box.height / rows, self.box.width / cols
        x0, y0 = self.box.x0, self.box.y0

        return Box(x0 + col0 * width, y0 + row0 * height, x0 + col1 * width, y0 + row1 * height)

    def cells_inside(self) -> np.ndarray:
        """Return a bool array ``(rows, cols)``, true for cells that show the picture.

        The other cells show padding. A cell counts if it holds at least half as much of the picture
        as the fullest row and the fullest column do. This is half a cell, or less if the picture is
        thinner than a cell.
        """
        shown = self.shown or self.box
        rows, cols = self.shape
        down = _shares(self.box.y0, self.box.y1, rows, shown.y0, shown.y1)
        across = _shares(self.box.x0, self.box.x1, cols, shown.x0, shown.x1)

        # (rows, 1) and (1, cols) give (rows, cols).
        return (down >= down.max() / 2)[:, None] & (across >= across.max() / 2)[None, :]


def _shares(start: float, end: float, cells: int, low: float, high: float) -> np.ndarray:
    """Divide [start, end] into equal cells and return how much of each lies in [low, high].

    Returns:
        Float array ``(cells,)`` in pixels.
    """
    edges = np.linspace(start, end, cells + 1)

    return np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0.0, None)
