"""Scenes of the tiny VLMs: coloured cards, signs, form rows and chart bars with letters on them, drawn from a seed.

A small card keeps its colour when the whole scene is shrunk to the model's input, but not its text: the model can *find* the
evidence and cannot *read* it without zooming, which is the situation of the paper.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from entropy_grounding.benchmarks.miniature.words import COLORS, READABLE
from entropy_grounding.core.geometry import Box

CANVAS = 256  # pixels, width and height of a scene; families that see more pixels get larger scenes
SMALL = (14.0, 18.0)  # side in pixels of evidence that the full picture hides
_FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"


@dataclass(frozen=True, slots=True)
class Cell:
    """A part of an element that looks the same all over: its box, color name, letter ("" for none), place in a text of several."""

    box: Box
    color: str
    letter: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True)
class Element:
    """One thing in a scene, its box in pixels of the scene.

    Attributes:
        kind: "card" (one letter), "sign" (several), "row" (a colored key, then the value), "bar" (a letter on top of a colored bar).
        color: name of the color.
        text: its letters, separated by spaces.
        box: all of it; the cells of signs and rows are squares.
    """

    kind: str
    color: str
    text: str
    box: Box

    @property
    def letters(self) -> list[str]:
        """The letters of the text, left to right."""
        return self.text.split()

    @property
    def evidence(self) -> Box:
        """What must be seen to read the element: all of it, of a bar the top."""
        return self.cells()[0].box if self.kind == "bar" else self.box

    def cells(self) -> list[Cell]:
        """Return the parts that are drawn, and labelled in training."""
        box, letters = self.box, self.letters
        if self.kind == "bar":
            top = Box(box.x0, box.y0, box.x1, box.y0 + box.width)
            return [Cell(top, self.color, letters[0])] + (
                [Cell(Box(box.x0, top.y1, box.x1, box.y1), self.color)] if box.y1 > top.y1 else []
            )
        side = box.height
        shown = ["", *letters] if self.kind == "row" else letters
        first = len(shown) - len(letters)
        places = [""] * first + (
            ["first", *[""] * (len(letters) - 2), "last"] if len(letters) > 1 else [""]
        )
        return [
            Cell(
                Box(box.x0 + i * side, box.y0, box.x0 + (i + 1) * side, box.y1),
                self.color,
                letter,
                places[i],
            )
            for i, letter in enumerate(shown)
        ]


@dataclass(frozen=True, slots=True)
class Scene:
    """Elements on a background, "texture" or "page"; ``texture_seed`` fixes it, so a scene is drawn the same everywhere."""

    elements: tuple[Element, ...]
    texture_seed: int
    size: tuple[int, int] = (CANVAS, CANVAS)
    background: str = "texture"

    def find(self, color: str) -> Element | None:
        """Return the element of this color, or None."""
        return next((element for element in self.elements if element.color == color), None)


def sample_scene(
    rng: np.random.Generator,
    *,
    sides: tuple[float, float] = (14.0, 60.0),
    count: tuple[int, int] = (3, 6),
    canvas: int = CANVAS,
    kind: str = "card",
) -> Scene:
    """Draw a scene of ``count`` elements, each of another color, none overlapping.

    Args:
        rng: source of all choices.
        sides: pixels, height of a card, sign or row, width of a bar; log-uniform.
        count: fewest and most elements.
        canvas: pixels, side of the scene.
        kind: of all elements; signs and rows have one or two letters, rows and bars stand on a page.
    """
    colors = rng.permutation(list(COLORS))[: rng.integers(count[0], count[1] + 1)]
    elements: list[Element] = []
    for color in colors:
        length = int(rng.integers(1, 3)) if kind in ("sign", "row") else 1
        box = _free_box(rng, sides, [element.box for element in elements], canvas, kind, length)
        if box is not None:
            letters = [str(rng.choice(READABLE)) for _ in range(length)]
            elements.append(Element(kind, str(color), " ".join(letters), box))
    background = "page" if kind in ("row", "bar") else "texture"
    return Scene(tuple(elements), int(rng.integers(2**31)), (canvas, canvas), background)


def _free_box(
    rng: np.random.Generator,
    sides: tuple[float, float],
    taken: list[Box],
    canvas: int,
    kind: str,
    length: int,
    tries: int = 50,
) -> Box | None:
    """Draw a place for an element of ``length`` letters; bars stand on a line near the lower edge, rows start in one of two columns."""
    floor = canvas - max(4, canvas // 32)
    for _ in range(tries):
        side = float(np.round(np.exp(rng.uniform(*np.log(sides)))))
        width = side * (length + (kind == "row"))
        if width > canvas:
            continue
        height = (
            float(rng.integers(int(side), max(int(side), floor - 4), endpoint=True))
            if kind == "bar"
            else side
        )
        x, y = (float(v) for v in rng.integers(0, canvas - int(side), 2, endpoint=True))
        if kind == "bar":
            y = floor - height
        if kind == "row":
            x = float(canvas // 16 if x < canvas / 2 else canvas * 9 // 16)
        x = min(x, canvas - width)
        box = Box(x, y, x + width, y + height)
        if all(box.expand(2.0).intersection(other) is None for other in taken):
            return box
    return None


def draw_scene(scene: Scene) -> Image.Image:
    """Draw the scene as an RGB picture of ``scene.size`` (width, height) pixels."""
    rng = np.random.default_rng(scene.texture_seed)
    picture = _page(rng, scene.size) if scene.background == "page" else _texture(rng, scene.size)
    canvas = ImageDraw.Draw(picture)
    for element in scene.elements:
        for cell in element.cells():
            _draw_cell(canvas, cell, tinted=element.kind == "row" and bool(cell.letter))
    return picture


def _texture(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Muted smooth noise plus fine grain, so that a blank patch is never constant."""
    width, height = size
    coarse = rng.uniform(70, 185, (8, 8, 1)) + rng.uniform(-18, 18, (8, 8, 3))
    smooth = np.asarray(
        Image.fromarray(coarse.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR),
        dtype=np.float32,
    )
    grain = rng.standard_normal((height, width, 1), dtype=np.float32) * 9
    return Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))


