"""V*: small objects in large images, with lettered options."""

from collections.abc import Iterator, Mapping
from typing import Any

from entropy_grounding.benchmarks.base import LETTER, Benchmark, Example
from entropy_grounding.benchmarks.columns import id_of, picture_of, text_of
from entropy_grounding.benchmarks.config import Protocol
from entropy_grounding.benchmarks.option_orders import shown_orders
from entropy_grounding.core.errors import InputError
from entropy_grounding.metrics.choices import parse_choice
from entropy_grounding.metrics.option_lines import option_lines, texts_by_letter


class VStar(Benchmark):
    """V* asks for attributes and relative positions of small objects in large images.

    The answer is a letter (Wu and Xie 2024).
    """

    columns = ("question_id", "image", "text", "label", "category")
    metric = "choice"
    switches = ("option_order", "answer_mode")

    def identify(self, row: Mapping[str, Any], number: int) -> str:
        """Return category and question id, because both categories are numbered from 0."""
        return f"{id_of(row, 'category')}/{id_of(row, 'question_id')}"

    def examples(
        self, row: Mapping[str, Any], identity: str, protocol: Protocol
    ) -> Iterator[Example]:
        """Yield the example of a row, or one example per option order.

        The text of the data ends with an instruction. The prompt has the instruction once.
        """
        text, label = text_of(row, identity, "text"), text_of(row, identity, "label")
        listed = option_lines(text)
        if not listed:
            raise InputError(f"Example '{identity}' lists no lettered options.")
        question = text[: listed[0].line].strip()

        for number, shown, answer in shown_orders(
            texts_by_letter(listed), label, protocol, identity
        ):
            prompt = question
            if protocol.answer_mode != "likelihood":
                lines = "\n".join(f"{letter}. {option}" for letter, option in shown.items())
                prompt = f"{question}\n{lines}\n{LETTER}"

            yield Example(
                f"{identity}:{number}" if protocol.option_order == "rotations" else identity,
                picture_of(row, identity),
                question,
                prompt,
                (answer,),
                group=str(row["category"]),
                options=tuple(shown.items()),
            )

    def score(self, answer: str, example: Example) -> float:
        """Return 1 if the answer chooses the right letter, else 0."""
        return float(parse_choice(answer, dict(example.options)) == example.references[0])
