"""Weights & Biases, the only module that imports it: offline inside the run folder by default, silent everywhere."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import wandb
from matplotlib.figure import Figure

from entropy_grounding.errors import InputError
from entropy_grounding.structures import Grounding


@dataclass(frozen=True)
class TrackingConfig:
    """Where runs are logged: ``mode`` is "offline" (a folder, upload later with ``wandb sync``), "online" or "disabled"."""

    mode: str = "offline"
    project: str = "entropy-gradient-grounding"
    entity: str | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        """Refuse an unknown mode before any work is done."""
        if self.mode not in ("offline", "online", "disabled"):
            raise InputError(f"Unknown tracking.mode '{self.mode}': use offline, online or disabled.")


@contextmanager
def tracked_run(tracking: TrackingConfig, folder: Path, *, job_type: str, config: dict[str, Any]) -> Iterator[wandb.Run]:
    """Open a W&B run whose files, staged artifacts and cache all stay inside ``folder``; nothing is printed."""
    folder.mkdir(parents=True, exist_ok=True)
    inside = {name: str(folder / "wandb_data") for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR")}
    with _environment({"WANDB_DIR": str(folder), "WANDB_SILENT": "true", **inside}):
        try:
            run = wandb.init(
                project=tracking.project,
                entity=tracking.entity,
                group=tracking.group,
                job_type=job_type,
                mode=tracking.mode,  # type: ignore[arg-type]
                dir=str(folder),
                config=config,
                settings=wandb.Settings(silent=True, console="off", quiet=True),
            )
        except wandb.errors.Error as error:
            raise InputError(f"Weights & Biases could not start ({error}): run 'wandb login', or pass tracking=offline.") from error
        with run:
            yield run


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def log_grounding(run: wandb.Run, grounding: Grounding, figure: Figure) -> None:
    """Log the table of zoom steps, the first map of every round, the answers and the figure."""
    columns: list[str | int] = ["round", "entropy", "spatial_entropy", "top_probability", "visual_tokens", "crops"]
    rows = [
        [number, step.entropy, step.spatial_entropy, step.top_probability, step.visual_tokens, str([box.xyxy() for box in step.crops])]
        for number, step in enumerate(grounding.steps)
    ]
    maps = [
        wandb.Image(step.maps[0].smoothed / (step.maps[0].smoothed.max() or 1.0), caption=f"round {number}")
        for number, step in enumerate(grounding.steps)
    ]
    run.log({"steps": wandb.Table(columns=columns, data=rows), "maps": maps, "grounding": wandb.Image(figure)})
    run.summary.update(
        {
            "plain_answer": grounding.plain_answer,
            "answer": grounding.answer,
            "stop_reason": grounding.stop_reason,
            "rounds": len(grounding.steps),
            **asdict(grounding.cost),
        }
    )
