"""Scenes of the tiny VLMs: coloured cards with a text on a textured background, drawn from a seed.

A small card keeps its colour when the whole scene is shrunk to the model's input, but not its text: the model can *find* the
evidence and cannot *read* it without zooming, which is the situation of the paper.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from entropy_grounding.structures import Box
from entropy_grounding.tiny.vocabulary import COLORS, READABLE

CANVAS = 256  # pixels, width and height of a scene; families that see more pixels get larger scenes
SMALL = (14.0, 18.0)  # side in pixels of evidence that the full picture hides
_FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"


@dataclass(frozen=True, slots=True)
class Element:
    """One thing in a scene: a ``kind`` ("card"), a color name, its text, and its box in pixels of the scene."""

    kind: str
    color: str
    text: str
    box: Box


@dataclass(frozen=True, slots=True)
class Scene:
    """Elements on a background; ``texture_seed`` fixes the background, so a scene is drawn the same everywhere."""

    elements: tuple[Element, ...]
    texture_seed: int
    size: tuple[int, int] = (CANVAS, CANVAS)

    def find(self, color: str) -> Element | None:
        """Return the element of this color, or None."""
        return next((element for element in self.elements if element.color == color), None)


def sample_scene(
    rng: np.random.Generator, *, sides: tuple[float, float] = (14.0, 60.0), count: tuple[int, int] = (3, 6), canvas: int = CANVAS
) -> Scene:
    """Draw a scene of ``count`` cards, each of another color, with a side log-uniform in ``sides`` pixels, none overlapping."""
    colors = rng.permutation(list(COLORS))[: rng.integers(count[0], count[1] + 1)]
    elements: list[Element] = []
    for color in colors:
        box = _free_box(rng, sides, [element.box for element in elements], canvas)
        if box is not None:
            elements.append(Element("card", str(color), str(rng.choice(READABLE)), box))
    return Scene(tuple(elements), int(rng.integers(2**31)), (canvas, canvas))


def _free_box(rng: np.random.Generator, sides: tuple[float, float], taken: list[Box], canvas: int, tries: int = 50) -> Box | None:
    for _ in range(tries):
        side = float(np.round(np.exp(rng.uniform(*np.log(sides)))))
        x, y = (float(v) for v in rng.integers(0, canvas - int(side), 2, endpoint=True))
        box = Box(x, y, x + side, y + side)
        if all(box.expand(2.0).intersection(other) is None for other in taken):
            return box
    return None


def draw_scene(scene: Scene) -> Image.Image:
    """Draw the scene as an RGB picture of ``scene.size`` (width, height) pixels."""
    picture = _texture(np.random.default_rng(scene.texture_seed), scene.size)
    canvas = ImageDraw.Draw(picture)
    for element in scene.elements:
        _draw_card(canvas, element)
    return picture


def _texture(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Muted smooth noise plus fine grain, so that a blank patch is never constant."""
    width, height = size
    coarse = rng.uniform(70, 185, (8, 8, 1)) + rng.uniform(-18, 18, (8, 8, 3))
    smooth = np.asarray(Image.fromarray(coarse.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR), dtype=np.float32)
    grain = rng.standard_normal((height, width, 1), dtype=np.float32) * 9
    return Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))


def _draw_card(canvas: ImageDraw.ImageDraw, element: Element) -> None:
    box = element.box
    fill = COLORS[element.color]
    canvas.rectangle((box.x0, box.y0, box.x1 - 1, box.y1 - 1), fill=fill)
    luminance = 0.299 * fill[0] + 0.587 * fill[1] + 0.114 * fill[2]
    ink = (0, 0, 0) if luminance > 120 else (255, 255, 255)
    center = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
    canvas.text(center, element.text, fill=ink, font=_font(round(0.85 * (box.y1 - box.y0))), anchor="mm")


@lru_cache(maxsize=256)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(_FONT), size)
