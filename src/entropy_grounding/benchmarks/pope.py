"""POPE: is this object in the image, yes or no."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePath
from typing import Any

from entropy_grounding.benchmarks.base import SHORT, Benchmark, Example
from entropy_grounding.benchmarks.columns import answer_of, id_of, picture_of, text_of
from entropy_grounding.benchmarks.config import Protocol
from entropy_grounding.core.errors import InputError


class POPE(Benchmark):
    """POPE asks whether an object is in a COCO image (Li et al. 2023).

    The objects that are not in the image are random, popular or adversarial ones.
    """

    columns = ("question_id", "image", "question", "answer", "category")
    metric = "yes_no"
    max_new_tokens = 128
    switches = ("rows_in",)

    def identify(self, row: Mapping[str, Any], number: int) -> str:
        """Return category and question id, because the three categories use the same numbers."""
        return f"{id_of(row, 'category')}/{id_of(row, 'question_id')}"

    def listed(self, row: Mapping[str, Any], pairs: Collection[tuple[str, str]]) -> bool:
        """Tell whether ``rows_in`` keeps a row.

        Only the category "random" is compared: its older file has fewer negative questions. The
        other two categories are the same in both.
        """
        return (
            row["category"] != "random"
            or (PurePath(str(row["image_source"])).stem, str(row["question"]).strip()) in pairs
        )

    def examples(
        self, row: Mapping[str, Any], identity: str, protocol: Protocol
    ) -> Iterator[Example]:
        """Yield the example of a row."""
        question = text_of(row, identity, "question")
        answer = answer_of(row, identity, "answer").strip().lower()
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
