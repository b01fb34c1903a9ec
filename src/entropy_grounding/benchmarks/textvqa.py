"""TextVQA: reading in natural images."""

from collections.abc import Iterator, Mapping
from typing import Any

from entropy_grounding.benchmarks.base import SHORT, Benchmark, Example
from entropy_grounding.benchmarks.columns import id_of, picture_of, text_of, texts_of
from entropy_grounding.benchmarks.config import Protocol


class TextVQA(Benchmark):
    """TextVQA asks to read text in natural images; ten annotators answered (Singh et al. 2019).

    The prompt capitalises the question as lmms-eval does.
    """

    columns = ("question_id", "question", "image", "answers")
    metric = "vqa_accuracy"
    switches = ("ocr_tokens",)

    def identify(self, row: Mapping[str, Any], number: int) -> str:
        """Return the question id."""
        return id_of(row, "question_id")

    def examples(
        self, row: Mapping[str, Any], identity: str, protocol: Protocol
    ) -> Iterator[Example]:
        """Yield the example of a row."""
        question = text_of(row, identity, "question")
        tokens = ""
        if protocol.ocr_tokens:
            tokens = f"Reference OCR token: {', '.join(texts_of(row, identity, 'ocr_tokens'))}\n"

        prompt = f"{question.capitalize()}\n{tokens}{SHORT}"
        yield Example(
            identity,
            picture_of(row, identity),
            question,
            prompt,
            texts_of(row, identity, "answers"),
        )
