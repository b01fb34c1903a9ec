"""Evaluate one example: from its question to its row."""

import gc
import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from entropy_grounding.benchmarks.base import Benchmark, Example, Unusable
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box
from entropy_grounding.core.records import Grounding
from entropy_grounding.evaluation.config import EvaluateConfig
from entropy_grounding.evaluation.rows import Row
from entropy_grounding.grounding import ground
from entropy_grounding.metrics.localization import chance, energy_in_box, overlap, pointing_game
from entropy_grounding.vlm.contexts import pixels_scaled
from entropy_grounding.vlm.ledger import peak_memory
from entropy_grounding.vlm.model import VLM


def evaluate_example(
    vlm: VLM,
    number: int,
    example: Example | Unusable,
    benchmark: Benchmark,
    config: EvaluateConfig,
    fingerprint: str,
    like: Sequence[Box] | None = None,
) -> Row:
    """Return the row of one example; an error on it, or too little memory, becomes a row with status and reason.

    Args:
        vlm: the model.
        number: of the row of the data set.
        example: what to answer.
        benchmark: prompts and scores it.
        config: protocol and method.
        fingerprint: the config hash.
        like: crops whose number and sizes a control copies; None lets it find them.
    """
    protocol = {
        **asdict(config.benchmark.protocol),
        "max_pixels": config.vlm.max_pixels,
        "max_tiles": config.vlm.max_tiles,
    }
    row = Row(
        number,
        example.id,
        fingerprint,
        config.vlm.name,
        config.benchmark.name,
        config.method_name,
        json.dumps(protocol),
    )
    if isinstance(example, Unusable):
        return replace(row, status="unusable", reason=example.reason)
    row = replace(
        row,
        group=example.group,
        question=example.question,
        prompt=example.prompt,
        references=example.references,
        evidence=tuple(box.xyxy() for box in example.boxes),
    )
    if config.method.crops.startswith("oracle") and not example.boxes:
        return replace(
            row, status="unusable", reason="no evidence box: an oracle has nothing to show"
        )

    start = time.perf_counter()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        answered = _answered(vlm, example, benchmark, config, like)
    except Exception as error:  # whatever one example breaks, the others go on; this is the one place where that is decided
        reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        return replace(
            row,
            status="failed",
            reason=" ".join(reason.split())[:500],
            seconds=time.perf_counter() - start,
        )

    return replace(row, **answered, seconds=time.perf_counter() - start, peak_memory=peak_memory())


def _answered(
    vlm: VLM,
    example: Example,
    benchmark: Benchmark,
    config: EvaluateConfig,
    like: Sequence[Box] | None,
) -> dict[str, Any]:
    """Return the columns of an example's answer: what was found, where, and how it scores."""
    grounding, retried = _answer_within_memory(vlm, example, benchmark, config, like)

    return {
        **_found(grounding),
        **_localised(grounding, example.boxes),
        "plain_score": benchmark.score(grounding.plain_answer, example),
        "score": benchmark.score(grounding.answer, example),
        "retried": retried,
    }


def _found(grounding: Grounding) -> dict[str, Any]:
    """Return the columns that a grounding fills."""
    return {
        "plain_answer": grounding.plain_answer,
        "answer": grounding.answer,
        "crops": tuple(box.xyxy() for box in grounding.crops),
        "round_crops": json.dumps(
            [[region.box.xyxy() for region in step.regions] for step in grounding.steps]
        ),
        "rounds": len(grounding.steps),
        "entropies": tuple(step.entropy for step in grounding.steps),
        "spatial_entropies": tuple(step.spatial_entropy for step in grounding.steps),
        "stop_reason": grounding.stop_reason,
        **{
            f"{name}_{measure}": getattr(found, measure)
            for name, found in (("plain", grounding.before), ("answer", grounding.after))
            for measure in ("entropy", "margin")
            if found is not None
        },
        **asdict(grounding.cost),
    }


def _localised(grounding: Grounding, evidence: Sequence[Box]) -> dict[str, Any]:
    """Return the columns that say where the method looked; None where that is undefined."""
    if not evidence:
        return {}
    columns = {"iou": overlap(grounding.crops, evidence).iou}
    if grounding.steps:
        first = grounding.steps[0].maps[0]
        rows, cols = first.view.shape
        half = max(first.view.box.width / cols, first.view.box.height / rows) / 2
        columns |= {"pointing": pointing_game(first, evidence, tolerance=half)}
        columns |= {"energy": energy_in_box(first, evidence), "chance": chance(first, evidence)}
    return {name: None if np.isnan(value) else value for name, value in columns.items()}


def _answer_within_memory(
    vlm: VLM,
    example: Example,
    benchmark: Benchmark,
    config: EvaluateConfig,
    like: Sequence[Box] | None,
) -> tuple[Grounding, str]:
    """Answer; out of memory, once more with one crop, then also with half the pixels. Return what was given up, too."""
    fewer = replace(config.method, regions=replace(config.method.regions, max_regions=1))
    for retried, method in (
        ("", config.method),
        ("fewer crops", fewer),
        ("fewer crops, fewer pixels", fewer),
    ):
        with ExitStack() as stack:
            if "pixels" in retried and not stack.enter_context(pixels_scaled(vlm.processor, 0.5)):
                break
            try:
                return _answer(
                    vlm, example, benchmark, replace(config, method=method), like
                ), retried
            except (RuntimeError, MemoryError) as error:
                if not _out_of_memory(error):
                    raise
        gc.collect()
        torch.cuda.empty_cache()
    raise InputError(
        "Out of memory, with fewer crops and fewer pixels too: use a smaller vlm.max_pixels or "
        "vlm.max_tiles, or more memory."
    )


def _out_of_memory(error: Exception) -> bool:
    """Tell whether an error says that memory ran out; on a CPU torch raises a plain RuntimeError."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "not enough memory" in str(
        error
    )


def _answer(
    vlm: VLM,
    example: Example,
    benchmark: Benchmark,
    config: EvaluateConfig,
    like: Sequence[Box] | None,
) -> Grounding:
    """Answer one example by the method; controls know its evidence, and the crops ``like`` which theirs are."""
    protocol = config.benchmark.protocol
    longest = protocol.max_new_tokens or benchmark.max_new_tokens
    choices = example.options if protocol.answer_mode == "likelihood" else ()
    given = Privileged(
        example.boxes,
        None if like is None else tuple(like),
        tuple(ord(letter) for letter in example.id),
    )
    return ground(
        vlm,
        example.image,
        example.prompt,
        config.method,
        max_new_tokens=longest,
        choices=choices,
        given=given,
    )
