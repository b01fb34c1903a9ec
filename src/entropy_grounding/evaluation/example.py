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

from entropy_grounding.baselines.privileged import Privileged
from entropy_grounding.benchmarks.base import Benchmark, Example, Unusable
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box
from entropy_grounding.core.records import Grounding
from entropy_grounding.evaluation.budgets import traced
from entropy_grounding.evaluation.config import EvaluateConfig
from entropy_grounding.evaluation.rows import Row
from entropy_grounding.grounding import ground
from entropy_grounding.metrics.localization import (
    best_iou,
    chance,
    energy_in_box,
    overlap,
    pointing_game,
)
from entropy_grounding.vlm.config import VLMConfig
from entropy_grounding.vlm.contexts import pixels_scaled
from entropy_grounding.vlm.ledger import peak_memory
from entropy_grounding.vlm.model import VLM

FEWER_CROPS = "fewer crops"
FEWER_PIXELS = "fewer crops, fewer pixels"


def evaluate_example(
    vlm: VLM,
    number: int,
    example: Example | Unusable,
    benchmark: Benchmark,
    config: EvaluateConfig,
    fingerprint: str,
    like: Sequence[Box] | None = None,
) -> Row:
    """Return the row of one example.

    An error on it, or too little memory, becomes a row with status and reason.

    Args:
        vlm: the model.
        number: of the row of the data set.
        example: the example, or why it cannot be used.
        benchmark: scores the answer.
        config: protocol and method.
        fingerprint: the config hash.
        like: crops whose number and sizes a control copies; None lets it find them.
    """
    row = _empty_row(number, example.id, config, fingerprint)
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
        reason = "no evidence box: an oracle has nothing to show"
        return replace(row, status="unusable", reason=reason)

    start = time.perf_counter()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        columns = _answered(vlm, example, benchmark, config, like)
    except Exception as error:  # the one place where a broken example lets the others go on
        reason = " ".join(_reason(error).split())[:500]
        seconds = time.perf_counter() - start
        return replace(row, status="failed", reason=reason, seconds=seconds)

    seconds = time.perf_counter() - start
    return replace(row, **columns, seconds=seconds, peak_memory=peak_memory())


def _empty_row(number: int, identity: str, config: EvaluateConfig, fingerprint: str) -> Row:
    """Return a row with what is known before the example is answered."""
    protocol = {
        **asdict(config.benchmark.protocol),
        "max_pixels": config.vlm.max_pixels,
        "max_tiles": config.vlm.max_tiles,
    }
    # Later switches stand in a row only where they are used, so older rows stay alike.
    usual = VLMConfig()
    for name in ("min_pixels", "system_prompt", "image_labels"):
        value = getattr(config.vlm, name)
        if value != getattr(usual, name):
            protocol[name] = value
    return Row(
        number=number,
        example_id=identity,
        config_hash=fingerprint,
        vlm=config.vlm.name,
        benchmark=config.benchmark.name,
        method=config.method_name,
        protocol=json.dumps(protocol),
    )


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


def _answered(
    vlm: VLM,
    example: Example,
    benchmark: Benchmark,
    config: EvaluateConfig,
    like: Sequence[Box] | None,
) -> dict[str, Any]:
    """Return the columns of an answered example: its grounding, places and scores."""
    grounding, retried = _answer_within_memory(vlm, example, benchmark, config, like)

    return {
        **_grounding_columns(grounding),
        **_place_columns(grounding, example.boxes),
        "plain_score": benchmark.score(grounding.plain_answer, example),
        "score": benchmark.score(grounding.answer, example),
        "attempts": _trace(grounding, benchmark, example),
        "retried": retried,
    }


def _trace(grounding: Grounding, benchmark: Benchmark, example: Example) -> str | None:
    """Return the scored attempts of a cascade; None if their answers were not asked for."""
    answers = [attempt.answer for attempt in grounding.attempts]
    if not answers or None in answers:
        return None

    scores = [benchmark.score(answer, example) for answer in answers if answer is not None]
    covered = [_covered(attempt.crops, example.boxes) for attempt in grounding.attempts]
    return traced(grounding.attempts, scores, covered)


