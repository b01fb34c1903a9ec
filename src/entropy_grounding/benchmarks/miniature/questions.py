"""Questions about scenes, with their answers and the boxes of the evidence."""

from dataclasses import dataclass

import numpy as np

from entropy_grounding.benchmarks.miniature.scenes import (
    CANVAS,
    SMALL,
    Element,
    Scene,
    sample_scene,
)
from entropy_grounding.benchmarks.miniature.words import COLORS
from entropy_grounding.core.geometry import Box


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a scene.

    Attributes:
        text: the question.
        answer: its answer; one of the options if there are any.
        evidence: the boxes that must be seen to answer, in pixels of the scene.
        options: the texts to choose from, in the order shown.
        group: the part of a benchmark that the question belongs to.
    """

    text: str
    answer: str
    evidence: tuple[Box, ...]
    options: tuple[str, ...] = ()
    group: str = ""


def read_question(element: Element) -> Question:
    """Ask for the text on a card."""
    return Question(f"What letter is on the {element.color} card?", element.text, (element.box,))


def _ask_read(rng: np.random.Generator, scene: Scene) -> Question:
    """Ask for the text on a random card."""
    return read_question(scene.elements[rng.integers(len(scene.elements))])


def _ask_presence(rng: np.random.Generator, scene: Scene) -> Question:
    """Ask whether a card of one color is in the scene; "yes" in half of the questions."""
    boxes = {element.color: element.box for element in scene.elements}
    wanted = rng.random() < 0.5
    color = str(rng.choice([name for name in COLORS if (name in boxes) == wanted]))
    text = f"Is there a {color} card?"

    if wanted:
        return Question(text, "yes", (boxes[color],))
    return Question(text, "no", ())


def _ask_match(rng: np.random.Generator, scene: Scene) -> Question:
    """Ask whether two cards have the same letter.

    The answer is "yes" in half of the questions if the scene has equal and different letters.
    """
    same: list[tuple[Element, Element]] = []
    other: list[tuple[Element, Element]] = []
    for i, a in enumerate(scene.elements):
        for b in scene.elements[i + 1 :]:
            (same if a.text == b.text else other).append((a, b))

    pool = same if same and (not other or rng.random() < 0.5) else other
    first, second = pool[rng.integers(len(pool))]

    text = f"Do the {first.color} and {second.color} cards have the same letter?"
    return Question(text, "yes" if first.text == second.text else "no", (first.box, second.box))


def _ask_left_of(rng: np.random.Generator, scene: Scene) -> Question:
    """Ask whether one of two random cards is left of the other."""
    order = rng.permutation(len(scene.elements))
    first = scene.elements[order[0]]
    second = scene.elements[order[1]]

    answer = "yes" if first.box.center[0] < second.box.center[0] else "no"
    return Question(
        f"Is the {first.color} card left of the {second.color} card?",
        answer,
        (first.box, second.box),
    )


# The training mixture: probability of each kind of question.
_KINDS = {_ask_read: 0.55, _ask_match: 0.13, _ask_presence: 0.15, _ask_left_of: 0.17}


def sample_questions(rng: np.random.Generator, scene: Scene, count: int) -> list[Question]:
    """Draw ``count`` questions from the training mixture (read, match, presence, left of)."""
    kinds = rng.choice(len(_KINDS), count, p=list(_KINDS.values()))
    return [list(_KINDS)[kind](rng, scene) for kind in kinds]


def held_out_example(seed: int, canvas: int = CANVAS) -> tuple[Scene, Question]:
    """Return the held-out scene of a seed, and a reading question about one of its small cards.

    Training seeds its generators with three numbers, so training never sees these scenes.

    Args:
        seed: number of the scene.
        canvas: side of the scene in pixels.
    """
    rng = np.random.default_rng([seed])

    # A scene without a small card is drawn again.
    while True:
        scene = sample_scene(rng, canvas=canvas)
        small = [
            element for element in scene.elements if SMALL[0] <= element.box.height <= SMALL[1]
        ]
        if small:
            return scene, read_question(small[rng.integers(len(small))])
