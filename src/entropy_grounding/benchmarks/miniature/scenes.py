"""Scenes of the tiny VLMs, drawn from a seed.

A scene has colored cards, signs, form rows or chart bars with letters on them. When a whole scene
is shrunk to the model's input, a small card keeps its color and loses its text. The model can then
*find* the evidence and cannot *read* it without a zoom, which is the situation of the paper.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from entropy_grounding.benchmarks.miniature.words import COLORS, MUTED, READABLE
from entropy_grounding.core.geometry import Box

CANVAS = 256  # width and height of a scene in pixels, for the families that see the fewest
SMALL = (14.0, 18.0)  # side in pixels of evidence that is hidden in the full picture
COARSE = 4  # side in pixels of a grain of the coarse texture
_FILLS = COLORS | MUTED
_FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"


@dataclass(frozen=True, slots=True)
class Cell:
    """A part of an element: one rectangle of one color.

    Attributes:
        box: the rectangle, in pixels of the scene.
        color: name of the color.
        letter: its letter, or an empty text.
        place: "first" or "last" in a text of several letters, else an empty text.
    """

    box: Box
    color: str
    letter: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True)
class Element:
    """One thing in a scene.

    Attributes:
        kind: "card" (one letter), "sign" (several letters), "row" (a colored key, then the value),
            or "bar" (a letter at the top of a colored bar).
        color: name of the color.
        text: its letters, separated by spaces.
        box: the whole element, in pixels of the scene. The cells of signs and rows are squares.
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
        """The part that must be seen to read the element: the top of a bar, else all of it."""
        return self.cells()[0].box if self.kind == "bar" else self.box

    def cells(self) -> list[Cell]:
        """Return the parts of the element. They are drawn, and they are labelled in training."""
        box, letters = self.box, self.letters
        if self.kind == "bar":
            # A square with the letter, and the rest of the bar below it.
            top = Box(box.x0, box.y0, box.x1, box.y0 + box.width)
            parts = [Cell(top, self.color, letters[0])]
            if box.y1 > top.y1:
                parts.append(Cell(Box(box.x0, top.y1, box.x1, box.y1), self.color))
            return parts

        # The key of a row is a square without a letter.
        shown = ["", *letters] if self.kind == "row" else letters
        places = [""] * len(shown)
        if len(letters) > 1:
            places[-len(letters)] = "first"
            places[-1] = "last"

        side = box.height
        cells = []
        for i, letter in enumerate(shown):
            square = Box(box.x0 + i * side, box.y0, box.x0 + (i + 1) * side, box.y1)
            cells.append(Cell(square, self.color, letter, places[i]))
        return cells


@dataclass(frozen=True, slots=True)
class Scene:
    """Elements on a background.

    Attributes:
        elements: the elements; no two have the same color or overlap.
        texture_seed: seed of the background, so that a scene looks the same everywhere.
        size: width and height in pixels.
        background: "texture", "coarse texture" or "page".
        distractors: elements that no question asks about. They overlap nothing and have the colors
            of `MUTED`, several of them the same.
    """

    elements: tuple[Element, ...]
    texture_seed: int
    size: tuple[int, int] = (CANVAS, CANVAS)
    background: str = "texture"
    distractors: tuple[Element, ...] = ()

    def find(self, color: str) -> Element | None:
        """Return the element of this color, or None if there is none."""
        return next((element for element in self.elements if element.color == color), None)


def sample_scene(
    rng: np.random.Generator,
    *,
    sides: tuple[float, float] = (14.0, 60.0),
    count: tuple[int, int] = (3, 6),
    canvas: int = CANVAS,
    kind: str = "card",
) -> Scene:
    """Draw a scene whose elements all have different colors and do not overlap.

    Args:
        rng: source of all choices.
        sides: smallest and largest height of a card, sign or row, or width of a bar, in pixels.
            The distribution is log-uniform.
        count: smallest and largest number of elements. The scene has fewer if there is no room.
        canvas: side of the scene in pixels.
        kind: kind of all elements. Signs and rows have one or two letters. Rows and bars have the
            background "page".
    """
    # The order of the draws is fixed: another order would change all published rows.
    colors = rng.permutation(list(COLORS))[: rng.integers(count[0], count[1] + 1)]
    elements: list[Element] = []

    for color in colors:
        length = int(rng.integers(1, 3)) if kind in ("sign", "row") else 1
        taken = [element.box for element in elements]
        box = _free_box(rng, sides, taken, canvas, kind, length)

        if box is not None:
            letters = [str(rng.choice(READABLE)) for _ in range(length)]
            elements.append(Element(kind, str(color), " ".join(letters), box))

    background = "page" if kind in ("row", "bar") else "texture"
    return Scene(tuple(elements), int(rng.integers(2**31)), (canvas, canvas), background)


def with_distractors(
    rng: np.random.Generator, scene: Scene, sides: tuple[float, float], count: int
) -> Scene:
    """Return the scene with cards of muted colors where it has room.

    Args:
        rng: source of all choices.
        scene: a square scene without distractors.
        sides: smallest and largest side of a distractor in pixels.
        count: number of distractors; fewer if there is no room.
    """
    taken = [element.box for element in scene.elements]
    cards = []

    for _ in range(count):
        box = _free_box(rng, sides, taken, scene.size[0], "card", 1)
        if box is None:
            continue

        taken.append(box)
        cards.append(Element("card", str(rng.choice(list(MUTED))), str(rng.choice(READABLE)), box))

    return replace(scene, distractors=tuple(cards))


