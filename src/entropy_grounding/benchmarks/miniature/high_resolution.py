"""A miniature of high resolution: small cards among many distractors on large pictures.

It is none of the seven miniatures. Its questions have the form of V*. One zoom is not enough to
read its evidence: the first crops are a quarter of the picture wide.
"""

from dataclasses import replace

import numpy as np

from entropy_grounding.benchmarks.miniature.base import CHOICES, choose
from entropy_grounding.benchmarks.miniature.needs_zoom import MiniVStar
from entropy_grounding.benchmarks.miniature.questions import Question, read_question
from entropy_grounding.benchmarks.miniature.scenes import Scene, with_distractors


class MiniHighResolution(MiniVStar):
    """Questions with four options about one of several small cards among many of muted colors.

    The sides and the number of distractors were chosen on validation scenes (docs/tiny_vlms.md),
    for pictures of 4,096 pixels a side, and for the two tiny VLMs that see 64 pixels a side.

    Attributes:
        distractors: number of cards that no question asks about.
    """

    kind = "highres"
    schema = "vstar"
    sides = (116.0, 136.0)
    count = (4, 6)
    least_canvas = 1024
    distractors: int = 24

    def scene(self, rng: np.random.Generator, canvas: int, *, training: bool = False) -> Scene:
        """Draw a scene with distractors. It is never drawn for training."""
        scene = replace(super().scene(rng, canvas), background="coarse texture")
        return with_distractors(rng, scene, self.sides, self.distractors)

    def ask(self, rng: np.random.Generator, scene: Scene) -> Question:
        """Ask for the letter of a card among four options."""
        asked = read_question(scene.elements[rng.integers(len(scene.elements))])
        options = choose(rng, asked.answer, list(CHOICES), 4)
        return replace(asked, options=options, group="direct_attributes")


class MiniFineResolution(MiniHighResolution):
    """The same with smaller cards, for the two tiny VLMs that see 128 pixels a side."""

    kind = "highres_fine"
    sides = (76.0, 90.0)
