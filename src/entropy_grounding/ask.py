"""One image, one question: what the ground command and the quickstart notebook share."""

import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from PIL import Image
from tqdm.auto import tqdm

from entropy_grounding.calibration import calibrated
from entropy_grounding.commands import hydra_command
from entropy_grounding.configs import GroundConfig
from entropy_grounding.environment import environment_of
from entropy_grounding.errors import InputError
from entropy_grounding.images import cut, load_image
from entropy_grounding.plots import literal_text, plot_grounding
from entropy_grounding.results import commit
from entropy_grounding.stopping import STOP_REASONS, Decision
from entropy_grounding.structures import Grounding
from entropy_grounding.tiny.build import canvas_for
from entropy_grounding.tiny.questions import held_out_example
from entropy_grounding.tiny.scenes import draw_scene
from entropy_grounding.tiny.vocabulary import unknown_words
from entropy_grounding.tracking import log_grounding, tracked_run
from entropy_grounding.vlm import VLM, load_vlm
from entropy_grounding.vlm.identity import weights_identities
from entropy_grounding.zoom import ground


@dataclass(frozen=True)
class Task:
    """An image with a question; ``truth`` is known for drawn scenes only, ``sha256`` of the file's bytes for files only."""

    image: Image.Image
    question: str
    truth: str | None
    sha256: str | None = None


def load_task(config: GroundConfig) -> Task:
    """Return the user's image and question, or scene number ``seed`` with its own."""
    if config.image is None:
        if config.seed < 0:
            raise InputError(f"seed is {config.seed}: scenes are numbered from 0.")
        scene, asked = held_out_example(config.seed, canvas_for(config.vlm.weights))
        return Task(draw_scene(scene), config.question or asked.text, None if config.question else asked.answer)
    if not (config.question or "").strip():
        raise InputError('The question is empty: pass question="What is ...?" with the image.')
    return Task(load_image(config.image), str(config.question), None, _sha256(Path(config.image)))


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def warn_unknown_words(vlm: VLM, question: str) -> str:
    """Return a warning for words outside a word-level vocabulary (the tiny VLMs'), or an empty string."""
    unknown = unknown_words(vlm.processor.tokenizer, question)
    return f"{vlm.name} does not know the words {', '.join(unknown)}: expect no sensible answer." if unknown else ""


def run(vlm: VLM, task: Task, config: GroundConfig) -> Grounding:
    """Ground with a progress bar, one tick a round; a gate takes what was chosen for all benchmarks, for a picture belongs to none."""
    options = replace(config.method, gate=calibrated(config.method.gate, config.vlm.name))
    with tqdm(total=config.method.stopping.max_rounds or 1, desc="rounds (at most)", leave=False) as bar:

        def show(rounds: int, decision: Decision | None) -> None:
            bar.update(1)

        return ground(vlm, task.image, task.question, options, max_new_tokens=config.max_new_tokens, progress=show)


def to_record(grounding: Grounding, config: GroundConfig, task: Task, vlm: VLM) -> dict[str, Any]:
    """Return the whole grounding as JSON-ready values: boxes in pixels of the original image, entropies in nats.

    What it came from is in it: picture (path as given and SHA-256, or the number of the scene), weights, options, commit and versions.
    """
    steps = [
        {
            "crops": [box.xyxy() for box in step.crops],
            "regions": [{"box": r.box.xyxy(), "score": r.score, "map": r.map_index, "cells": r.cells} for r in step.regions],
            "maps": [{"picture": m.view.image_index, "box": m.view.box.xyxy(), "relevance": m.values.tolist()} for m in step.maps],
            **{k: _finite(getattr(step, k)) for k in ("target", "entropy", "top_probability", "spatial_entropy")},
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


def write_outputs(folder: Path, grounding: Grounding, image: Image.Image, record: dict[str, Any]) -> list[Path]:
    """Write ``grounding.json`` and ``crop_N.png``; they appear in ``folder`` only when all are complete.

    Raises:
        InputError: where they cannot be written.
    """
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".partial") as partial:
            (Path(partial) / "grounding.json").write_text(json.dumps(record, indent=1, allow_nan=False), encoding="utf-8")
            for number, box in enumerate(grounding.crops, start=1):
                cut(image, box)[0].save(Path(partial) / f"crop_{number}.png")
            for stale in [*folder.glob("crop_*.png"), folder / "grounding.png"]:
                stale.unlink(missing_ok=True)
            return [Path(shutil.move(each, folder / each.name)) for each in sorted(Path(partial).iterdir())]


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"Could not write to '{folder}' ({error.strerror or error}): choose another run_dir=...") from error


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
    except Exception as error:  # fonts, memory, a disk that is full: the answer does not need the figure
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"The figure could not be drawn ({why}): the answers and all other files are in '{folder}'.") from error
    finally:
        partial.unlink(missing_ok=True)

    return figure


@hydra_command("ground", GroundConfig)
def main(config: GroundConfig) -> None:
    """Answer one question about one image; print the answers, then write figure, JSON and crops, then log."""
    matplotlib.use("Agg")
    task = load_task(config)
    vlm = load_vlm(config.vlm)
    folder = Path(config.run_dir)
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if warning := warn_unknown_words(vlm, task.question):
        print(f"warning: {warning}", file=sys.stderr)

    grounding = run(vlm, task, config)
    print(f"question       {grounding.question}")
    print(f"plain answer   {grounding.plain_answer}")
    print(f"zoomed answer  {grounding.answer}" + (f"   (truth: {task.truth})" if task.truth else ""))
    print(f"stopped        after {len(grounding.steps)} rounds: {STOP_REASONS[grounding.stop_reason]}", flush=True)

    record = to_record(grounding, config, task, vlm)
    written = write_outputs(folder, grounding, task.image, record)
    figure, failed = _figure(folder, grounding, task.image)
    print("written        " + "  ".join(str(path) for path in [*written, *([folder / "grounding.png"] if figure else [])]), flush=True)

    labels = {name: record[name] for name in ("vlm", "method", "weights", "commit")}
    with tracked_run(config.tracking, folder, job_type="ground", config=labels) as tracked:
        log_grounding(tracked, grounding, figure)
    if failed:
        raise failed


def _figure(folder: Path, grounding: Grounding, image: Image.Image) -> tuple[Figure | None, InputError | None]:
    """Return the figure, or why there is none."""
    try:
        return write_figure(folder, grounding, image), None
    except InputError as error:
        return None, error
