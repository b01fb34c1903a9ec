"""Benchmarks with a short free answer: TextVQA, DocVQA, InfographicVQA, GQA."""

from collections.abc import Iterator, Mapping
from typing import Any

from entropy_grounding.benchmarks.base import SHORT, Benchmark, Protocol
from entropy_grounding.benchmarks.columns import answer_of, id_of, picture_of, text_of, texts_of
from entropy_grounding.structures import Example


class TextVQA(Benchmark):
    """TextVQA: reading in natural images, ten annotators (Singh et al. 2019); the question is capitalised as in lmms-eval."""

    columns = ("question_id", "question", "image", "answers")
    metric = "vqa_accuracy"
    switches = ("ocr_tokens",)

    def identify(self, row: Mapping[str, Any], number: int) -> str:
        """Return the question id."""
        return id_of(row, "question_id")

    def examples(self, row: Mapping[str, Any], identity: str, protocol: Protocol) -> Iterator[Example]:
        """Yield the example of a row."""
        question = text_of(row, identity, "question")
        tokens = f"Reference OCR token: {', '.join(texts_of(row, identity, 'ocr_tokens'))}\n" if protocol.ocr_tokens else ""
        prompt = f"{question.capitalize()}\n{tokens}{SHORT}"
        yield Example(identity, picture_of(row, identity), question, prompt, texts_of(row, identity, "answers"))


class DocVQA(Benchmark):
    """DocVQA and InfographicVQA: documents and infographics, ANLS on the validation split (Mathew et al. 2021, 2022)."""

    columns = ("questionId", "question", "image", "answers")
    metric = "anls"
    max_new_tokens = 32

    def identify(self, row: Mapping[str, Any], number: int) -> str:
        """Return the question id."""
        return id_of(row, "questionId")

    def examples(self, row: Mapping[str, Any], identity: str, protocol: Protocol) -> Iterator[Example]:
        """Yield the example of a row."""
        question = text_of(row, identity, "question")
        yield Example(identity, picture_of(row, identity), question, f"{question}\n{SHORT}", texts_of(row, identity, "answers"))


class GQA(Benchmark):
    """GQA testdev-balanced: compositional questions, exact match (Hudson and Manning 2019); images are joined by their id."""

    columns = ("id", "imageId", "question", "answer")
    metric = "exact_match"

    def identify(self, row: Mapping[str, Any], number: int) -> str:
        """Return the question id."""
        return id_of(row, "id")

    def examples(self, row: Mapping[str, Any], identity: str, protocol: Protocol) -> Iterator[Example]:
        """Yield the example of a row."""
        question = text_of(row, identity, "question")
        yield Example(identity, picture_of(row, identity), question, f"{question}\n{SHORT}", (answer_of(row, identity, "answer").strip(),))
