"""The files of one grounding: JSON, crops, figure."""

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
from entropy_grounding.core.records import Grounding
from entropy_grounding.evaluation.provenance import commit
from entropy_grounding.plots import literal_text, plot_grounding
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.weights import weights_identities


def to_record(grounding: Grounding, config: GroundConfig, task: Task, vlm: VLM) -> dict[str, Any]:
    """Return the whole grounding as JSON-ready values: boxes in pixels of the original image, entropies in nats.

    What it came from is in it: picture (path as given and SHA-256, or the number of the scene), weights, options, commit and versions.
    """
    steps = [
        {
            "crops": [box.xyxy() for box in step.crops],
            "regions": [
                {"box": r.box.xyxy(), "score": r.score, "map": r.map_index, "cells": r.cells}
                for r in step.regions
            ],
            "maps": [
                {
                    "picture": m.view.image_index,
                    "box": m.view.box.xyxy(),
                    "relevance": m.values.tolist(),
                }
                for m in step.maps
            ],
            **{
                k: _finite(getattr(step, k))
                for k in ("target", "entropy", "top_probability", "spatial_entropy")
            },
            "visual_tokens": step.visual_tokens,
        }
        for step in grounding.steps
    ]
    return {
        "question": grounding.question,
        "plain_answer": grounding.plain_answer,
        "answer": grounding.answer,
        "stop_reason": grounding.stop_reason,
        "size": grounding.size,
        "crops": [box.xyxy() for box in grounding.crops],
        "cost": asdict(grounding.cost),
        "steps": steps,
        "image": config.image,
        "image_sha256": task.sha256,
        "seed": config.seed if config.image is None else None,
        "vlm": asdict(config.vlm),
        "method": asdict(config.method),
        "weights": weights_identities(config.vlm.weights, config.vlm.revision),
        "commit": commit(),
        "environment": environment_of(vlm),
    }


def _finite(value: float) -> float | None:
    return value if abs(value) != float("inf") else None


def write_outputs(
    folder: Path, grounding: Grounding, image: Image.Image, record: dict[str, Any]
) -> list[Path]:
    """Write ``grounding.json`` and ``crop_N.png``; they appear in ``folder`` only when all are complete.

    Raises:
        InputError: where they cannot be written.
    """
    with writing_outputs(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".partial") as partial:
            (Path(partial) / "grounding.json").write_text(
                json.dumps(record, indent=1, allow_nan=False), encoding="utf-8"
            )
            for number, box in enumerate(grounding.crops, start=1):
                cut(image, box)[0].save(Path(partial) / f"crop_{number}.png")
            for stale in [*folder.glob("crop_*.png"), folder / "grounding.png"]:
                stale.unlink(missing_ok=True)
            return [
                Path(shutil.move(each, folder / each.name))
                for each in sorted(Path(partial).iterdir())
            ]


@contextmanager
def writing_outputs(folder: Path) -> Iterator[None]:
    """Turn an error of the file system into one sentence."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"Could not write to '{folder}' ({error.strerror or error}): choose another run_dir=..."
        ) from error


def write_figure(folder: Path, grounding: Grounding, image: Image.Image) -> Figure:
    """Draw a grounding, write it as ``grounding.png``, and return the figure.

    Raises:
        InputError: where it cannot be drawn or written; the other files are there already.
    """
    partial = folder / ".grounding.partial"
    try:
        figure = plot_grounding(grounding, image)
        with literal_text():
            figure.savefig(partial, dpi=120, format="png")
        partial.replace(folder / "grounding.png")
    except (
        Exception
    ) as error:  # fonts, memory, a disk that is full: the answer does not need the figure
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"The figure could not be drawn ({why}): the answers and all other files are in '{folder}'."
        ) from error
    finally:
        partial.unlink(missing_ok=True)

    return figure
