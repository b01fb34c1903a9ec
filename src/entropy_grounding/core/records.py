"""Frozen dataclasses that travel between modules.

Boxes are XYXY, half-open, in float pixels of the *original image*. Arrays are (rows, cols); PIL sizes are (width, height).
"""

from dataclasses import dataclass

import numpy as np

from entropy_grounding.core.geometry import Box, View

STOP_REASONS = {
    "empty_map": "no cell of the first map stands out: the answer is the plain one",
    "no_region": "no cell of the map stands out any more",
    "entropy_rose": "the spatial entropy rose",
    "concentrated": "the spatial entropy is zero: the map cannot get more concentrated",
    "probability_fell": "the model became less sure of its next token",
    "resolution": "the crops show the original pixels at full detail",
    "rounds": "the fixed number of rounds was reached",
    "max_rounds": "the cap on rounds was reached",
    "no_zoom": "zooming is switched off",
    "gated": "the model was sure enough of the plain answer",
    "sure": "the model was sure enough of the answer from the crops",
    "declined": "the model was not surer of the zoomed answer than of the plain one",
    "given_crops": "the crops were given, not found",
    "window": "one window was cropped, without another round",
    "searched": "every candidate was tried",
}


@dataclass(frozen=True, slots=True)
class RelevanceMap:
    """Relevance of the visual tokens of one view.

    Attributes:
        view: the token grid and its place in the original image.
        values: float64 array ``(rows, cols)``, non-negative, unsmoothed; 0 where ``inside`` is false.
        smoothed: the same after Gaussian smoothing.
        inside: bool array ``(rows, cols)``, false for cells that show padding only.
    """

    view: View
    values: np.ndarray
    smoothed: np.ndarray
    inside: np.ndarray

    def peak(self) -> tuple[float, float]:
        """Return the center (x, y), in pixels of the original image, of the cell with the largest unsmoothed relevance."""
        row, col = (int(i) for i in np.unravel_index(np.argmax(self.values), self.values.shape))
        return self.view.cell_box((row, col, row + 1, col + 1)).center


@dataclass(frozen=True, slots=True)
class Region:
    """A region of interest: connected salient cells of one map, and the box that will be cropped for it.

    Attributes:
        box: pixels of the original image, inside it, never empty.
        score: sum (or mean, or peak) of the unsmoothed relevance over the component.
        map_index: which map of the zoom step it was found in.
        cells: half-open ``(row0, col0, row1, col1)`` in that map's token grid.
    """

    box: Box
    score: float
    map_index: int
    cells: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class ZoomStep:
    """One grounding round: the prompt's crops, the maps computed with them, and the regions these maps propose.

    Attributes:
        crops: boxes of the crops that followed the full image in the prompt; empty in round 0.
        maps: one relevance map per view of every picture.
        regions: best first; at most K.
        target: value of the differentiated scalar (nats for the entropies).
        entropy: next-token entropy in nats.
        top_probability: probability of the most likely next token.
        spatial_entropy: of the map that owns the best region, in nats; inf when no mass stands out.
        visual_tokens: visual tokens in the prompt.
    """

    crops: tuple[Box, ...]
    maps: tuple[RelevanceMap, ...]
    regions: tuple[Region, ...]
    target: float
    entropy: float
    top_probability: float
    spatial_entropy: float
    visual_tokens: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What a grounding spent.

    Attributes:
        forwards: of the language model over a prompt; tokens of answers are not counted, nor a prompt whose keys and values were kept.
        backwards: the same.
        visual_tokens: through all forwards.
        lm_tokens: positions through all forwards.
        vision_seconds: wall time of processor and vision tower.
        map_seconds: of the forwards and backwards of maps.
        answer_seconds: of both answers.
    """

    forwards: int
    backwards: int
    visual_tokens: int
    lm_tokens: int = 0
    vision_seconds: float = 0.0
    map_seconds: float = 0.0
    answer_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """How unsure a model is of its next token: ``entropy`` in nats, ``margin`` from 0 (sure) to 1 (two tokens equally likely)."""

    entropy: float
    margin: float


@dataclass(frozen=True, slots=True)
class Grounding:
    """The whole course of one question: every zoom step, the crops that the answer was given from, both answers.

    Attributes:
        question: as asked.
        size: (width, height) of the original image in pixels.
        steps: the rounds, first to last, including those that a rollback discarded.
        crops: boxes the final answer was given from; empty when nothing was zoomed into.
        stop_reason: why the loop ended, a key of `stopping.STOP_REASONS`.
        plain_answer: from the full image alone.
        answer: from the full image and the crops.
        cost: what it took.
        before: how unsure the model is of the plain answer; None where that would take a forward of its own.
        after: of the answer from the crops found, also where they were declined.
    """

    question: str
    size: tuple[int, int]
    steps: tuple[ZoomStep, ...]
    crops: tuple[Box, ...]
    stop_reason: str
    plain_answer: str
    answer: str
    cost: Cost
    before: Uncertainty | None = None
    after: Uncertainty | None = None