def _page(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Paper: nearly white, with faint grain."""
    width, height = size
    paper = rng.uniform(225, 245) + rng.standard_normal((height, width, 1), dtype=np.float32) * 4
    return Image.fromarray(np.clip(np.repeat(paper, 3, 2), 0, 255).astype(np.uint8))


def _draw_cell(canvas: ImageDraw.ImageDraw, cell: Cell, *, tinted: bool) -> None:
    """Fill a cell and put its letter in the middle; the value of a row is on a lighter tint of its key's color."""
    box, fill = cell.box, COLORS[cell.color]
    if tinted:
        fill = ((fill[0] + 255) // 2, (fill[1] + 255) // 2, (fill[2] + 255) // 2)
    canvas.rectangle((box.x0, box.y0, box.x1 - 1, box.y1 - 1), fill=fill)
    if not cell.letter:
        return
    luminance = 0.299 * fill[0] + 0.587 * fill[1] + 0.114 * fill[2]
    ink = (0, 0, 0) if luminance > 120 else (255, 255, 255)
    center = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
    canvas.text(
        center, cell.letter, fill=ink, font=_font(max(1, round(0.85 * box.height))), anchor="mm"
    )


@lru_cache(maxsize=256)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(_FONT), size)


# A family that sees twice as many pixels gets scenes of twice the side, so that small evidence stays hidden.
CANVASES = {"llava": CANVAS, "llava_next": 2 * CANVAS, "internvl": 2 * CANVAS, "qwen2_5_vl": CANVAS}


def canvas_of(model_type: str) -> int:
    """Return the side in pixels of the scenes for this kind of model; a family without a recipe gets the smallest."""
    return CANVASES.get(model_type, CANVAS)
