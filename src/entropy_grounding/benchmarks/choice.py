"""Benchmarks with lettered options: V*, RealWorldQA."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from entropy_grounding.benchmarks.base import LETTER, Benchmark, Protocol, orders
from entropy_grounding.benchmarks.columns import answer_of, id_of, picture_of, text_of
from entropy_grounding.choices import letter_of, parse_choice
from entropy_grounding.errors import InputError
from entropy_grounding.metrics import realworldqa_match
from entropy_grounding.option_lines import OptionLine, option_lines, with_texts
from entropy_grounding.structures import Example


class VStar(Benchmark):
    """V*: attributes and relative position of small objects in large images, a letter in answer (Wu and Xie 2024)."""

    columns = ("question_id", "image", "text", "label", "category")
    metric = "choice"
    switches = ("option_order", "answer_mode")

    def identify(self, row: Mapping[str, Any], number: int) -> str:
        """Return the question id within its category: the data set numbers both from 0."""
        return f"{id_of(row, 'category')}/{id_of(row, 'question_id')}"

    def examples(self, row: Mapping[str, Any], identity: str, protocol: Protocol) -> Iterator[Example]:
        """Yield the row's example, or one for each option order; the instruction line of the data is written once."""
        text, label = text_of(row, identity, "text"), text_of(row, identity, "label")
        listed = option_lines(text)
        if not listed:
            raise InputError(f"Example '{identity}' lists no lettered options.")
        question = text[: listed[0].line].strip()
        for number, shown, answer in _orders(listed, label, protocol, identity):
            lines = "\n".join(f"{letter}. {option}" for letter, option in shown.items())
            yield Example(
                f"{identity}:{number}" if protocol.option_order == "rotations" else identity,
                picture_of(row, identity),
                question,
                question if protocol.answer_mode == "likelihood" else f"{question}\n{lines}\n{LETTER}",
                (answer,),
                group=str(row["category"]),
                options=tuple(shown.items()),
            )

    def score(self, answer: str, example: Example) -> float:
        """Return 1 when the answer chooses the right letter."""
        return float(parse_choice(answer, dict(example.options)) == example.references[0])


class RealWorldQA(Benchmark):
    """RealWorldQA: everyday scenes; the question holds its options, if any, and its own instruction (xAI 2024)."""

    columns = ("image", "question", "answer")
    metric = "realworldqa"
    switches = ("option_order", "answer_mode")

    def examples(self, row: Mapping[str, Any], identity: str, protocol: Protocol) -> Iterator[Example]:
        """Yield the row's example, or one for each option order; a question without options has one."""
        question, answer = text_of(row, identity, "question"), answer_of(row, identity, "answer").strip()
        listed = option_lines(question)
        if not listed:
            yield Example(identity, picture_of(row, identity), question, question, (answer,), group="open")
            return
        for number, shown, letter in _orders(listed, answer, protocol, identity):
            prompt = question if protocol.option_order == "as_released" else with_texts(question, listed, shown)
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
        """Return 1 for the right letter, or the right word where there are no options."""
        return realworldqa_match(answer, example.references[0], dict(example.options))


def _orders(listed: Sequence[OptionLine], answer: str, protocol: Protocol, identity: str) -> Iterator[tuple[int, dict[str, str], str]]:
    """Yield (number, options by letter, letter of the answer) for each order that the protocol asks for."""
    options = {line.letter: line.text for line in listed}
    right = letter_of(answer, options)
    if right is None:
        raise InputError(f"Example '{identity}' has the answer '{answer}', which is none of its options {', '.join(options)}.")
    letters = list(options)
    for number, order in enumerate(orders(len(letters), protocol, identity)):
        shown = {letter: options[letters[index]] for letter, index in zip(letters, order, strict=True)}
        yield number, shown, letters[order.index(letters.index(right))]
