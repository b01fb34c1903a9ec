"""The options of a benchmark: which rows are used, and under which protocol."""

from dataclasses import dataclass, field

from entropy_grounding.core.verbatim import Place

ANSWER_MODES = ("generate", "likelihood")
OPTION_ORDERS = ("as_released", "shuffled", "rotations")


@dataclass(frozen=True)
class Protocol:
    """The switches that change published scores. A benchmark refuses a switch that it does not use.

    Attributes:
        ocr_tokens: put the OCR tokens of the data set into the prompt. LLaVA reports TextVQA so.
        option_order: order of lettered options: "as_released"; "shuffled", with ``option_seed``; or
            "rotations", where each rotation is an example of its own.
        option_seed: seed of the shuffle.
        answer_mode: "generate": the model writes its answer, a letter where there are options.
            "likelihood": the prompt is the question without options, and the answer is the option
            text with the smallest mean token cross-entropy (V* as first published).
        max_new_tokens: length limit of an answer, in tokens. None takes the benchmark's own limit.
    """

    ocr_tokens: bool = False
    option_order: str = "as_released"
    option_seed: int = 0
    answer_mode: str = "generate"
    max_new_tokens: int | None = None


@dataclass(frozen=True)
class BenchmarkConfig:
    """Which rows of which data set are used, and under which protocol.

    Attributes:
        name: name for labels and results.
        kind: the benchmark, a key of `BENCHMARKS`.
        path: hub id, a parquet file, a folder of parquet files, or ``miniature:KIND``.
        config: configuration on the hub. In a folder: the configuration that its README.md names,
            or the subfolder of that name.
        split: split on the hub. In a folder: the files whose names begin with the split, or all
            files where no name says a split.
        revision: commit, tag or branch on the hub.
        images: configuration, parquet file or folder with the images, for data that keep them apart
            from the questions (GQA).
        boxes: file or folder with evidence boxes, for data that keep them apart from the questions
            (see `read_evidence`).
        rows_in: JSON-lines file with "image" and "text" of the rows to use in POPE's category
            "random". Its older ``coco_pope_random.json`` has 2,910 questions; with it POPE has the
            8,910 questions of earlier papers.
        streaming: read rows from the hub when they are needed, without a download before.
        allow_urls: fetch pictures that rows name by an http or https address. No other place
            outside the data set is ever read.
        examples: number of examples. None takes all.
        sample_seed: draw the examples at random from all rows of the split with this seed. None
            takes the first rows.
        canvas: side of a miniature's pictures in pixels. None takes the side that the VLM under
            test needs (`canvas_of`).
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
