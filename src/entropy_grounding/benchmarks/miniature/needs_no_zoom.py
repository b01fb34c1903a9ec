"""Miniatures that need no zoom: GQA and RealWorldQA.

Their objects are large enough to be read in the full picture.
"""

from collections.abc import Iterator, Mapping
from itertools import tee
from typing import Any

import numpy as np

from entropy_grounding.benchmarks.miniature.base import (
    CHOICES,
    Drawn,
    Miniature,
    choose,
    letter_of,
    lettered,
    with_choices,
)
from entropy_grounding.benchmarks.miniature.needs_zoom import apart
from entropy_grounding.benchmarks.miniature.questions import Question
from entropy_grounding.benchmarks.miniature.scenes import Scene
from entropy_grounding.benchmarks.miniature.words import COLORS

BIG = (44.0, 60.0)  # side of a card in pixels
_OPTION = "Please answer directly with only the letter of the correct option and nothing else."
_OPEN = "Please answer directly with a single word or number."


class MiniGQA(Miniature):
    """Questions about attributes, presence and relations of large cards."""

    kind = "gqa"
    sides = BIG
    trained = (22.0, 60.0)

    def ask(self, rng: np.random.Generator, scene: Scene) -> Question:
        """Ask for a letter, the color of a letter, presence, or the relation of two cards.

        A relation is "to the left of" or "above".
        """
        # All of these are drawn for every kind of question: the rows depend on this order.
        card = scene.elements[rng.integers(len(scene.elements))]
        kind = rng.choice(["letter", "color", "exist", "relation"], p=[0.3, 0.2, 0.2, 0.3])
        axis = int(rng.integers(2))
        pairs = apart(scene, scene.size[0] / 3, axis)

        if kind == "relation" and pairs:
            first, second = pairs[rng.integers(len(pairs))]
            yes = first.box.center[axis] < second.box.center[axis]
            side = ("to the left of", "above")[axis]
            text = f"Is the {first.color} card {side} the {second.color} card?"
            return Question(text, "yes" if yes else "no", (first.box, second.box), group="relation")

        if kind == "exist":
            if rng.random() < 0.5:
                return Question(f"Is there a {card.color} card?", "yes", (card.box,), group="exist")
            present = [element.color for element in scene.elements]
            color = str(rng.choice([name for name in COLORS if name not in present]))
            return Question(f"Is there a {color} card?", "no", (), group="exist")

        # A letter on several cards would not tell which card is meant.
        if kind == "color" and _count(scene, card.text) == 1:
            return Question(
                f"What color is the card with the letter {card.text}?",
                card.color,
                (card.box,),
                group="color",
            )

        # Also where a question of the drawn kind is not possible.
        return Question(
            f"What letter is on the {card.color} card?", card.text, (card.box,), group="letter"
        )

    def tables(self, drawn: Iterator[Drawn]) -> Mapping[str, Iterator[dict[str, Any]]]:
        """Return questions and images apart, as in the published data set."""
        questions, pictures = tee(drawn)
        images = ({"id": f"n{one.number}", "image": one.image} for one in pictures)
        return {**super().tables(questions), "images": images}

    def row(self, drawn: Drawn) -> dict[str, Any]:
        """Return the question with the id of its image."""
        question = drawn.question

        return {
            "id": f"{drawn.number:08d}",
            "imageId": f"n{drawn.number}",
            "question": question.text,
            "answer": question.answer,
            "fullAnswer": question.answer,
            "isBalanced": True,
            "semanticStr": question.group,
        }


class MiniRealWorldQA(Miniature):
    """Everyday questions. Two of three have lettered options, the others are open."""

    kind = "realworldqa"
    sides = BIG
    trained = (22.0, 60.0)

    def scene(self, rng: np.random.Generator, canvas: int, *, training: bool = False) -> Scene:
        """Draw a scene whose letters can be texts of options (`CHOICES`)."""
        return with_choices(rng, super().scene(rng, canvas, training=training))

    def ask(self, rng: np.random.Generator, scene: Scene) -> Question:
        """Ask for a letter among three, a color among three, or a letter without options."""
        card = scene.elements[rng.integers(len(scene.elements))]
        kind = rng.choice(["letter", "color", "open"])

        text = f"What letter is on the {card.color} card?"
        if kind == "open":
            return Question(text, card.text, (card.box,), group="open")

        # A letter on several cards would not tell which card is meant.
        if kind == "letter" or _count(scene, card.text) > 1:
            options = choose(rng, card.text, list(CHOICES), 3)
            return Question(text, card.text, (card.box,), options, "letter")

        options = choose(rng, card.color, list(COLORS), 3)
        return Question(
            f"What color is the card with the letter {card.text}?",
            card.color,
            (card.box,),
            options,
            "color",
        )

    def row(self, drawn: Drawn) -> dict[str, Any]:
        """Return the question with its options and instruction in one text."""
        question = drawn.question
        if not question.options:
            return {
                "image": drawn.image,
                "question": f"{question.text}\n{_OPEN}",
                "answer": question.answer,
            }

        text = f"{question.text}\n{lettered(question.options, 'LETTER. TEXT')}\n{_OPTION}"
        return {"image": drawn.image, "question": text, "answer": letter_of(question)}


def _count(scene: Scene, text: str) -> int:
    """Return the number of elements with this text."""
    return sum(element.text == text for element in scene.elements)
