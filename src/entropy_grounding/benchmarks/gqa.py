"""GQA: compositional questions. Each question finds its image by the image's id."""

from collections.abc import Iterator, Mapping
from typing import Any

from entropy_grounding.benchmarks.base import SHORT, Benchmark, Example
from entropy_grounding.benchmarks.columns import answer_of, id_of, picture_of, text_of
from entropy_grounding.benchmarks.config import Protocol


class GQA(Benchmark):
    """GQA asks compositional questions; the score is exact match (Hudson and Manning 2019).

    The split is testdev-balanced. Each question finds its image by the image's id.
    """

    columns = ("id", "imageId", "question", "answer")
    metric = "exact_match"

    def identify(self, row: Mapping[str, Any], number: int) -> str:
        """Return the question id."""
        return id_of(row, "id")

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
            (answer_of(row, identity, "answer").strip(),),
        )
