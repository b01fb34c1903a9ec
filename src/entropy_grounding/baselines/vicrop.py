"""ViCrop (arXiv 2502.17422), from its description.

It computes one map of the full image, crops one square window, and answers from both.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from entropy_grounding.baselines.privileged import Privileged
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box, View
from entropy_grounding.core.records import Grounding, Region, RelevanceMap, ZoomStep
from entropy_grounding.method.answer import finish
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.method.regions import fit_side
from entropy_grounding.method.relevance import on_image
from entropy_grounding.method.signals import round_relevance
from entropy_grounding.method.zoom import zoom_step
from entropy_grounding.vlm.session import ImageSession
from entropy_grounding.vlm.types import Picture

RATIOS = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0)  # sides of the windows relative to the smallest
REFERENCE_SIDE = 336  # pixels: LLaVA-1.5's input
REFERENCE_TILE = 1024  # pixels: ViCrop's tile of high resolution for that input


# --- The window ---


def search_window(
    relevance: Float[np.ndarray, "rows cols"], image_size: tuple[float, float], window: float
) -> tuple[float, float, float, float]:
    """Return the square window of an image whose relevance stands out most from its neighbours.

    For each of `RATIOS` the window of the largest sum, moved by cells, is compared with those one
    cell away: (largest - mean of its at most four neighbours) / cells of the window. The ratio with
    the largest difference wins. A window is ``int(side / cell)`` cells wide; the box is square
    around the center of its cells, and moved into the image. If the smallest window covers the map,
    the whole image is returned.

    Args:
        relevance: array ``(rows, cols)`` that covers the whole image.
        image_size: (width, height) in pixels.
        window: side of the smallest window in pixels of the original image.

    Returns:
        (x0, y0, x1, y1) in pixels.

    Raises:
        InputError: for a window below one pixel.
    """
    if window < 1:
        raise InputError(f"window is {window}: use at least 1 pixel.")

    values = np.asarray(relevance, dtype=np.float64)
    rows, cols = values.shape
    width, height = image_size[0] / cols, image_size[1] / rows  # of a cell
    best, box = -np.inf, (0.0, 0.0, float(image_size[0]), float(image_size[1]))

    for ratio in RATIOS:
        side = window * ratio
        down, across = _cells(side, height, rows), _cells(side, width, cols)
        if (down, across) == (rows, cols):
            break

        windows = np.lib.stride_tricks.sliding_window_view(values, (down, across))
        sums = windows.sum((2, 3))  # (places down, places across)
        row, col = (int(i) for i in np.unravel_index(np.argmax(sums), sums.shape))
        around = np.mean(_neighbours(sums, row, col))
        difference = (sums[row, col] - around) / (down * across)

        if difference > best:
            x0, x1 = fit_side((col + across / 2) * width, side, image_size[0])
            y0, y1 = fit_side((row + down / 2) * height, side, image_size[1])
            best, box = difference, (x0, y0, x1, y1)

    return box


def _cells(side: float, cell: float, most: int) -> int:
    """Return how many whole cells a side holds: at least one, at most all."""
    return min(max(int(side / cell), 1), most)


def _neighbours(sums: np.ndarray, row: int, col: int) -> list[float]:
    """Return the values one step up, down, left and right, as far as there are any."""
    values = []
    for r, c in ((row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)):
        if 0 <= r < sums.shape[0] and 0 <= c < sums.shape[1]:
            values.append(float(sums[r, c]))

    return values


# --- The method ---


@dataclass(frozen=True, slots=True)
class _PictureMap:
    """The map of a picture that was alone in the prompt.

    Attributes:
        values: relevance of the cells that lie on the picture ``(rows, cols)``.
        covered: the part of the original image that they cover, in pixels.
        logits: next-token logits ``(vocabulary,)``.
    """

    values: np.ndarray
    covered: Box
    logits: Tensor


def vicrop(
    session: ImageSession, question: str, options: GroundingOptions, given: Privileged
) -> Grounding:
    """Answer from the full image and the one window that stands out on its map."""
    side = session.vlm.family.input_side(session.vlm.model.config, session.vlm.processor)
    tile = options.window.tile or round(REFERENCE_TILE * side / REFERENCE_SIDE)
    pictures = tiles(session, tile) if options.window.high_res else [[session.full]]

    maps = [[_picture_map(session, each, question, options) for each in row] for row in pictures]
    values = np.block([[part.values for part in row] for row in maps])
    first, last = maps[0][0].covered, maps[-1][-1].covered
    covered = Box(first.x0, first.y0, last.x1, last.y1)

    window = _window_on(session, values, covered, options.window.side or side)
    step = _as_step(values, covered, window, maps, pictures, options)
    return finish(session, question, (window,), options, "window", [step])


def _window_on(session: ImageSession, values: np.ndarray, covered: Box, side: float) -> Box:
    """Return the window of a map, in pixels of the original image and inside it."""
    x0, y0, x1, y1 = search_window(values, (covered.width, covered.height), side)
    placed = Box(x0 + covered.x0, y0 + covered.y0, x1 + covered.x0, y1 + covered.y0)

    return placed.intersection(session.full.box) or session.full.box


def _as_step(
    values: np.ndarray,
    covered: Box,
    window: Box,
    maps: list[list[_PictureMap]],
    pictures: list[list[Picture]],
    options: GroundingOptions,
) -> ZoomStep:
    """Record the one round: the maps of all tiles as one, and the window as its region."""
    view = View(0, np.arange(values.size).reshape(values.shape), covered)
    one = RelevanceMap(view, values, values, np.ones(values.shape, bool))
    region = Region(window, float(values.max()), 0, (0, 0, *values.shape))

    logits = torch.stack([part.logits for row in maps for part in row])
    tokens = sum(len(picture.features) for row in pictures for picture in row)
    return zoom_step(logits.mean(0), (), (one,), (region,), options, tokens)


def tiles(session: ImageSession, height: int) -> list[list[Picture]]:
    """Return the image cut into rows and columns of equal tiles, about as wide as high.

    The released code computes no column for portraits of up to this height, and divides by zero.
    Here there is at least one column.

    Args:
        session: the image under the VLM.
        height: largest height of a tile in pixels.
    """
    image = session.image
    rows = -(-image.height // height)  # rounded up
    cols = max(1, int(rows * image.width / image.height))
    w, h = image.width // cols, image.height // rows

    pictures = []
    for row in range(rows):
        places = [Box(col * w, row * h, (col + 1) * w, (row + 1) * h) for col in range(cols)]
        pictures.append([session.vlm.encode(image, place) for place in places])
    return pictures


def _picture_map(
    session: ImageSession, picture: Picture, question: str, options: GroundingOptions
) -> _PictureMap:
    """Return the map of a picture that is alone in the prompt."""
    found = round_relevance(session, session.vlm.prompt(question, [picture]), options)
    view = found.views[0]
    grid = found.relevance.double().cpu().numpy()[view.token_indices]  # (rows, cols)
    return _PictureMap(*_of_cells(grid, view), found.logits)


def _of_cells(values: np.ndarray, view: View) -> tuple[np.ndarray, Box]:
    """Return the part of a map that lies on the picture, and what its cells cover.

    The box is in pixels of the original image.
    """
    inside = view.cells_inside()
    rows, cols = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    cells = (int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1)

    return on_image(values, inside), view.cell_box(cells)
