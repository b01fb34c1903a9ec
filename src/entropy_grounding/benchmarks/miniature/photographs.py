"""Composites: the scenes of five miniatures on photographs instead of drawn backgrounds.

A composite asks the same questions about the same cards, at the same places, as the miniature that
it stands beside, so the two can be compared example by example. The photographs are sample pictures
of scikit-image, in the public domain or without known restrictions (their docstrings say so). The
tiny VLMs saw no photograph in training.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np
import skimage.data
from PIL import Image

from entropy_grounding.benchmarks.miniature.base import Drawn, Miniature
from entropy_grounding.benchmarks.miniature.needs_no_zoom import MiniGQA, MiniRealWorldQA
from entropy_grounding.benchmarks.miniature.needs_zoom import MiniPOPE, MiniTextVQA, MiniVStar
from entropy_grounding.benchmarks.miniature.scenes import Scene, draw_elements
from entropy_grounding.core.errors import InputError

# By name in `skimage.data`, the start of the SHA-256 of its pixels: a version of scikit-image with
# another picture would change answers.
PHOTOGRAPHS = {
    "astronaut": "a8c429c18afa7b0f",
    "chelsea": "416b729128bfb2c3",
    "coffee": "0ce2b51640b9c95f",
    "rocket": "3d4435cc745752b7",
    "hubble_deep_field": "9a3ea9548188f81e",
}
LEAST_PART = 0.5  # side of the part of a photograph that is shown, relative to its shorter side


@lru_cache(maxsize=len(PHOTOGRAPHS))
def photograph(name: str) -> Image.Image:
    """Return a photograph, in RGB.

    Args:
        name: a key of `PHOTOGRAPHS`.

    Raises:
        InputError: if the installed scikit-image has another picture under this name.
    """
    pixels = np.ascontiguousarray(getattr(skimage.data, name)())
    found = hashlib.sha256(pixels.tobytes()).hexdigest()[:16]
    if found != PHOTOGRAPHS[name]:
        raise InputError(
            f"The photograph '{name}' of this scikit-image has SHA-256 {found}..., "
            f"not {PHOTOGRAPHS[name]}...: install the version in constraints.txt."
        )
    return Image.fromarray(pixels)


def photographed(scene: Scene) -> Image.Image:
    """Draw a scene on a part of a photograph, as an RGB picture of ``scene.size`` pixels.

    The seed of the scene's background chooses the photograph and the part of it.
    """
    rng = np.random.default_rng(scene.texture_seed)
    picture = photograph(str(rng.choice(list(PHOTOGRAPHS))))

    side = rng.uniform(LEAST_PART, 1) * min(picture.size)
    x = rng.uniform(0, picture.width - side)
    y = rng.uniform(0, picture.height - side)
    part = picture.resize(scene.size, Image.Resampling.BICUBIC, (x, y, x + side, y + side))
    return draw_elements(scene, part)


class Composite(Miniature):
    """A miniature whose scenes stand on photographs; named first among the bases of a class."""

    def draw(self, split: str, canvas: int) -> Iterator[Drawn]:
        """Yield the questions of a split with their pictures."""
        for drawn in super().draw(split, canvas):
            yield replace(drawn, image=photographed(drawn.scene))


class TextVQAComposite(Composite, MiniTextVQA):
    """The cards, signs and questions of mini-TextVQA."""

    kind, schema, seeds = "textvqa_photo", "textvqa", "textvqa"


class VStarComposite(Composite, MiniVStar):
    """The cards and questions of mini-V*."""

    kind, schema, seeds = "vstar_photo", "vstar", "vstar"


class POPEComposite(Composite, MiniPOPE):
    """The cards and questions of mini-POPE."""

    kind, schema, seeds = "pope_photo", "pope", "pope"


class GQAComposite(Composite, MiniGQA):
    """The cards and questions of mini-GQA."""

    kind, schema, seeds = "gqa_photo", "gqa", "gqa"


class RealWorldQAComposite(Composite, MiniRealWorldQA):
    """The cards and questions of mini-RealWorldQA."""

    kind, schema, seeds = "realworldqa_photo", "realworldqa", "realworldqa"
