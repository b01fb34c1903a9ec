"""Frozen dataclasses that travel between modules.

Boxes are XYXY, half-open, in float pixels of the *original image*. Arrays are (rows, cols); PIL sizes are (width, height).
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image


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
        box = Box(max(self.x0, other.x0), max(self.y0, other.y0), min(self.x1, other.x1), min(self.y1, other.y1))
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


@dataclass(frozen=True, slots=True)
class Example:
    """One question of a benchmark.

    Attributes:
        id: unique within the benchmark.
        image: the original image, RGB.
        question: as asked, for people.
        prompt: the question with options and instruction, as the model gets it (without chat template).
        references: the accepted answers; the letter for lettered options.
        boxes: the evidence, in pixels of the image; empty where the data has none.
        group: the part of the benchmark that it belongs to, empty for none.
        options: (letter, text) pairs in the order shown.
    """

    id: str
    image: Image.Image
    question: str
    prompt: str
    references: tuple[str, ...]
    boxes: tuple[Box, ...] = ()
    group: str = ""
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """The result of one example under one VLM and method; every run stores these.

    Attributes:
        number: of the row of the data set that the example comes from; with ``example_id`` it gives the order.
        example_id: unique within the benchmark.
        config_hash: of everything that may change a result (`results.config_hash`).
        vlm: its name.
        benchmark: its name.
        method: its name.
        protocol: the switches, as JSON.
        group: part of the benchmark.
        question: as asked.
        prompt: as the model got it, without chat template.
        references: the accepted answers.
        plain_answer: raw, from the full image alone.
        answer: raw, from the full image and the crops.
        plain_score: in [0, 1] under the benchmark's metric.
        score: the same, of ``answer``.
        evidence: boxes ``[x0, y0, x1, y1]`` in pixels of the original image, as are ``crops``.
        crops: that the answer was given from.
        round_crops: of every round, as JSON.
        rounds: number of grounding rounds.
        entropies: next-token entropy in nats, a round each.
        spatial_entropies: of the best map in nats, a round each; inf where no mass stands out.
        stop_reason: a key of `stopping.STOP_REASONS`.
        iou: of the union of the crops with the union of the evidence; None without evidence, as are the next three.
        pointing: 1 when the peak of the first map lies in the evidence or within half a cell of it, else 0; None without a map, too.
        energy: share of the first map's relevance on the evidence; None without a map, too.
        chance: share that a constant map would have there.
        forwards: as the following ones to ``answer_seconds``, see `Cost`.
        backwards: see `Cost`.
        visual_tokens: see `Cost`.
        seconds: wall time.
        peak_memory: MiB; of the GPU for this example, on a CPU of the whole process so far.
        retried: what was given up after running out of memory: "", "fewer crops", "fewer crops, fewer pixels".
        status: "ok", "failed" (an error on this example) or "unusable" (the data has no image, question or answer).
        reason: why not ok.
        plain_entropy: of the first token of the plain answer, in nats; None in rows of the first version, as are the next columns.
        plain_margin: 1 minus the difference of its two largest probabilities.
        answer_entropy: of the first token of the answer from the crops found, also where they were declined.
        answer_margin: the same.
        lm_tokens: see `Cost`.
        vision_seconds: see `Cost`.
        map_seconds: see `Cost`.
        answer_seconds: see `Cost`.
    """

    number: int
    example_id: str
    config_hash: str
    vlm: str
    benchmark: str
    method: str
    protocol: str
    group: str = ""
    question: str = ""
    prompt: str = ""
    references: tuple[str, ...] = ()
    plain_answer: str | None = None
    answer: str | None = None
    plain_score: float | None = None
    score: float | None = None
    evidence: tuple[tuple[float, ...], ...] = ()
    crops: tuple[tuple[float, ...], ...] = ()
    round_crops: str = "[]"
    rounds: int | None = None
    entropies: tuple[float, ...] = ()
    spatial_entropies: tuple[float, ...] = ()
    stop_reason: str = ""
    iou: float | None = None
    pointing: float | None = None
    energy: float | None = None
    chance: float | None = None
    forwards: int | None = None
    backwards: int | None = None
    visual_tokens: int | None = None
    seconds: float | None = None
    peak_memory: float | None = None
    retried: str = ""
    status: str = "ok"
    reason: str = ""
    plain_entropy: float | None = None
    plain_margin: float | None = None
    answer_entropy: float | None = None
    answer_margin: float | None = None
    lm_tokens: int | None = None
    vision_seconds: float | None = None
    map_seconds: float | None = None
    answer_seconds: float | None = None
