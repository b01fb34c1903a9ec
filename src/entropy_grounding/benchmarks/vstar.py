"""V*: small objects in large images, with lettered options."""

from collections.abc import Iterator, Mapping
from typing import Any

from entropy_grounding.benchmarks.base import LETTER, Benchmark, Example
from entropy_grounding.benchmarks.columns import id_of, picture_of, text_of
from entropy_grounding.benchmarks.config import Protocol
from entropy_grounding.benchmarks.option_orders import shown_orders
from entropy_grounding.core.errors import InputError
from entropy_grounding.metrics.choices import parse_choice
from entropy_grounding.metrics.option_lines import option_lines


class VStar(Benchmark):
    """V*: attributes and relative position of small objects in large images, a letter in answer (Wu and Xie 2024)."""

    columns = ("question_id", "image", "text", "label", "category")
    metric = "choice"
    switches = ("option_order", "answer_mode")

    def identify(self, row: Mapping[str, Any], number: int) -> str:
        """Return the question id within its category: the data set numbers both from 0."""
        return f"{id_of(row, 'category')}/{id_of(row, 'question_id')}"

    def examples(
        self, row: Mapping[str, Any], identity: str, protocol: Protocol
    ) -> Iterator[Example]:
        """Yield the row's example, or one for each option order; the instruction line of the data is written once."""
        text, label = text_of(row, identity, "text"), text_of(row, identity, "label")
        listed = option_lines(text)
        if not listed:
            raise InputError(f"Example '{identity}' lists no lettered options.")
        question = text[: listed[0].line].strip()
        for number, shown, answer in shown_orders(listed, label, protocol, identity):
            lines = "\n".join(f"{letter}. {option}" for letter, option in shown.items())
            yield Example(
                f"{identity}:{number}" if protocol.option_order == "rotations" else identity,
                picture_of(row, identity),
                question,
                question
                if protocol.answer_mode == "likelihood"
                else f"{question}\n{lines}\n{LETTER}",
                (answer,),
                group=str(row["category"]),
                options=tuple(shown.items()),
            )

    def score(self, answer: str, example: Example) -> float:
        """Return 1 when the answer chooses the right letter."""
        return float(parse_choice(answer, dict(example.options)) == example.references[0])
