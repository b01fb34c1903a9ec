"""DocVQA and InfographicVQA: documents and infographics."""

from collections.abc import Iterator, Mapping
from typing import Any

from entropy_grounding.benchmarks.base import SHORT, Benchmark, Example
from entropy_grounding.benchmarks.columns import id_of, picture_of, text_of, texts_of
from entropy_grounding.benchmarks.config import Protocol


class DocVQA(Benchmark):
    """DocVQA and InfographicVQA ask about documents and infographics.

    The score is ANLS on the validation split (Mathew et al. 2021, 2022).
    """

    columns = ("questionId", "question", "image", "answers")
    metric = "anls"
    max_new_tokens = 32

    def identify(self, row: Mapping[str, Any], number: int) -> str:
        """Return the question id."""
        return id_of(row, "questionId")

    def examples(
        self, row: Mapping[str, Any], identity: str, protocol: Protocol
    ) -> Iterator[Example]:
        """Yield the example of a row."""
        question = text_of(row, identity, "question")

        yield Example(
            identity,
            picture_of(row, identity),
            question,
            f"{question}\n{SHORT}",
            texts_of(row, identity, "answers"),
        )
