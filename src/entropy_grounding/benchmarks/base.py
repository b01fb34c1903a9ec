"""A benchmark: where its rows come from (through `datasets`), and how a row becomes an example.

What is particular to a benchmark (columns, prompt, references, evidence) is in its `Benchmark`; sources (`sources`) and checks are shared.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
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
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box
from entropy_grounding.metrics.answers import SCORERS


@dataclass(frozen=True, slots=True)
class Example:
    """One question of a benchmark.

    Attributes:
        id: unique within the benchmark.
        image: the original image, RGB.
        question: as asked, for people.
        prompt: the question with options and instruction, as the model gets it (without chat template).
        references: the accepted answers; the letter for lettered options.
        boxes: the evidence, in pixels of the image; empty where the data has none.
        group: the part of the benchmark that it belongs to, empty for none.
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
    """A row that is no example: its id and the reason, for the row of results that stands for it."""

    id: str
    reason: str


class Benchmark:
    """What differs between benchmarks.

    Attributes:
        columns: the columns that a row must have.
        metric: name of the score of an answer.
        max_new_tokens: length limit of an answer.
        switches: the fields of `Protocol` that it knows, besides ``max_new_tokens``, and "rows_in".
    """

    columns: tuple[str, ...]
    metric: str
    max_new_tokens: int = 16
    switches: tuple[str, ...] = ()

    def identify(self, row: Mapping[str, Any], number: int) -> str:
        """Return the id of a row; its number where the data set has none."""
        return str(number)

    def listed(self, row: Mapping[str, Any], pairs: Collection[tuple[str, str]]) -> bool:
        """Tell whether a row is among the (image name without suffix, question) pairs of ``rows_in``."""
        raise NotImplementedError

    def examples(
        self, row: Mapping[str, Any], identity: str, protocol: Protocol
    ) -> Iterator[Example]:
        """Yield the examples of a row, one unless the protocol asks for several option orders.

        Raises:
            InputError: when the row has no image, question or answer.
        """
        raise NotImplementedError

    def score(self, answer: str, example: Example) -> float:
        """Return the score in [0, 1] of a raw answer under the benchmark's own rule."""
        return SCORERS[self.metric](answer, list(example.references))


