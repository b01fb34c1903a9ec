"""Miniatures that need a zoom: TextVQA, V*, DocVQA, InfographicVQA and POPE.

Their evidence is too small to be read in the full picture.
"""

from typing import Any

import numpy as np

from entropy_grounding.benchmarks.base import LETTER
from entropy_grounding.benchmarks.miniature.base import (
    CHOICES,
    Drawn,
    Miniature,
    choose,
    letter_of,
    lettered,
    with_choices,
)
from entropy_grounding.benchmarks.miniature.questions import Question
from entropy_grounding.benchmarks.miniature.scenes import Element, Scene, sample_scene
from entropy_grounding.benchmarks.miniature.words import COLORS, READABLE


class MiniTextVQA(Miniature):
    """Questions about signs with one or two letters."""

    kind = "textvqa"
    element = "sign"
    trained = (14.0, 44.0)
    count = (3, 5)

    def ask(self, rng: np.random.Generator, scene: Scene) -> Question:
        """Ask what a sign says."""
        sign = _one(rng, scene)
        return Question(f"what does the {sign.color} sign say?", sign.text, (sign.evidence,))

    def row(self, drawn: Drawn) -> dict[str, Any]:
        """Return the question with ten answers. Up to two annotators misread the sign."""
        # A generator of its own: the answers of a row do not change its scene.
        rng = np.random.default_rng([drawn.number, 10])
        answers = [drawn.question.answer] * 10
        for index in rng.permutation(10)[: rng.integers(0, 3)]:
            answers[index] = " ".join(rng.choice(READABLE, len(drawn.question.answer.split())))

        width, height = drawn.image.size
        return {
            "image_id": f"{drawn.number:016x}",
            "question_id": drawn.number,
            "question": drawn.question.text,
            "question_tokens": drawn.question.text.rstrip("?").split(),
            "image": drawn.image,
            "image_width": width,
            "image_height": height,
            "flickr_original_url": "",
            "flickr_300k_url": "",
            "answers": answers,
            "image_classes": ["sign"],
            "set_name": "val",
            "ocr_tokens": [element.text for element in drawn.scene.elements],
        }


class MiniVStar(Miniature):
    """Questions with options about a small card, or about the positions of two small cards."""

    kind = "vstar"

    def scene(self, rng: np.random.Generator, canvas: int, *, training: bool = False) -> Scene:
        """Draw a scene whose letters can be texts of options (`CHOICES`)."""
        return with_choices(rng, super().scene(rng, canvas, training=training))

    def ask(self, rng: np.random.Generator, scene: Scene) -> Question:
        """Ask for a letter among four options, or whether a card is left or right of another.

        Three of five questions ask for a letter.
        """
        # A third of the picture apart, so that the side is clear.
        pairs = apart(scene, scene.size[0] / 3, axis=0)

        if rng.random() < 0.6 or not pairs:
            card = _one(rng, scene)
            options = choose(rng, card.text, list(CHOICES), 4)
            return Question(
                f"What letter is on the {card.color} card?",
                card.text,
                (card.box,),
                options,
                "direct_attributes",
            )

        first, second = pairs[rng.integers(len(pairs))]
        side = "left" if first.box.center[0] < second.box.center[0] else "right"

        text = f"Is the {first.color} card on the left or right side of the {second.color} card?"
        return Question(
            text,
            side,
            (first.box, second.box),
            choose(rng, side, ["left", "right"], 2),
            "relative_position",
        )

    def row(self, drawn: Drawn) -> dict[str, Any]:
        """Return the question with its options and instruction in one text."""
        question = drawn.question
        text = f"{question.text}\n{lettered(question.options, '(LETTER) TEXT')}\n{LETTER}"

        return {
            "image": drawn.image,
            "text": text,
            "category": question.group,
            "label": letter_of(question),
            "question_id": str(drawn.number),
        }


class MiniDocVQA(Miniature):
    """Questions about a page of small rows. Each row has a colored key and a value."""

    kind = "docvqa"
    element = "row"
    trained = (14.0, 36.0)

    def ask(self, rng: np.random.Generator, scene: Scene) -> Question:
        """Ask for the value of a row."""
        row = _one(rng, scene)
        return Question(f"What is the value of the {row.color} field?", row.text, (row.evidence,))

    def row(self, drawn: Drawn) -> dict[str, Any]:
        """Return the question with its one answer."""
        return {
            "questionId": str(drawn.number),
            "question": drawn.question.text,
            "question_types": ["form"],
            "image": drawn.image,
            "docId": drawn.number,
            "ucsf_document_id": "",
            "ucsf_document_page_no": "1",
            "answers": [drawn.question.answer],
            "data_split": "val",
        }


