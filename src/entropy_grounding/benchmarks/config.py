"""The options of a benchmark: which rows, under which protocol."""

from dataclasses import dataclass, field

from entropy_grounding.core.verbatim import Place

ANSWER_MODES = ("generate", "likelihood")
OPTION_ORDERS = ("as_released", "shuffled", "rotations")


@dataclass(frozen=True)
class Protocol:
    """The switches that move published scores; a benchmark refuses one that it does not know.

    Attributes:
        ocr_tokens: put the OCR tokens of the data set into the prompt (TextVQA as LLaVA reports it).
        option_order: of lettered options: "as_released", "shuffled" by ``option_seed``, or "rotations", each an example of its own.
        option_seed: seed of the shuffle.
        answer_mode: "generate" (a letter where there are options) or "likelihood": the question without options, and the option text with
            the smallest mean token cross-entropy as the answer (V* as first published).
        max_new_tokens: length limit of an answer; None takes the benchmark's own.
    """

    ocr_tokens: bool = False
    option_order: str = "as_released"
    option_seed: int = 0
    answer_mode: str = "generate"
    max_new_tokens: int | None = None


@dataclass(frozen=True)
class BenchmarkConfig:
    """Which rows of which data set, and under which protocol.

    Attributes:
        name: for labels and results.
        kind: which benchmark, a key of `BENCHMARKS`.
        path: hub id, a parquet file, a folder of parquet files, or ``miniature:KIND``.
        config: configuration on the hub; of a folder, the one that its README.md names, or the subfolder of that name.
        split: split on the hub; in a folder the files that are named after it, or all where no name says a split.
        revision: commit, tag or branch on the hub.
        images: configuration (or parquet file, folder) with the images, where they are kept apart (GQA).
        boxes: file or folder with evidence boxes, where they are kept apart (see `evidence.read_evidence`).
        rows_in: JSON-lines file with "image" and "text" of the rows to use, for POPE's category "random": its older
            ``coco_pope_random.json`` with 2,910 questions makes the 8,910 of earlier papers.
        streaming: read rows from the hub as they are needed instead of downloading first.
        allow_urls: fetch pictures that rows name by an http or https address; other places outside the data set are never read.
        examples: number of examples; None for all.
        sample_seed: draw them at random from all rows of the split with this seed; None takes the first ones.
        canvas: pixels, side of a miniature's pictures; None takes what the VLM under test needs (`tiny.build.canvas_of`).
        protocol: the switches.
    """

    name: str = "textvqa"
    kind: str = "textvqa"
    path: Place = "lmms-lab-encoder/textvqa"
    config: str | None = None
    split: str = "validation"
    revision: str | None = None
    images: Place | None = None
    boxes: Place | None = None
    rows_in: Place | None = None
    streaming: bool = False
    allow_urls: bool = False
    examples: int | None = None
    sample_seed: int | None = None
    canvas: int | None = None
    protocol: Protocol = field(default_factory=Protocol)
