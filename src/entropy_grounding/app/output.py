"""Write the files of one grounding: JSON, crops and figure."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from entropy_grounding.app.question import GroundConfig, Task
from entropy_grounding.core.environment import environment_of
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.images import cut
from entropy_grounding.core.records import Grounding, ZoomStep
from entropy_grounding.evaluation.provenance import commit
from entropy_grounding.plots import plot_grounding, save_figure
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.weights import weights_identities


def to_record(grounding: Grounding, config: GroundConfig, task: Task, vlm: VLM) -> dict[str, Any]:
    """Return the whole grounding as values that JSON can hold.

    The record also says where the grounding came from: the picture (its path as given and the
    SHA-256 of the file, or the number of the scene), weights, options, commit and versions.

    Args:
        grounding: the result.
        config: the options of the command.
        task: the picture and the question.
        vlm: the model that answered.

    Returns:
        The record; boxes are in pixels of the original image, and entropies in nats.
    """
    return {
        "question": grounding.question,
        "plain_answer": grounding.plain_answer,
        "answer": grounding.answer,
        "truncated": grounding.truncated,
        "max_new_tokens": config.max_new_tokens,
        "stop_reason": grounding.stop_reason,
        "size": grounding.size,
        "crops": [box.xyxy() for box in grounding.crops],
        "cost": asdict(grounding.cost),
        "steps": [_step_record(step) for step in grounding.steps],
        "image": config.image,
        "image_sha256": task.sha256,
        # The seed chose the picture only where no file was given.
        "seed": config.seed if config.image is None else None,
        "vlm": asdict(config.vlm),
        "method": asdict(config.method),
        "weights": weights_identities(config.vlm.weights, config.vlm.revision),
        "commit": commit(),
        "environment": environment_of(vlm),
    }


def _step_record(step: ZoomStep) -> dict[str, Any]:
    """Return one zoom step as values that JSON can hold."""
    regions = []
    for region in step.regions:
        regions.append(
            {
                "box": region.box.xyxy(),
                "score": region.score,
                "map": region.map_index,
                "cells": region.cells,
            }
        )

    maps = []
    for relevance_map in step.maps:
        view = relevance_map.view
        maps.append(
            {
                "picture": view.image_index,
                "box": view.box.xyxy(),
                # One row of the list per row of the token grid.
                "relevance": relevance_map.values.tolist(),
            }
        )

    return {
        "crops": [box.xyxy() for box in step.crops],
        "regions": regions,
        "maps": maps,
        "target": _finite(step.target),
        "entropy": _finite(step.entropy),
        "top_probability": _finite(step.top_probability),
        "spatial_entropy": _finite(step.spatial_entropy),
        "visual_tokens": step.visual_tokens,
    }


def _finite(value: float) -> float | None:
    """Return a number, or None where it is infinite, because JSON has no infinity."""
    return value if abs(value) != float("inf") else None


def write_outputs(
    folder: Path, grounding: Grounding, image: Image.Image, record: dict[str, Any]
) -> list[Path]:
    """Write ``grounding.json`` and one ``crop_N.png`` per crop, and return their paths.

    The files appear in ``folder`` only when all are complete.

    Args:
        folder: the folder of the files; it is made where it does not exist.
        grounding: the result.
        image: the original image.
        record: the content of the JSON file, from `to_record`.

    Raises:
        InputError: where they cannot be written.
    """
    with writing_outputs(folder):
        folder.mkdir(parents=True, exist_ok=True)

        with tempfile.TemporaryDirectory(dir=folder, prefix=".partial") as name:
            partial = Path(name)
            text = json.dumps(record, indent=1, allow_nan=False)
            (partial / "grounding.json").write_text(text, encoding="utf-8")
            for number, box in enumerate(grounding.crops, start=1):
                cut(image, box)[0].save(partial / f"crop_{number}.png")

            # An earlier run may have left more crops, and its figure shows another result.
            for stale in [*folder.glob("crop_*.png"), folder / "grounding.png"]:
                stale.unlink(missing_ok=True)

            return [
                Path(shutil.move(path, folder / path.name)) for path in sorted(partial.iterdir())
            ]


@contextmanager
def writing_outputs(folder: Path) -> Iterator[None]:
    """Turn an error of the file system into an `InputError` of one sentence."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"Could not write to '{folder}' ({error.strerror or error}): choose another run_dir=..."
        ) from error


def write_figure(folder: Path, grounding: Grounding, image: Image.Image) -> Figure:
    """Draw a grounding, write it as ``grounding.png``, and return the figure.

    Args:
        folder: the folder of the file.
        grounding: the result.
        image: the original image.

    Raises:
        InputError: where it cannot be drawn or written; the other files are there already.
    """
    # The extension is missing on purpose: an unfinished file must not look like a figure.
    partial = folder / ".grounding.partial"
    try:
        figure = plot_grounding(grounding, image)
        save_figure(figure, partial)
        partial.replace(folder / "grounding.png")
    except Exception as error:
        # Fonts, memory, a full disk: whatever it is, the answer does not need the figure.
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"The figure could not be drawn ({why}): "
            f"the answers and all other files are in '{folder}'."
        ) from error
    finally:
        partial.unlink(missing_ok=True)

    return figure