def _free_box(
    rng: np.random.Generator,
    sides: tuple[float, float],
    taken: list[Box],
    canvas: int,
    kind: str,
    length: int,
    tries: int = 50,
) -> Box | None:
    """Draw a box for an element of ``length`` letters, or return None if no try is free.

    Bars stand on a line near the lower edge. Rows start in one of two columns.
    """
    floor = canvas - max(4, canvas // 32)  # y of the line on which bars stand

    for _ in range(tries):
        # Log-uniform: 14 to 28 pixels is as frequent as 28 to 56.
        side = float(np.round(np.exp(rng.uniform(*np.log(sides)))))
        width = side * (length + (kind == "row"))  # a row has one square more for its key
        if width > canvas:
            continue

        height = side
        if kind == "bar":
            height = float(rng.integers(int(side), max(int(side), floor - 4), endpoint=True))
        corner = rng.integers(0, canvas - int(side), 2, endpoint=True)
        x, y = float(corner[0]), float(corner[1])

        if kind == "bar":
            y = floor - height
        if kind == "row":
            x = float(canvas // 16 if x < canvas / 2 else canvas * 9 // 16)
        x = min(x, canvas - width)

        # Elements stay at least 2 pixels apart.
        box = Box(x, y, x + width, y + height)
        if all(box.expand(2.0).intersection(other) is None for other in taken):
            return box

    return None


def draw_scene(scene: Scene) -> Image.Image:
    """Draw the scene as an RGB picture of ``scene.size`` (width, height) pixels."""
    rng = np.random.default_rng(scene.texture_seed)
    return draw_elements(scene, _BACKGROUNDS[scene.background](rng, scene.size))


def draw_elements(scene: Scene, picture: Image.Image) -> Image.Image:
    """Draw the elements of the scene over a background, which changes, and return it."""
    canvas = ImageDraw.Draw(picture)
    for element in (*scene.distractors, *scene.elements):
        for cell in element.cells():
            _draw_cell(canvas, cell, tinted=element.kind == "row" and bool(cell.letter))
    return picture


def _texture(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Return smooth noise in muted colors with fine grain, so that no empty patch is constant."""
    width, height = size

    # One brightness and a small shift of color in each of 8 x 8 fields, made smooth by resizing.
    coarse = rng.uniform(70, 185, (8, 8, 1)) + rng.uniform(-18, 18, (8, 8, 3))
    smooth = np.asarray(
        Image.fromarray(coarse.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR),
        dtype=np.float32,
    )  # (height, width, 3)

    grain = rng.standard_normal((height, width, 1), dtype=np.float32) * 9
    return Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))


def _coarse_texture(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Return a texture that is drawn four times smaller and enlarged.

    Its grains are squares of 4 x 4 pixels: fine grain on 4,096 x 4,096 pixels takes seconds to
    draw and to store.
    """
    small = _texture(rng, (size[0] // COARSE, size[1] // COARSE))
    return small.resize(size, Image.Resampling.NEAREST)


def _page(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Return paper: nearly white, with faint grain."""
    width, height = size
    paper = rng.uniform(225, 245) + rng.standard_normal((height, width, 1), dtype=np.float32) * 4

    # The one channel is repeated for red, green and blue.
    return Image.fromarray(np.clip(np.repeat(paper, 3, 2), 0, 255).astype(np.uint8))


_BACKGROUNDS: dict[str, Callable[[np.random.Generator, tuple[int, int]], Image.Image]] = {
    "texture": _texture,
    "coarse texture": _coarse_texture,
    "page": _page,
}


def _draw_cell(canvas: ImageDraw.ImageDraw, cell: Cell, *, tinted: bool) -> None:
    """Fill a cell and write its letter in the middle.

    A tinted cell has a lighter tint of its color. The value of a row is tinted, its key is not.
    """
    box, fill = cell.box, _FILLS[cell.color]
    if tinted:
        fill = ((fill[0] + 255) // 2, (fill[1] + 255) // 2, (fill[2] + 255) // 2)
    canvas.rectangle((box.x0, box.y0, box.x1 - 1, box.y1 - 1), fill=fill)
    if not cell.letter:
        return

    # Black on light colors, white on dark ones (luma weights of ITU-R BT.601).
    luminance = 0.299 * fill[0] + 0.587 * fill[1] + 0.114 * fill[2]
    ink = (0, 0, 0) if luminance > 120 else (255, 255, 255)
    center = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
    font = _font(max(1, round(0.85 * box.height)))
    canvas.text(center, cell.letter, fill=ink, font=font, anchor="mm")


@lru_cache(maxsize=256)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(_FONT), size)


# A family that sees more pixels gets larger scenes, so that small evidence stays hidden.
CANVASES = {
    "llava": CANVAS,
    "llava_next": 2 * CANVAS,
    "internvl": 2 * CANVAS,
    "qwen2_5_vl": CANVAS,
    "qwen3_vl": CANVAS,
}


def canvas_of(model_type: str) -> int:
    """Return the side of the scenes for a kind of model, in pixels; `CANVAS` for unknown kinds."""
    return CANVASES.get(model_type, CANVAS)