class MiniInfoVQA(Miniature):
    """Questions about a chart whose bars have small letters. Every question needs two bars."""

    kind = "infovqa"
    element = "bar"
    trained = (14.0, 40.0)
    count = (3, 5)

    def ask(self, rng: np.random.Generator, scene: Scene) -> Question:
        """Ask for the letters of two bars, or whether both bars have the same letter.

        Letters are compared only in charts with equal and different ones. The answer is then "yes"
        in half of the questions.
        """
        pairs = [(a, b) for a in scene.elements for b in scene.elements if a is not b]
        equal = rng.random() < 0.5
        pool = [pair for pair in pairs if (pair[0].text == pair[1].text) == equal]

        # Two letters on more than two bars: some bars are equal and some are not.
        letters = {bar.text for bar in scene.elements}
        compared = rng.random() < 0.4 and len(letters) == 2 < len(scene.elements)
        candidates = pool if compared else pairs
        first, second = candidates[rng.integers(len(candidates))]
        evidence = (first.evidence, second.evidence)

        if not compared:
            text = f"What letters are on the {first.color} and {second.color} bars?"
            return Question(text, f"{first.text} {second.text}", evidence, group="letters")

        text = f"Do the {first.color} and {second.color} bars have the same letter?"
        return Question(text, "yes" if first.text == second.text else "no", evidence, group="same")

    def scene(self, rng: np.random.Generator, canvas: int, *, training: bool = False) -> Scene:
        """Draw a chart with at least two bars.

        Three of four charts use only two letters, so that equal letters are common.
        """
        scene = super().scene(rng, canvas, training=training)
        few = rng.choice(READABLE, 2, replace=False)
        if rng.random() < 0.25:
            return scene

        bars = []
        for bar in scene.elements:
            bars.append(Element(bar.kind, bar.color, str(rng.choice(few)), bar.box))
        return Scene(tuple(bars), scene.texture_seed, scene.size, scene.background)

    def row(self, drawn: Drawn) -> dict[str, Any]:
        """Return the question with its one answer."""
        return {
            "questionId": str(drawn.number),
            "question": drawn.question.text,
            "answers": [drawn.question.answer],
            "answer_type": ["multi-span"],
            "image": drawn.image,
            "image_url": "",
            "operation/reasoning": [],
            "ocr": "",
            "data_split": "val",
        }


class MiniPOPE(Miniature):
    """Questions whether there is a card of a color.

    Some of the cards that are there are very small. The colors that are not there are of three
    kinds: random, popular and adversarial.
    """

    kind = "pope"
    sides = (3.0, 16.0)
    trained = (3.0, 40.0)

    def scene(self, rng: np.random.Generator, canvas: int, *, training: bool = False) -> Scene:
        """Draw a scene of one to five cards, some of them very small."""
        sides = self.trained if training else self.sides
        scene = sample_scene(rng, sides=sides, count=(2, 5), canvas=canvas)

        return scene if scene.elements else self.scene(rng, canvas, training=training)

    def ask(self, rng: np.random.Generator, scene: Scene) -> Question:
        """Ask for a color that is there in half of the questions, else for one that is not.

        A color that is not there is any ("random"), one of a fixed half of the colors ("popular"),
        or one that is easily confused with a color that is there ("adversarial").
        """
        present = {element.color: element.box for element in scene.elements}
        group = str(rng.choice(["random", "popular", "adversarial"]))

        if rng.random() < 0.5:
            color = str(rng.choice(list(present)))
            return Question(_is_there(color), "yes", (present[color],), group=group)

        absent = [color for color in COLORS if color not in present]
        partners = [color for color in absent if _PARTNER[color] in present]
        popular = [color for color in absent if color in _POPULAR]

        # A group without a color in this scene asks for any absent color.
        pools = {"random": absent, "popular": popular, "adversarial": partners}
        pool = pools[group] or absent
        return Question(_is_there(str(rng.choice(pool))), "no", (), group=group)

    def row(self, drawn: Drawn) -> dict[str, Any]:
        """Return the question with "yes" or "no"."""
        return {
            "id": str(drawn.number),
            "question_id": str(drawn.number),
            "question": drawn.question.text,
            "answer": drawn.question.answer,
            "image_source": f"scene_{drawn.number:06d}",
            "image": drawn.image,
            "category": drawn.question.group,
        }


# Pairs of colors that are easily confused.
_PAIRS = (("red", "orange"), ("yellow", "green"), ("cyan", "blue"), ("purple", "pink"))
_PARTNER = dict(_PAIRS) | {second: first for first, second in _PAIRS}

# The half of the colors that "popular" negatives come from.
_POPULAR = ("red", "yellow", "blue", "purple")


def _is_there(color: str) -> str:
    """Return the question of POPE for a color."""
    return f"Is there a {color} card in the image?"


def _one(rng: np.random.Generator, scene: Scene) -> Element:
    """Draw one element of a scene."""
    return scene.elements[rng.integers(len(scene.elements))]


def apart(scene: Scene, distance: float, axis: int) -> list[tuple[Element, Element]]:
    """Return the ordered pairs of elements that are far apart along one axis.

    Args:
        scene: the scene.
        distance: smallest distance of the two centers, in pixels.
        axis: 0 for x, 1 for y.
    """
    pairs = []
    for a in scene.elements:
        for b in scene.elements:
            if abs(a.box.center[axis] - b.box.center[axis]) >= distance:
                pairs.append((a, b))
    return pairs
