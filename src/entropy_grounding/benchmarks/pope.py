"""POPE: is this object in the image, yes or no."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePath
from typing import Any

from entropy_grounding.benchmarks.base import SHORT, Benchmark, Example
from entropy_grounding.benchmarks.columns import answer_of, id_of, picture_of, text_of
from entropy_grounding.benchmarks.config import Protocol
from entropy_grounding.core.errors import InputError


class POPE(Benchmark):
    """POPE: objects that are in a COCO image or are not: random, popular and adversarial ones (Li et al. 2023)."""

    columns = ("question_id", "image", "question", "answer", "category")
    metric = "yes_no"
    max_new_tokens = 128
    switches = ("rows_in",)

    def identify(self, row: Mapping[str, Any], number: int) -> str:
        """Return the question id within its category: the three are numbered alike."""
        return f"{id_of(row, 'category')}/{id_of(row, 'question_id')}"

    def listed(self, row: Mapping[str, Any], pairs: Collection[tuple[str, str]]) -> bool:
        """Tell whether a row stays: the older file has fewer random negatives, the other two categories are the same."""
        return (
            row["category"] != "random"
            or (PurePath(str(row["image_source"])).stem, str(row["question"]).strip()) in pairs
        )

    def examples(
        self, row: Mapping[str, Any], identity: str, protocol: Protocol
    ) -> Iterator[Example]:
        """Yield the example of a row."""
        question, answer = (
            text_of(row, identity, "question"),
            answer_of(row, identity, "answer").strip().lower(),
        )
        if answer not in ("yes", "no"):
            raise InputError(
                f"Example '{identity}' has the answer '{answer}': POPE has yes and no only."
            )
        yield Example(
            identity,
            picture_of(row, identity),
            question,
            f"{question}\n{SHORT}",
            (answer,),
            group=str(row["category"]),
        )
