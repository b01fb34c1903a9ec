"""ViCrop (arXiv 2502.17422), from its description: one map of the full image, one square window, an answer from both."""

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage
from torch import Tensor

from entropy_grounding.baselines.privileged import Given
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box, View
from entropy_grounding.core.records import Grounding, Region, RelevanceMap
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.method.regions import fit_side
from entropy_grounding.method.relevance import on_image, relative_relevance
from entropy_grounding.method.zoom import zoom_step
from entropy_grounding.vlm.session import Session
from entropy_grounding.vlm.types import Picture, PixelGradient

RATIOS = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0)  # sides of the windows relative to the smallest
REFERENCE_SIDE, REFERENCE_TILE = (
    336,
    1024,
)  # pixels: LLaVA-1.5's input, and ViCrop's tile of high resolution for it


def search_window(
    relevance: Float[np.ndarray, "rows cols"], image_size: tuple[float, float], window: float
) -> tuple[float, float, float, float]:
    """Return the square window of an image whose relevance stands out most from its neighbours, as (x0, y0, x1, y1) in pixels.

    For each of `RATIOS` the window of the largest sum, moved by cells, is compared with those one cell away:
    (largest - mean of its at most four neighbours) / cells of the window; the ratio with the largest difference wins. A window is
    ``int(side / cell)`` cells wide, the box is square around the center of its cells and moved into the image. Where the smallest window
    covers the map, that is the whole image.

    Args:
        relevance: array ``(rows, cols)`` that covers the whole image.
        image_size: (width, height) in pixels.
        window: pixels of the original image, side of the smallest window.

    Raises:
        InputError: for a window below one pixel.
    """
    if window < 1:
        raise InputError(f"window is {window}: use at least 1 pixel.")
    values = np.asarray(relevance, dtype=np.float64)
    rows, cols = values.shape
    width, height = image_size[0] / cols, image_size[1] / rows
    best, found = -np.inf, (0.0, 0.0, float(image_size[0]), float(image_size[1]))
    for ratio in RATIOS:
        side = window * ratio
        down, across = (
            min(max(int(side / cell), 1), cells) for cell, cells in ((height, rows), (width, cols))
        )
        if (down, across) == (rows, cols):
            break
        sums = np.lib.stride_tricks.sliding_window_view(values, (down, across)).sum((2, 3))
        row, col = (int(i) for i in np.unravel_index(np.argmax(sums), sums.shape))
        difference = (sums[row, col] - np.mean(_neighbours(sums, row, col))) / (down * across)
        if difference > best:
            best = difference
            x0, x1 = fit_side((col + across / 2) * width, side, image_size[0])
            y0, y1 = fit_side((row + down / 2) * height, side, image_size[1])
            found = (x0, y0, x1, y1)
    return found


def _neighbours(sums: np.ndarray, row: int, col: int) -> list[float]:
    """Return the values one step up, down, left and right, as far as there are any."""
    places = ((row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1))
    return [
        float(sums[r, c]) for r, c in places if 0 <= r < sums.shape[0] and 0 <= c < sums.shape[1]
    ]


def vicrop(session: Session, question: str, options: GroundingOptions, given: Given) -> Grounding:
    """Answer from the full image and the one window that stands out on the map of ``options.signal``."""
    side = session.vlm.family.input_side(session.vlm.model.config, session.vlm.processor)
    tile = options.window.tile or round(REFERENCE_TILE * side / REFERENCE_SIDE)
    pictures = tiles(session, tile) if options.window.high_res else [[session.full]]
    read = [[_read(session, picture, question, options) for picture in row] for row in pictures]
    logits = torch.stack([logits for row in read for _, _, logits in row])
    values = np.block([[values for values, _, _ in row] for row in read])
    first, last = read[0][0][1], read[-1][-1][1]
    covered = Box(first.x0, first.y0, last.x1, last.y1)
    x0, y0, x1, y1 = search_window(
        values, (covered.width, covered.height), options.window.side or side
    )
    placed = Box(x0 + covered.x0, y0 + covered.y0, x1 + covered.x0, y1 + covered.y0)
    window = placed.intersection(session.full.box) or session.full.box
    one = RelevanceMap(
        View(0, np.arange(values.size).reshape(values.shape), covered),
        values,
        values,
        np.ones(values.shape, bool),
    )
    region = Region(window, float(values.max()), 0, (0, 0, *values.shape))
    step = zoom_step(
        logits.mean(0),
        (),
        (one,),
        (region,),
        options,
        sum(len(p.features) for row in pictures for p in row),
    )
    return session.finish(question, (window,), options, "window", [step])


def tiles(session: Session, height: int) -> list[list[Picture]]:
    """Return the image cut into rows and columns of equal tiles of at most this height, about as wide as high.

    The released code computes no column for portraits of up to this height, and divides by zero; here there is at least one.
    """
    image = session.image
    rows = -(-image.height // height)
    cols = max(1, int(rows * image.width / image.height))
    w, h = image.width // cols, image.height // rows
    places = [
        [Box(col * w, row * h, (col + 1) * w, (row + 1) * h) for col in range(cols)]
        for row in range(rows)
    ]
    return [[session.vlm.look(image, place) for place in line] for line in places]


def _read(
    session: Session, picture: Picture, question: str, options: GroundingOptions
) -> tuple[np.ndarray, Box, Tensor]:
    """Return the map of a picture that is alone in the prompt ``(rows, cols)``, what it covers, and the next-token logits."""
    neutral = session.neutral(options)
    if options.signal == "pixel_gradient":
        found = session.pixel_gradient(question, picture, "max_log_probability")
        energy = found.gradient.norm(dim=0)
        if neutral is not None:
            divisor = session.pixel_gradient(neutral, picture, "max_log_probability").gradient.norm(
                dim=0
            )
            energy = relative_relevance(energy, divisor, floor=options.neutral_floor)
        return (*_of_cells(sharp(found, energy, options.window.median), found.view), found.logits)
    prompt = session.vlm.prompt(question, [picture])
    reading = session.read(prompt, options)
    relevance = reading.relevance
    if neutral is not None:
        divisor = session.read(session.vlm.prompt(neutral, [picture]), options).relevance
        relevance = relative_relevance(relevance, divisor, floor=options.neutral_floor)
    view = prompt.views[0]
    return (*_of_cells(relevance.double().cpu().numpy()[view.token_indices], view), reading.logits)


def _of_cells(values: np.ndarray, view: View) -> tuple[np.ndarray, Box]:
    """Return the part of a map that lies on the picture, and what these cells cover of the original image."""
    inside = view.cells_inside()
    rows, cols = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return on_image(values, inside), view.cell_box(
        (int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1)
    )


def sharp(
    found: PixelGradient, energy: Float[Tensor, "height width"], median: int
) -> Float[np.ndarray, "rows cols"]:
    """Return the energy of each cell where the picture has detail: the mean over its pixels, those without counted as 0.

    Detail is the picture minus its 3 x 3 Gaussian blur, L2 over colors, through a median filter, above its own median.
    """
    pixels = found.pixels.cpu().numpy()
    detail = np.linalg.norm(
        pixels - ndimage.gaussian_filter(pixels, (0, 0.8, 0.8), truncate=1.25), axis=0
    )
    detail = ndimage.median_filter(detail, median)
    masked = energy.double().cpu().numpy() * (detail > np.median(detail))
    rows, cols = found.view.shape
    return masked.reshape(rows, masked.shape[0] // rows, cols, masked.shape[1] // cols).mean((1, 3))
