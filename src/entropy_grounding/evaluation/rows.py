"""The row of one example, and the schema of stored rows."""

import typing
from dataclasses import dataclass
from typing import Any

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Row:
    """The result of one example under one VLM and method; every run stores these.

    Boxes are ``[x0, y0, x1, y1]`` in pixels of the original image. Columns about places are None
    without evidence; those about the first map are None without a map, too.

    Attributes:
        number: of the row of the data set that the example comes from; with ``example_id`` it gives
            the order.
        example_id: unique within the benchmark.
        config_hash: of everything that may change a result, see `fingerprint`.
        vlm: name of the VLM.
        benchmark: name of the benchmark.
        method: name of the method.
        protocol: the switches, as JSON.
        group: part of the benchmark.
        question: as asked.
        prompt: as the model got it, without chat template.
        references: the accepted answers.
        plain_answer: raw answer from the full image alone.
        answer: raw answer from the full image and the crops.
        plain_score: of ``plain_answer`` under the benchmark's metric, in [0, 1].
        score: of ``answer`` under the benchmark's metric, in [0, 1].
        evidence: boxes of the evidence.
        crops: boxes that the answer was given from.
        round_crops: boxes that each round proposed, as JSON.
        rounds: number of grounding rounds.
        entropies: next-token entropy of each round, in nats.
        spatial_entropies: of the best map of each round, in nats; inf if no mass stands out.
        stop_reason: a key of `STOP_REASONS`.
        iou: of the union of the crops with the union of the evidence.
        pointing: 1 if the peak of the first map lies in the evidence or within half a cell of it,
            else 0.
        energy: share of the first map's relevance on the evidence.
        chance: share that a constant map would have there.
        forwards: number of forward passes, see `Cost`.
        backwards: number of backward passes, see `Cost`.
        visual_tokens: through all forward passes, see `Cost`.
        seconds: wall time.
        peak_memory: in MiB; of the GPU for this example, or of the whole process so far on a CPU.
        retried: what was given up after memory ran out: "", "fewer crops", or "fewer crops, fewer
            pixels".
        status: "ok", "failed" (an error on this example) or "unusable" (the data has no image,
            question or answer).
        reason: why the status is not "ok".
        plain_entropy: of the first token of the plain answer, in nats; None if it would take a
            forward pass of its own, as for the next three columns.
        plain_margin: 1 minus the difference of its two largest probabilities.
        answer_entropy: of the first token of the answer from the crops, also if they were declined.
        answer_margin: 1 minus the difference of its two largest probabilities.
        lm_tokens: positions through all forward passes, see `Cost`.
        vision_seconds: see `Cost`.
        map_seconds: see `Cost`.
        answer_seconds: see `Cost`.
        checkpointed: see `Cost`; None in rows from before there was this column.
        best_iou: of the best crop alone with the union of the evidence, as in the paper's table 2;
            None in rows from before there was this column (see `with_best_iou`).
        attempts: of a cascade with ``budget.trace``: stage, entropy, passes and score of every
            answer that it came to, as JSON (`evaluation.budgets`); else None.
    """

    number: int
    example_id: str
    config_hash: str
    vlm: str
    benchmark: str
    method: str
    protocol: str
    group: str = ""
    question: str = ""
    prompt: str = ""
    references: tuple[str, ...] = ()
    plain_answer: str | None = None
    answer: str | None = None
    plain_score: float | None = None
    score: float | None = None
    evidence: tuple[tuple[float, ...], ...] = ()
    crops: tuple[tuple[float, ...], ...] = ()
    round_crops: str = "[]"
    rounds: int | None = None
    entropies: tuple[float, ...] = ()
    spatial_entropies: tuple[float, ...] = ()
    stop_reason: str = ""
    iou: float | None = None
    pointing: float | None = None
    energy: float | None = None
    chance: float | None = None
    forwards: int | None = None
    backwards: int | None = None
    visual_tokens: int | None = None
    seconds: float | None = None
    peak_memory: float | None = None
    retried: str = ""
    status: str = "ok"
    reason: str = ""
    plain_entropy: float | None = None
    plain_margin: float | None = None
    answer_entropy: float | None = None
    answer_margin: float | None = None
    lm_tokens: int | None = None
    vision_seconds: float | None = None
    map_seconds: float | None = None
    answer_seconds: float | None = None
    checkpointed: int | None = None
    best_iou: float | None = None
    attempts: str | None = None


# The columns of stored rows, from the fields of `Row`.
_TYPES: dict[Any, pa.DataType] = {
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    tuple[str, ...]: pa.list_(pa.string()),
    tuple[float, ...]: pa.list_(pa.float64()),
    tuple[tuple[float, ...], ...]: pa.list_(pa.list_(pa.float64())),
}
_TYPES |= {int | None: pa.int64(), float | None: pa.float64(), str | None: pa.string()}
SCHEMA = pa.schema([(name, _TYPES[hint]) for name, hint in typing.get_type_hints(Row).items()])
WALL_TIMES = ("seconds", "vision_seconds", "map_seconds", "answer_seconds")
# Two runs of one configuration may differ in these, with the machine and what else it does.
TIMES = (*WALL_TIMES, "peak_memory", "checkpointed")