def _covered(crops: Sequence[Box], evidence: Sequence[Box]) -> float | None:
    """Return the share of the least covered piece of evidence in crops; None without evidence."""
    return round(overlap(crops, evidence).covered, 2) if evidence else None


def _grounding_columns(grounding: Grounding) -> dict[str, Any]:
    """Return the columns that a grounding fills."""
    rounds = [[region.box.xyxy() for region in step.regions] for step in grounding.steps]
    columns: dict[str, Any] = {
        "plain_answer": grounding.plain_answer,
        "answer": grounding.answer,
        "crops": tuple(box.xyxy() for box in grounding.crops),
        "round_crops": json.dumps(rounds),
        "rounds": len(grounding.steps),
        "entropies": tuple(step.entropy for step in grounding.steps),
        "spatial_entropies": tuple(step.spatial_entropy for step in grounding.steps),
        "stop_reason": grounding.stop_reason,
        **asdict(grounding.cost),
    }
    for name, uncertainty in (("plain", grounding.before), ("answer", grounding.after)):
        if uncertainty is not None:
            columns[f"{name}_entropy"] = uncertainty.entropy
            columns[f"{name}_margin"] = uncertainty.margin

    return columns


def _place_columns(grounding: Grounding, evidence: Sequence[Box]) -> dict[str, Any]:
    """Return the columns that say where the method looked; None if that is undefined."""
    if not evidence:
        return {}

    columns = {
        "iou": overlap(grounding.crops, evidence).iou,
        "best_iou": best_iou(grounding.crops, evidence),
    }
    if grounding.steps:
        first = grounding.steps[0].maps[0]
        rows, cols = first.view.shape
        half_cell = max(first.view.box.width / cols, first.view.box.height / rows) / 2
        columns["pointing"] = pointing_game(first, evidence, tolerance=half_cell)
        columns["energy"] = energy_in_box(first, evidence)
        columns["chance"] = chance(first, evidence)

    return {name: None if np.isnan(value) else value for name, value in columns.items()}


def _answer_within_memory(
    vlm: VLM,
    example: Example,
    benchmark: Benchmark,
    config: EvaluateConfig,
    like: Sequence[Box] | None,
) -> tuple[Grounding, str]:
    """Answer; if memory runs out, try once more with one crop, then also with half the pixels.

    Returns:
        The grounding, and what was given up.

    Raises:
        InputError: when memory runs out in the end.
    """
    one_crop = replace(config.method, regions=replace(config.method.regions, max_regions=1))
    tries = (("", config.method), (FEWER_CROPS, one_crop), (FEWER_PIXELS, one_crop))

    for retried, method in tries:
        with ExitStack() as stack:
            if retried == FEWER_PIXELS:
                possible = stack.enter_context(pixels_scaled(vlm.processor, 0.5))
                if not possible:
                    break
            try:
                grounding = _answer(vlm, example, benchmark, replace(config, method=method), like)
                return grounding, retried
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
    """Tell whether an error says that memory ran out; on a CPU it is a plain RuntimeError."""
    known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return known or "not enough memory" in str(error)


def _answer(
    vlm: VLM,
    example: Example,
    benchmark: Benchmark,
    config: EvaluateConfig,
    like: Sequence[Box] | None,
) -> Grounding:
    """Answer one example by the method; controls may know its evidence and the crops to copy."""
    protocol = config.benchmark.protocol
    given = Privileged(
        evidence=example.boxes,
        like=None if like is None else tuple(like),
        seed=tuple(ord(letter) for letter in example.id),
    )
    return ground(
        vlm,
        example.image,
        example.prompt,
        config.method,
        max_new_tokens=protocol.max_new_tokens or benchmark.max_new_tokens,
        choices=example.options if protocol.answer_mode == "likelihood" else (),
        given=given,
    )
