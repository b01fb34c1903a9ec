"""What the miniatures share.

The rows of a miniature are drawn from a seed. They have the schema of the benchmark that the
miniature stands for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from entropy_grounding.benchmarks.miniature.questions import Question
from entropy_grounding.benchmarks.miniature.scenes import Element, Scene, draw_scene, sample_scene
from entropy_grounding.benchmarks.miniature.words import READABLE
from entropy_grounding.core.geometry import Box

SPLITS = {"test": 0, "validation": 1}  # first part of the seeds
ROWS = 1000  # number of rows in a split


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a row is made of.

    Attributes:
        number: place of the row in its split.
        scene: the scene.
        image: picture of the scene.
        question: a question about the scene.
    """

    number: int
    scene: Scene
    image: Image.Image
    question: Question


class Miniature:
    """A generated benchmark. Each one has its own scenes, questions and columns.

    Attributes:
        kind: its name, that of the benchmark that it stands for.
        schema: the columns of its rows, a key of `SCHEMAS`; empty for those of its kind.
        seeds: the kind whose scenes and questions it has; empty for its own.
        element: kind of the elements of its scenes.
        sides: smallest and largest side of an element in the benchmark, in pixels.
        trained: smallest and largest side of an element in training pictures, in pixels.
        count: smallest and largest number of elements in a scene.
        least_canvas: smallest side of its pictures in pixels, with room for two elements.
    """

    kind: str
    schema: str = ""
    seeds: str = ""
    element: str = "card"
    sides: tuple[float, float] = (14.0, 18.0)
    trained: tuple[float, float] = (14.0, 60.0)
    count: tuple[int, int] = (3, 6)
    least_canvas: int = 128

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
        """Return the rows of each configuration.

        The column "evidence" is added to those of the published data set.
        """
        return {"default": map(self._with_evidence, drawn)}

    def _with_evidence(self, drawn: Drawn) -> dict[str, Any]:
        """Return the row with its evidence boxes, each x, y, width, height in pixels."""
        return {**self.row(drawn), "evidence": [_xywh(box) for box in drawn.question.evidence]}

    def questions(self, split: str, canvas: int) -> Iterator[tuple[int, Scene, Question]]:
        """Yield (number, scene, question) for each row of a split.

        The seeds have four numbers. Training and the held-out scenes use other lengths, so no scene
        of a split is seen there.
        """
        # A number for the kind. `hash` would differ between two runs of Python.
        kind = self.seeds or self.kind
        name = sum(ord(letter) for letter in kind) * 31 + len(kind)

        for number in range(ROWS):
            rng = np.random.default_rng([SPLITS[split], name, number, canvas])
            scene = self.scene(rng, canvas)
            yield number, scene, self.ask(rng, scene)

    def draw(self, split: str, canvas: int) -> Iterator[Drawn]:
        """Yield the questions of a split with their pictures."""
        for number, scene, question in self.questions(split, canvas):
            yield Drawn(number, scene, draw_scene(scene), question)


# Texts of options. None of them can be mistaken for the letter of an option.
CHOICES = tuple(letter for letter in READABLE if letter not in "ABCD")


def with_choices(rng: np.random.Generator, scene: Scene) -> Scene:
    """Return the scene with other letters, all of them from `CHOICES`."""
    elements = []
    for element in scene.elements:
        letter = str(rng.choice(CHOICES))
        elements.append(Element(element.kind, element.color, letter, element.box))

    return Scene(tuple(elements), scene.texture_seed, scene.size, scene.background)


def lettered(options: tuple[str, ...], pattern: str) -> str:
    """Return the options as text, one per line.

    Args:
        options: texts of at most six options.
        pattern: form of a line; LETTER and TEXT in it are replaced.
    """
    lines = []
    for i, text in enumerate(options):
        lines.append(pattern.replace("LETTER", "ABCDEF"[i]).replace("TEXT", text))
    return "\n".join(lines)


def letter_of(question: Question) -> str:
    """Return the letter of the right option."""
    return "ABCDEF"[question.options.index(question.answer)]


def choose(rng: np.random.Generator, answer: str, others: list[str], count: int) -> tuple[str, ...]:
    """Return ``count`` options in random order: the answer and some of the others."""
    wrong = [text for text in others if text != answer]
    chosen = rng.permutation(wrong)[: count - 1]

    # `str` makes Python texts of NumPy ones.
    return tuple(map(str, rng.permutation([answer, *map(str, chosen)])))


def _xywh(box: Box) -> list[float]:
    """Return a box in the form of the published data sets."""
    return [box.x0, box.y0, box.width, box.height]
