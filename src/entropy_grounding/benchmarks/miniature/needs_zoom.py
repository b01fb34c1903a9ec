"""Miniatures whose evidence is too small for the full picture: TextVQA, V*, DocVQA, InfographicVQA, POPE."""

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
from entropy_grounding.core.geometry import Box


class MiniTextVQA(Miniature):
    """Signs with short strings."""

    kind = "textvqa"
    element = "sign"
    trained = (14.0, 44.0)
    count = (3, 5)

    def ask(self, rng: np.random.Generator, scene: Scene) -> Question:
        """Ask what a sign says."""
        sign = _one(rng, scene)
        return Question(f"what does the {sign.color} sign say?", sign.text, (sign.evidence,))

    def row(self, drawn: Drawn) -> dict[str, Any]:
        """Return ten answers, of which up to two annotators misread the sign."""
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
    """An attribute of a small card, or the relative position of two, with lettered options."""

    kind = "vstar"

    def scene(self, rng: np.random.Generator, canvas: int, *, training: bool = False) -> Scene:
        """Draw a scene whose letters may be texts of options."""
        return with_choices(rng, super().scene(rng, canvas, training=training))

    def ask(self, rng: np.random.Generator, scene: Scene) -> Question:
        """Ask for a letter among four (three of five questions), or for the side among two."""
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
    """A page of small key-value rows; a key is a color."""

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
    """A bar chart whose bars carry small letters; every answer needs two bars."""

    kind = "infovqa"
    element = "bar"
    trained = (14.0, 40.0)
    count = (3, 5)

    def ask(self, rng: np.random.Generator, scene: Scene) -> Question:
        """Ask for the letters of two bars, or whether they are the same: "yes" half of the time, in charts that allow both."""
        pairs = [(a, b) for a in scene.elements for b in scene.elements if a is not b]
        equal = rng.random() < 0.5
        pool = [pair for pair in pairs if (pair[0].text == pair[1].text) == equal]
        compared = rng.random() < 0.4 and len({bar.text for bar in scene.elements}) == 2 < len(
            scene.elements
        )
        first, second = (pool if compared else pairs)[
            rng.integers(len(pool if compared else pairs))
        ]
        evidence = (first.evidence, second.evidence)
        if not compared:
            text = f"What letters are on the {first.color} and {second.color} bars?"
            return Question(text, f"{first.text} {second.text}", evidence, group="letters")
        text = f"Do the {first.color} and {second.color} bars have the same letter?"
        return Question(text, "yes" if first.text == second.text else "no", evidence, group="same")

    def scene(self, rng: np.random.Generator, canvas: int, *, training: bool = False) -> Scene:
        """Draw a chart with at least two bars; in most of them two letters are in use, so that equal ones are common."""
        scene = super().scene(rng, canvas, training=training)
        few = rng.choice(READABLE, 2, replace=False)
        if rng.random() < 0.25:
            return scene
        bars = tuple(
            Element(bar.kind, bar.color, str(rng.choice(few)), bar.box) for bar in scene.elements
        )
        return Scene(bars, scene.texture_seed, scene.size, scene.background)

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
    """Is there a card of this color: very small ones among the "yes" questions, three kinds of absent ones among the others."""

    kind = "pope"
    sides = (3.0, 16.0)
    trained = (3.0, 40.0)

    def scene(self, rng: np.random.Generator, canvas: int, *, training: bool = False) -> Scene:
        """Draw a scene of up to five cards, very small ones among them."""
        sides = self.trained if training else self.sides
        scene = sample_scene(rng, sides=sides, count=(2, 5), canvas=canvas)
        return scene if scene.elements else self.scene(rng, canvas, training=training)

    def ask(self, rng: np.random.Generator, scene: Scene) -> Question:
        """Ask for a present color (half of the time), or an absent one: any, one of a fixed half, or the partner of a present one."""
        present = {element.color: element.box for element in scene.elements}
        group = str(rng.choice(["random", "popular", "adversarial"]))
        if rng.random() < 0.5:
            color = str(rng.choice(list(present)))
            return Question(_is_there(color), "yes", (present[color],), group=group)
        absent = [color for color in COLORS if color not in present]
        partners = [color for color in absent if _PARTNER[color] in present]
        popular = [color for color in absent if color in _POPULAR]
        pool = {"random": absent, "popular": popular or absent, "adversarial": partners or absent}[
            group
        ]
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


# Colors that are easily taken for each other, in pairs; and the half of the colors that "popular" negatives come from.
_PAIRS = (("red", "orange"), ("yellow", "green"), ("cyan", "blue"), ("purple", "pink"))
_PARTNER = {a: b for pair in _PAIRS for a, b in (pair, pair[::-1])}
_POPULAR = ("red", "yellow", "blue", "purple")


def _is_there(color: str) -> str:
    return f"Is there a {color} card in the image?"


def _one(rng: np.random.Generator, scene: Scene) -> Element:
    return scene.elements[rng.integers(len(scene.elements))]


def apart(scene: Scene, distance: float, axis: int) -> list[tuple[Element, Element]]:
    """Return the ordered pairs of elements whose centers differ by at least ``distance`` pixels along x (0) or y (1)."""

    def center(box: Box) -> float:
        return box.center[axis]

    return [
        (a, b)
        for a in scene.elements
        for b in scene.elements
        if abs(center(a.box) - center(b.box)) >= distance
    ]