class LoadedBenchmark:
    """Examples of a benchmark in the order of its rows; a row that cannot be used comes as `Unusable`."""

    def __init__(
        self,
        benchmark: Benchmark,
        rows: Iterable[Mapping[str, Any]],
        config: BenchmarkConfig,
        evidence: Callable[[Mapping[str, Any], str], tuple[Box, ...]] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.folder = (
            folder  # of local data: pictures that rows name by a path are read inside it only
        )
        self.benchmark, self.rows, self.config, self.evidence = benchmark, rows, config, evidence
        self.seen = (
            0  # rows of the data set that were passed so far, those that were not wanted among them
        )

    @property
    def has_boxes(self) -> bool:
        """Whether rows can have evidence boxes: of a file of their own, or in a column of the data."""
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
        """Yield (number of the row, example); the image of a row that is not ``wanted`` (by number and id) is not decoded.

        Numbers are places in the selection of rows, so those of N examples are 0 to N - 1. Whatever one row raises makes it unusable.

        Raises:
            InputError: when the data cannot be read any further, naming it; the examples before that were yielded.
        """
        seen: set[str] = set()
        for number, row in _numbered(self.rows, self.config.path):
            self.seen += 1
            identity, why = self._identity(row, number)
            twice = identity in seen
            seen.add(identity)
            if not wanted(number, f"{identity}#{number}" if twice else identity):
                continue
            if why:
                yield number, Unusable(identity, why)
            elif twice:
                why = f"The id '{identity}' occurs twice in '{self.config.path}': only the first is used."
                yield number, Unusable(f"{identity}#{number}", why)
            else:
                for example in self._examples(row, identity):
                    yield number, example

    def _identity(self, row: Mapping[str, Any], number: int) -> tuple[str, str]:
        """Return the id of a row, and why it is unusable where it has none."""
        try:
            return self.benchmark.identify(row, number), ""
        except Exception as error:
            return f"row {number}", _reason(error)

    def _examples(self, row: Mapping[str, Any], identity: str) -> Iterator[Example | Unusable]:
        """Yield the examples of a row; the one place where an exception becomes the row of its example."""
        try:
            boxes = self.evidence(row, identity) if self.evidence else boxes_of(row.get("evidence"))
            picture = picture_of(row, identity, folder=self.folder, urls=self.config.allow_urls)
            examples = self.benchmark.examples(
                {**row, "image": picture}, identity, self.config.protocol
            )
            found = [
                replace(example, boxes=_on_image(boxes, example.image.size)) for example in examples
            ]
        except (
            Exception
        ) as error:  # of readers, decoders and parsers: no list of theirs is complete
            yield Unusable(identity, _reason(error))
            return
        yield from found

    @property
    def max_new_tokens(self) -> int:
        """Length limit of an answer under this protocol."""
        return self.config.protocol.max_new_tokens or self.benchmark.max_new_tokens


def _numbered(rows: Any, path: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield rows with their numbers: those of a selection, else their places.

    Raises:
        InputError: naming the data, when a row cannot be read.
    """
    pairs = rows.numbered() if hasattr(rows, "numbered") else enumerate(rows)
    count = 0
    while True:
        try:
            found = next(pairs, None)
        except InputError:
            raise
        except Exception as error:  # of the reader; behind it nothing more can be read
            raise InputError(
                f"The data set '{path}' cannot be read behind its row {count} ({_reason(error)}): fetch it again, or ask for fewer "
                "examples. The rows before it are stored."
            ) from error
        if found is None:
            return
        count += 1
        yield found


def _reason(error: Exception) -> str:
    """Return one sentence for whatever a row raised."""
    if isinstance(error, InputError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".rstrip(": ")


def _on_image(boxes: Iterable[Box], size: tuple[int, int]) -> tuple[Box, ...]:
    whole = Box(0.0, 0.0, float(size[0]), float(size[1]))
    return tuple(common for box in boxes if (common := box.intersection(whole)) is not None)


def check_evidence(loaded: LoadedBenchmark, method: Any) -> None:
    """Refuse an oracle where no row can have an evidence box.

    Args:
        loaded: the data.
        method: the options of the method.

    Raises:
        InputError: with the option that names a file of boxes.
    """
    if method.crops.startswith("oracle") and not loaded.has_boxes:
        raise InputError(
            f"method.crops is '{method.crops}' and '{loaded.config.path}' has no evidence boxes: name a file with them "
            "(benchmark.boxes=...), or use another method."
        )


def check_protocol(benchmark: Benchmark, config: BenchmarkConfig) -> None:
    """Refuse a switch that this benchmark does not know, and values that are none."""
    protocol = config.protocol
    if config.rows_in is not None and "rows_in" not in benchmark.switches:
        raise InputError(
            f"benchmark.rows_in has no meaning for {type(benchmark).__name__}: leave it as it is."
        )
    if protocol.option_order not in OPTION_ORDERS:
        raise InputError(
            f"Unknown option_order '{protocol.option_order}': use one of {', '.join(OPTION_ORDERS)}."
        )
    if protocol.max_new_tokens is not None and protocol.max_new_tokens < 1:
        raise InputError(f"max_new_tokens is {protocol.max_new_tokens}: use at least 1.")
    if protocol.answer_mode not in ANSWER_MODES:
        raise InputError(
            f"Unknown answer_mode '{protocol.answer_mode}': use one of {', '.join(ANSWER_MODES)}."
        )
    for switch, default in (
        ("ocr_tokens", False),
        ("option_order", "as_released"),
        ("answer_mode", "generate"),
    ):
        if getattr(protocol, switch) != default and switch not in benchmark.switches:
            raise InputError(
                f"protocol.{switch} has no meaning for {type(benchmark).__name__}: leave it as it is."
            )
