"""HR-Bench: small things in pictures of 4K and 8K pixels, with lettered options."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from entropy_grounding.benchmarks.base import Benchmark, Example
from entropy_grounding.benchmarks.columns import (
    answer_of,
    base64_picture_of,
    id_of,
    picture_of,
    text_of,
)
from entropy_grounding.benchmarks.config import Protocol
from entropy_grounding.benchmarks.option_orders import shown_orders
from entropy_grounding.metrics.averages import rotation_means
from entropy_grounding.metrics.choices import parse_choice

LETTERS = ("A", "B", "C", "D")
INSTRUCTION = "Answer the option letter directly."


class HRBench(Benchmark):
    """HR-Bench asks 200 questions about pictures of very many pixels (Wang et al. 2025).

    Half of them are about one object (category "single"), half about several ("cross"). Each
    question has four rows, which show its options in the four cyclic orders (``cycle_category``).
    Therefore the data themselves hold the rotations, and the protocol has no other orders.
    """

    columns = ("index", "question", *LETTERS, "answer", "category", "cycle_category", "image")
    metric = "choice"
    switches = ("answer_mode",)

    def identify(self, row: Mapping[str, Any], number: int) -> str:
        """Return index and rotation of a row; `published` reads the rotation from it."""
        return f"{id_of(row, 'index')}:{id_of(row, 'cycle_category')}"

    def picture(
        self, row: Mapping[str, Any], identity: str, folder: Path | None, urls: bool
    ) -> Image.Image:
        """Return the image of a row, which is base64 text."""
        return base64_picture_of(row, identity, "image")

    def examples(
        self, row: Mapping[str, Any], identity: str, protocol: Protocol
    ) -> Iterator[Example]:
        """Yield the example of a row, with the prompt of lmms-eval.

        The authors' own prompt puts "Question:" and "Options:" before the texts and asks to select
        the correct answer; their score needs a language model to judge what is said then.
        """
        question = text_of(row, identity, "question")
        options = {letter: answer_of(row, identity, letter) for letter in LETTERS}
        answer = text_of(row, identity, "answer")

        for _, shown, letter in shown_orders(options, answer, protocol, identity):
            prompt = question
            if protocol.answer_mode != "likelihood":
                lines = [f"{each}. {text}" for each, text in shown.items()]
                prompt = "\n".join([question, *lines, INSTRUCTION])

            yield Example(
                identity,
                picture_of(row, identity),
                question,
                prompt,
                (letter,),
                group=text_of(row, identity, "category"),
                options=tuple(shown.items()),
            )

    def score(self, answer: str, example: Example) -> float:
        """Return 1 if the answer chooses the right letter, else 0."""
        return float(parse_choice(answer, dict(example.options)) == example.references[0])

    def published(
        self, scores: Sequence[float], ids: Sequence[str], groups: Sequence[str]
    ) -> dict[str, float]:
        """Return the mean over the rotations, of each category and of all rows."""
        rotations = [identity.rpartition(":")[2] for identity in ids]
        return rotation_means(scores, rotations, groups)
