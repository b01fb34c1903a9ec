"""Frozen dataclasses that travel between modules.

Boxes are XYXY, half-open, in float pixels of the *original image*. Arrays are (rows, cols); PIL
sizes are (width, height).
"""

from dataclasses import dataclass

import numpy as np

from entropy_grounding.core.geometry import Box, View

# Why a zoom loop ended: the key that is stored, and the sentence for readers.
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
    "time": "the time was up",
}


@dataclass(frozen=True, slots=True)
class RelevanceMap:
    """Relevance of the visual tokens of one view.

    Attributes:
        view: the token grid and its place in the original image.
        values: float64 array ``(rows, cols)``, not negative, not smoothed; 0 where ``inside`` is
            false.
        smoothed: ``values`` after Gaussian smoothing, float64 array ``(rows, cols)``.
        inside: bool array ``(rows, cols)``, false for cells that show padding only.
    """

    view: View
    values: np.ndarray
    smoothed: np.ndarray
    inside: np.ndarray

    def peak(self) -> tuple[float, float]:
        """Return the center (x, y) of the cell with the largest value, before smoothing.

        It is in pixels of the original image.
        """
        row, col = map(int, np.unravel_index(np.argmax(self.values), self.values.shape))
        return self.view.cell_box((row, col, row + 1, col + 1)).center


@dataclass(frozen=True, slots=True)
class Region:
    """A region of interest: connected salient cells of one map, and the box to crop for them.

    Attributes:
        box: in pixels of the original image, inside it, never empty.
        score: sum (or mean, or peak) of the relevance of the cells, before smoothing.
        map_index: index of the map in its zoom step.
        cells: half-open range ``(row0, col0, row1, col1)`` in the token grid of that map.
    """

    box: Box
    score: float
    map_index: int
    cells: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class ZoomStep:
    """One round of grounding: the crops of the prompt, their maps, and the regions of these maps.

    Attributes:
        crops: boxes of the crops that follow the full image in the prompt; empty in round 0.
        maps: one relevance map per view of every picture.
        regions: the best first, at most K.
        target: value of the scalar that is differentiated (in nats for entropies).
        entropy: entropy of the next token in nats.
        top_probability: probability of the most likely next token.
        spatial_entropy: spatial entropy, in nats, of the map with the best region; inf if no cell
            stands out.
        visual_tokens: number of visual tokens in the prompt.
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
    """The cost of a grounding. Times are wall time in seconds.

    Attributes:
        forwards: forward passes of the language model over a prompt. Tokens of answers do not
            count, and a prompt with cached keys and values does not count.
        backwards: backward passes through the language model, counted in the same way.
        visual_tokens: number of visual tokens in all forward passes.
        lm_tokens: number of positions in all forward passes.
        vision_seconds: time of the processor and the vision tower.
        map_seconds: time of the forward and backward passes for maps.
        answer_seconds: time of both answers.
        checkpointed: number of maps with gradient checkpointing, which takes less memory and a
            third more time.
    """

    forwards: int
    backwards: int
    visual_tokens: int
    lm_tokens: int = 0
    vision_seconds: float = 0.0
    map_seconds: float = 0.0
    answer_seconds: float = 0.0
    checkpointed: int = 0


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """How unsure a model is of its next token.

    Attributes:
        entropy: entropy of the next token in nats.
        margin: from 0 (sure) to 1 (two tokens are equally likely).
    """

    entropy: float
    margin: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """One answer that a cascade could have given.

    Attributes:
        stage: "plain" (no crops), "zoomed" (crops of a round) or "tried" (one candidate crop).
        crops: boxes of the crops that it is based on.
        entropy: of its first token, in nats.
        passes: of the language model until then: forward ones, and backward ones twice.
        answer: the whole answer; None if it was not asked for.
    """

    stage: str
    crops: tuple[Box, ...]
    entropy: float
    passes: int
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Grounding:
    """The result for one question: all zoom steps, the crops of the answer, and both answers.

    Attributes:
        question: the question as asked.
        size: (width, height) of the original image in pixels.
        steps: the rounds in order, also those that a rollback discarded.
        crops: boxes of the crops that the final answer is based on; empty if there was no zoom.
        stop_reason: why the loop ended, a key of `STOP_REASONS`.
        plain_answer: the answer from the full image alone.
        answer: the answer from the full image and the crops.
        cost: the cost of both answers and of the maps.
        before: how unsure the model is of the plain answer; None if this would need one more
            forward pass.
        after: how unsure the model is of the answer from the crops, also if they were declined.
        truncated: whether the length limit cut off one of the two answers.
        attempts: the answers that a cascade compared, in the order in which it came to them.
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
    truncated: bool = False
    attempts: tuple[Attempt, ...] = ()
