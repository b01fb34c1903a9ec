"""A benchmark: where its rows come from (through `datasets`), and how a row becomes an example.

Each `Benchmark` holds what is particular to it: columns, prompt, references and evidence. The
module `sources` and the checks below are shared by all benchmarks.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from entropy_grounding.benchmarks.columns import boxes_of, picture_of
from entropy_grounding.benchmarks.config import (
    ANSWER_MODES,
    OPTION_ORDERS,
    BenchmarkConfig,
    Protocol,
)
from entropy_grounding.core.checks import check_choice
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box
from entropy_grounding.metrics.answers import SCORERS


@dataclass(frozen=True, slots=True)
class Example:
    """One question of a benchmark.

    Attributes:
        id: unique within the benchmark.
        image: the original image, RGB.
        question: the question as people read it.
        prompt: the question with options and instruction, as the model gets it, without the chat
            template.
        references: the accepted answers; the letter for lettered options.
        boxes: the evidence, in pixels of the image; empty where the data has none.
        group: the part of the benchmark that the question belongs to, or an empty text.
        options: (letter, text) pairs in the order shown.
    """

    id: str
    image: Image.Image
    question: str
    prompt: str
    references: tuple[str, ...]
    boxes: tuple[Box, ...] = ()
    group: str = ""
    options: tuple[tuple[str, str], ...] = ()


SHORT = "Answer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."


@dataclass(frozen=True, slots=True)
class Unusable:
    """A row that cannot become an example. Its row of results holds this id and reason.

    Attributes:
        id: id of the row.
        reason: one sentence that says why the row cannot be used.
    """

    id: str
    reason: str


class Benchmark:
    """What differs between benchmarks.

    Attributes:
        columns: the columns that a row must have.
        metric: name of the score of an answer.
        max_new_tokens: length limit of an answer, in tokens.
        switches: the fields of `Protocol` that the benchmark uses, besides ``max_new_tokens``, and
            "rows_in".
    """

    columns: tuple[str, ...]
    metric: str
    max_new_tokens: int = 16
    switches: tuple[str, ...] = ()

    def identify(self, row: Mapping[str, Any], number: int) -> str:
        """Return the id of a row, or its number if the data set has no ids."""
        return str(number)

    def listed(self, row: Mapping[str, Any], pairs: Collection[tuple[str, str]]) -> bool:
        """Tell whether ``rows_in`` lists a row, by (image name without suffix, question)."""
        raise NotImplementedError

    def picture(
        self, row: Mapping[str, Any], identity: str, folder: Path | None, urls: bool
    ) -> Image.Image:
        """Return the image of a row in RGB.

        Args:
            row: row of the data set.
            identity: id of the row, for messages.
            folder: folder of the data set; pictures that rows name by a path are read inside it.
            urls: fetch pictures from http and https addresses.

        Raises:
            InputError: for a row without a picture, or with a broken one.
        """
        return picture_of(row, identity, folder=folder, urls=urls)

    def examples(
        self, row: Mapping[str, Any], identity: str, protocol: Protocol
    ) -> Iterator[Example]:
        """Yield the examples of a row: one, or one per option order where the protocol asks.

        Raises:
            InputError: when the row has no image, question or answer.
        """
        raise NotImplementedError

    def score(self, answer: str, example: Example) -> float:
        """Return the score in [0, 1] of a raw answer under the benchmark's own rule."""
        return SCORERS[self.metric](answer, list(example.references))

    def published(
        self, scores: Sequence[float], ids: Sequence[str], groups: Sequence[str]
    ) -> dict[str, float]:
        """Return the scores that its authors publish beside the mean of all rows, by their names.

        Args:
            scores: of answers, one per example.
            ids: of the examples.
            groups: parts of the benchmark that the examples belong to.
        """
        return {}


