"""MME-RealWorld-Lite: five domains of large real pictures, with five lettered options."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from entropy_grounding.benchmarks.base import Benchmark, Example
from entropy_grounding.benchmarks.columns import (
    base64_picture_of,
    id_of,
    picture_of,
    text_of,
    texts_of,
)
from entropy_grounding.benchmarks.config import Protocol
from entropy_grounding.benchmarks.option_orders import shown_orders
from entropy_grounding.core.errors import InputError
from entropy_grounding.metrics.averages import task_means
from entropy_grounding.metrics.choices import parse_choice
from entropy_grounding.metrics.option_lines import option_lines, texts_by_letter, with_texts

OPTIONS = "multi-choice options"
HEADING = "The choices are listed below:"
# The space at the end is lmms-eval's.
INSTRUCTION = (
    "Select the best answer to the above multiple-choice question based on the image. "
    "Respond with only the letter (A, B, C, D, or E) of the correct option.\n"
    "The best answer is: "
)


class MMERealWorldLite(Benchmark):
    """MME-RealWorld-Lite has up to 50 questions of each kind in MME-RealWorld (Zhang et al. 2025).

    Options are texts such as "(A) red". The last one, E, says that the picture does not show what
    is asked for. The category of a row names task and domain, "Perception/Remote Sensing".
    """

    columns = ("index", "bytes", "question", OPTIONS, "answer", "category", "l2-category")
    metric = "choice"
    switches = ("option_order", "answer_mode")

    def identify(self, row: Mapping[str, Any], number: int) -> str:
        """Return the index of a row."""
        return id_of(row, "index")

    def picture(
        self, row: Mapping[str, Any], identity: str, folder: Path | None, urls: bool
    ) -> Image.Image:
        """Return the image of a row, which is base64 text in the column ``bytes``."""
        return base64_picture_of(row, identity, "bytes")

    def examples(
        self, row: Mapping[str, Any], identity: str, protocol: Protocol
    ) -> Iterator[Example]:
        """Yield the example of a row, or one per option order, with the prompt of the authors."""
        question = text_of(row, identity, "question")
        texts = texts_of(row, identity, OPTIONS)
        released = "\n".join(texts)
        listed = option_lines(released)
        if len(listed) != len(texts):
            raise InputError(
                f"Example '{identity}' has the options {', '.join(texts)[:100]}: "
                "use a list of texts '(A) ...', '(B) ...' in the order of their letters."
            )
        answer = text_of(row, identity, "answer")

        for number, shown, letter in shown_orders(
            texts_by_letter(listed), answer, protocol, identity
        ):
            lines = with_texts(released, listed, shown)
            prompt = f"{question} {HEADING}\n{lines}\n{INSTRUCTION}"
            yield Example(
                f"{identity}:{number}" if protocol.option_order == "rotations" else identity,
                picture_of(row, identity),
                question,
                question if protocol.answer_mode == "likelihood" else prompt,
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
        """Return the accuracy of perception and of reasoning, over questions and over domains."""
        return task_means(scores, groups)
