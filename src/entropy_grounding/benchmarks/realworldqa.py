"""RealWorldQA: everyday scenes, with lettered options or an open question."""

from collections.abc import Iterator, Mapping
from typing import Any

from entropy_grounding.benchmarks.base import Benchmark, Example
from entropy_grounding.benchmarks.columns import answer_of, picture_of, text_of
from entropy_grounding.benchmarks.config import Protocol
from entropy_grounding.benchmarks.option_orders import shown_orders
from entropy_grounding.metrics.answers import realworldqa_match
from entropy_grounding.metrics.option_lines import option_lines, texts_by_letter, with_texts


class RealWorldQA(Benchmark):
    """RealWorldQA asks about everyday scenes (xAI 2024).

    The question of a row contains its options, if it has any, and its own instruction.
    """

    columns = ("image", "question", "answer")
    metric = "realworldqa"
    switches = ("option_order", "answer_mode")

    def examples(
        self, row: Mapping[str, Any], identity: str, protocol: Protocol
    ) -> Iterator[Example]:
        """Yield the example of a row, or one example per option order if there are options."""
        question = text_of(row, identity, "question")
        answer = answer_of(row, identity, "answer").strip()
        listed = option_lines(question)
        if not listed:
            yield Example(
                identity, picture_of(row, identity), question, question, (answer,), group="open"
            )
            return

        for number, shown, letter in shown_orders(
            texts_by_letter(listed), answer, protocol, identity
        ):
            # The released order keeps the text of the data set exactly as it is.
            prompt = question
            if protocol.option_order != "as_released":
                prompt = with_texts(question, listed, shown)
            if protocol.answer_mode == "likelihood":
                prompt = question[: listed[0].line].strip()

            yield Example(
                f"{identity}:{number}" if protocol.option_order == "rotations" else identity,
                picture_of(row, identity),
                question,
                prompt,
                (letter,),
                group="choice",
                options=tuple(shown.items()),
            )

    def score(self, answer: str, example: Example) -> float:
        """Return 1 for the right letter, or for the right word if there are no options, else 0."""
        return realworldqa_match(answer, example.references[0], dict(example.options))
