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
        answer: its answer; one of the options where there are any.
        evidence: boxes in pixels of the scene that hold what must be seen.
        options: the texts to choose from, in the order shown.
        group: the part of a benchmark that it belongs to.
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
    return read_question(scene.elements[rng.integers(len(scene.elements))])


def _ask_presence(rng: np.random.Generator, scene: Scene) -> Question:
    present = {element.color: element.box for element in scene.elements}
    wanted = rng.random() < 0.5
    color = str(rng.choice([c for c in COLORS if (c in present) == wanted]))
    return Question(
        f"Is there a {color} card?", "yes" if wanted else "no", (present[color],) if wanted else ()
    )


def _ask_match(rng: np.random.Generator, scene: Scene) -> Question:
    """Ask whether two cards carry the same letter, "yes" half of the time where the scene allows it."""
    pairs = [(a, b) for i, a in enumerate(scene.elements) for b in scene.elements[i + 1 :]]
    same = [pair for pair in pairs if pair[0].text == pair[1].text]
    other = [pair for pair in pairs if pair[0].text != pair[1].text]
    pool = same if same and (not other or rng.random() < 0.5) else other
    first, second = pool[rng.integers(len(pool))]
    text = f"Do the {first.color} and {second.color} cards have the same letter?"
    return Question(text, "yes" if first.text == second.text else "no", (first.box, second.box))


def _ask_left_of(rng: np.random.Generator, scene: Scene) -> Question:
    first, second = (scene.elements[i] for i in rng.permutation(len(scene.elements))[:2])
    answer = "yes" if first.box.center[0] < second.box.center[0] else "no"
    return Question(
        f"Is the {first.color} card left of the {second.color} card?",
        answer,
        (first.box, second.box),
    )


_KINDS = {_ask_read: 0.55, _ask_match: 0.13, _ask_presence: 0.15, _ask_left_of: 0.17}


def sample_questions(rng: np.random.Generator, scene: Scene, count: int) -> list[Question]:
    """Draw ``count`` questions from the training mixture (read, match, presence, left of)."""
    kinds = rng.choice(len(_KINDS), count, p=list(_KINDS.values()))
    return [list(_KINDS)[kind](rng, scene) for kind in kinds]


def held_out_example(seed: int, canvas: int = CANVAS) -> tuple[Scene, Question]:
    """Return the held-out scene of this seed and a reading question about one of its small cards.

    Training draws from other generators (three-part seeds), so these scenes are never seen in training.
    """
    rng = np.random.default_rng([seed])
    while True:
        scene = sample_scene(rng, canvas=canvas)
        small = [
            element for element in scene.elements if SMALL[0] <= element.box.height <= SMALL[1]
        ]
        if small:
            return scene, read_question(small[rng.integers(len(small))])
