"""What the seven miniature benchmarks share: rows drawn from a seed, in the schema of the benchmark that each stands for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from entropy_grounding.benchmarks.miniature.questions import Question
from entropy_grounding.benchmarks.miniature.scenes import Element, Scene, draw_scene, sample_scene
from entropy_grounding.benchmarks.miniature.words import READABLE
from entropy_grounding.core.geometry import Box

SPLITS = {"test": 0, "validation": 1}
ROWS = 1000  # in a split


@dataclass(frozen=True, slots=True)
class Drawn:
    """One row before it is one: the scene, its picture, and a question about it."""

    number: int
    scene: Scene
    image: Image.Image
    question: Question


class Miniature:
    """A generated benchmark; what is particular to one is its scenes, its questions and its columns.

    Attributes:
        kind: the benchmark that it stands for, a key of `BENCHMARKS`.
        element: what its scenes are made of.
        sides: pixels, sizes of the elements in the benchmark.
        trained: pixels, sizes of the elements in training pictures.
        count: fewest and most elements in a scene.
    """

    kind: str
    element: str = "card"
    sides: tuple[float, float] = (14.0, 18.0)
    trained: tuple[float, float] = (14.0, 60.0)
    count: tuple[int, int] = (3, 6)

    def scene(self, rng: np.random.Generator, canvas: int, *, training: bool = False) -> Scene:
        """Draw a scene with at least two elements."""
        sides = self.trained if training else self.sides
        while True:
            scene = sample_scene(
                rng, sides=sides, count=self.count, canvas=canvas, kind=self.element
            )
            if len(scene.elements) > 1:
                return scene

    def ask(self, rng: np.random.Generator, scene: Scene) -> Question:
        """Draw a question about the scene."""
        raise NotImplementedError

    def row(self, drawn: Drawn) -> dict[str, Any]:
        """Return the row, with the columns of the published data set."""
        raise NotImplementedError

    def tables(self, drawn: Iterator[Drawn]) -> Mapping[str, Iterator[dict[str, Any]]]:
        """Return the rows of each configuration; the evidence is one column more than the published data set has."""
        return {
            "default": (
                {**self.row(each), "evidence": [_xywh(box) for box in each.question.evidence]}
                for each in drawn
            )
        }

    def questions(self, split: str, canvas: int) -> Iterator[tuple[int, Scene, Question]]:
        """Draw scenes and questions of a split; four-part seeds, so none is a training picture or a held-out scene of the check."""
        name = sum(ord(letter) for letter in self.kind) * 31 + len(self.kind)
        for number in range(ROWS):
            rng = np.random.default_rng([SPLITS[split], name, number, canvas])
            scene = self.scene(rng, canvas)
            yield number, scene, self.ask(rng, scene)

    def draw(self, split: str, canvas: int) -> Iterator[Drawn]:
        """Draw the questions of a split with their pictures."""
        for number, scene, question in self.questions(split, canvas):
            yield Drawn(number, scene, draw_scene(scene), question)


CHOICES = tuple(
    letter for letter in READABLE if letter not in "ABCD"
)  # texts of options that cannot be taken for an option's letter


def with_choices(rng: np.random.Generator, scene: Scene) -> Scene:
    """Return the scene with other letters, all of them from `CHOICES`."""
    elements = tuple(
        Element(each.kind, each.color, str(rng.choice(CHOICES)), each.box)
        for each in scene.elements
    )
    return Scene(elements, scene.texture_seed, scene.size, scene.background)


def lettered(options: tuple[str, ...], pattern: str) -> str:
    """Write options one a line; ``pattern`` has LETTER and TEXT."""
    return "\n".join(
        pattern.replace("LETTER", "ABCDEF"[i]).replace("TEXT", text)
        for i, text in enumerate(options)
    )


def letter_of(question: Question) -> str:
    """Return the letter of the right option."""
    return "ABCDEF"[question.options.index(question.answer)]


def choose(rng: np.random.Generator, answer: str, others: list[str], count: int) -> tuple[str, ...]:
    """Return ``count`` options in random order: the answer and some of the others."""
    wrong = [
        str(text)
        for text in rng.permutation([text for text in others if text != answer])[: count - 1]
    ]
    return tuple(str(text) for text in rng.permutation([answer, *wrong]))


def _xywh(box: Box) -> list[float]:
    return [box.x0, box.y0, box.width, box.height]