class LoadedBenchmark:
    """Examples of a benchmark, in the order of its rows. A row without example is an `Unusable`."""

    def __init__(
        self,
        benchmark: Benchmark,
        rows: Iterable[Mapping[str, Any]],
        config: BenchmarkConfig,
        evidence: Callable[[Mapping[str, Any], str], tuple[Box, ...]] | None = None,
        folder: Path | None = None,
    ) -> None:
        # Folder of local data. Pictures that rows name by a path are read only inside it.
        self.folder = folder
        self.benchmark, self.rows, self.config, self.evidence = benchmark, rows, config, evidence

        # Number of rows that were read so far. Rows that were not wanted count too.
        self.seen = 0

    @property
    def has_boxes(self) -> bool:
        """Whether rows can have evidence boxes, from a separate file or from a column."""
        return self.evidence is not None or "evidence" in (
            getattr(self.rows, "features", None) or {}
        )

    def __iter__(self) -> Iterator[Example | Unusable]:
        """Yield the examples."""
        for _, example in self.numbered():
            yield example

    def numbered(
        self, wanted: Callable[[int, str], bool] = lambda number, identity: True
    ) -> Iterator[tuple[int, Example | Unusable]]:
        """Yield (number of the row, example). The image of an unwanted row is not decoded.

        A number is a place in the selection of rows, so N examples have the numbers 0 to N - 1. Any
        exception that a row raises makes only this row unusable.

        Args:
            wanted: tells from the number and the id of a row whether its examples are needed.

        Raises:
            InputError: when the data cannot be read any further. The message names the data, and
                the examples before that place were yielded.
        """
        seen: set[str] = set()

        for number, row in numbered_rows(self.rows, self.config.path):
            self.seen += 1
            identity, why = self._identity(row, number)
            twice = identity in seen
            seen.add(identity)

            # A repeated id gets its number too, so that two rows of results never share an id.
            if not wanted(number, f"{identity}#{number}" if twice else identity):
                continue

            if why:
                yield number, Unusable(identity, why)
            elif twice:
                why = (
                    f"The id '{identity}' occurs twice in '{self.config.path}': "
                    "only the first is used."
                )
                yield number, Unusable(f"{identity}#{number}", why)
            else:
                for example in self._examples(row, identity):
                    yield number, example

    def _identity(self, row: Mapping[str, Any], number: int) -> tuple[str, str]:
        """Return (id of a row, reason why it is unusable). The reason is empty for a good id."""
        try:
            return self.benchmark.identify(row, number), ""
        except Exception as error:
            return f"row {number}", _reason(error)

    def _examples(self, row: Mapping[str, Any], identity: str) -> Iterator[Example | Unusable]:
        """Yield the examples of a row, or one `Unusable` if the row raises any exception."""
        try:
            boxes = self.evidence(row, identity) if self.evidence else boxes_of(row.get("evidence"))
            picture = self.benchmark.picture(row, identity, self.folder, self.config.allow_urls)
            decoded = {**row, "image": picture}

            # All examples are made before the first is yielded, so a row fails as a whole.
            examples = [
                replace(example, boxes=_on_image(boxes, example.image.size))
                for example in self.benchmark.examples(decoded, identity, self.config.protocol)
            ]
        except Exception as error:  # readers, decoders and parsers raise too many kinds to list
            yield Unusable(identity, _reason(error))
            return

        yield from examples

    @property
    def max_new_tokens(self) -> int:
        """Length limit of an answer under this protocol, in tokens."""
        return self.config.protocol.max_new_tokens or self.benchmark.max_new_tokens


def numbered_rows(rows: Any, path: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield (number, row). A selection has its own numbers; other rows are counted from 0.

    Raises:
        InputError: when a row cannot be read; the message names the data.
    """
    pairs = rows.numbered() if hasattr(rows, "numbered") else enumerate(rows)
    count = 0

    while True:
        try:
            pair = next(pairs, None)
        except InputError:
            raise
        except Exception as error:  # from the reader, which cannot go on behind this row
            raise InputError(
                f"The data set '{path}' cannot be read behind its row {count} ({_reason(error)}): "
                "fetch it again, or ask for fewer examples. The rows before it are stored."
            ) from error

        if pair is None:
            return
        count += 1
        yield pair


def _reason(error: Exception) -> str:
    """Return one sentence for any exception that a row raised."""
    if isinstance(error, InputError):
        return " ".join(str(error).split())  # it may quote a value with line breaks
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".rstrip(": ")


def _on_image(boxes: Iterable[Box], size: tuple[int, int]) -> tuple[Box, ...]:
    """Return the parts of the boxes that lie on an image of ``size`` (width, height) pixels."""
    whole = Box(0.0, 0.0, float(size[0]), float(size[1]))
    return tuple(common for box in boxes if (common := box.intersection(whole)) is not None)


def check_evidence(loaded: LoadedBenchmark, method: Any) -> None:
    """Refuse an oracle method if no row can have an evidence box.

    Args:
        loaded: the data.
        method: the options of the method.

    Raises:
        InputError: with the option that names a file of boxes.
    """
    if method.crops.startswith("oracle") and not loaded.has_boxes:
        raise InputError(
            f"method.crops is '{method.crops}' and '{loaded.config.path}' has no evidence boxes: "
            "name a file with them (benchmark.boxes=...), or use another method."
        )


def check_protocol(benchmark: Benchmark, config: BenchmarkConfig) -> None:
    """Refuse a switch that this benchmark does not use, and values that do not exist."""
    protocol = config.protocol
    if config.rows_in is not None and "rows_in" not in benchmark.switches:
        raise InputError(
            f"benchmark.rows_in has no meaning for {type(benchmark).__name__}: leave it as it is."
        )

    check_choice("option_order", protocol.option_order, OPTION_ORDERS)
    if protocol.max_new_tokens is not None and protocol.max_new_tokens < 1:
        raise InputError(f"max_new_tokens is {protocol.max_new_tokens}: use at least 1.")
    check_choice("answer_mode", protocol.answer_mode, ANSWER_MODES)

    # A switch at its default changes nothing, so it is fine for every benchmark.
    for switch, default in (
        ("ocr_tokens", False),
        ("option_order", "as_released"),
        ("answer_mode", "generate"),
    ):
        if getattr(protocol, switch) != default and switch not in benchmark.switches:
            raise InputError(
                f"protocol.{switch} has no meaning for {type(benchmark).__name__}: "
                "leave it as it is."
            )
