"""Weights & Biases, the only module that imports it: offline inside the run folder by default, silent everywhere."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import wandb
from matplotlib.figure import Figure
from PIL import Image

from entropy_grounding.errors import InputError
from entropy_grounding.processes import environment
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
def tracked_run(
    tracking: TrackingConfig, folder: Path, *, job_type: str, config: dict[str, Any], name: str | None = None, tags: Sequence[str] = ()
) -> Iterator[wandb.Run]:
    """Open a W&B run whose files, staged artifacts and cache all stay inside ``folder``; nothing is printed."""
    folder.mkdir(parents=True, exist_ok=True)
    inside = {name: str(folder / "wandb_data") for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR")}
    with environment({"WANDB_DIR": str(folder), "WANDB_SILENT": "true", **inside}):
        try:
            run = wandb.init(
                project=tracking.project,
                entity=tracking.entity,
                group=tracking.group,
                job_type=job_type,
                name=name,
                tags=tags,
                mode=tracking.mode,  # type: ignore[arg-type]
                dir=str(folder),
                config=config,
                settings=wandb.Settings(silent=True, console="off", quiet=True),
            )
        except wandb.errors.Error as error:
            raise InputError(f"Weights & Biases could not start ({error}): run 'wandb login', or pass tracking=offline.") from error
        with run:
            yield run


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


PICTURES = 8  # examples of an evaluation that are logged with their picture


def log_evaluation(run: wandb.Run, rows: pd.DataFrame, pictures: dict[str, Image.Image], folder: Path) -> None:
    """Log the scores of an evaluation, a table of some of its examples with their pictures, and its rows and manifest as an artifact.

    Args:
        run: the run.
        rows: of the evaluation.
        pictures: by example id, those to show, with the crops drawn on them.
        folder: holds ``rows.parquet`` and ``manifest.json``.
    """
    columns: list[str | int] = ["picture", "question", "references", "plain_answer", "answer", "plain_score", "score", "stop_reason"]
    shown = rows[rows["example_id"].isin(list(pictures))]
    data = [[wandb.Image(pictures[row["example_id"]]), *(_cell(row[str(c)]) for c in columns[1:])] for row in shown.to_dict("records")]
    run.log({"examples": wandb.Table(columns=columns, data=data)})
    scored = rows[rows["status"] == "ok"]
    means = scored[["plain_score", "score", "seconds", "forwards", "backwards", "visual_tokens"]].astype(float).mean()
    run.summary.update({**means.to_dict(), "n": len(scored), "without_score": len(rows) - len(scored)})
    _log_files(run, "rows", [path for path in (folder / "rows.parquet", folder / "manifest.json") if path.is_file()])


def log_table(run: wandb.Run, cells: pd.DataFrame, figures: dict[str, Figure], files: Sequence[Path] = ()) -> None:
    """Log the summary behind a table, its figures, and files as an artifact."""
    run.log({"cells": wandb.Table(dataframe=cells), **{name: wandb.Image(figure) for name, figure in figures.items()}})
    _log_files(run, "table", files)


def _log_files(run: wandb.Run, kind: str, files: Sequence[Path]) -> None:
    if files:
        artifact = wandb.Artifact(f"{kind}-{run.id}", type=kind)
        for path in files:
            artifact.add_file(str(path))
        run.log_artifact(artifact)


def _cell(value: Any) -> Any:
    return value if isinstance(value, (str, int, float)) or value is None else ", ".join(str(each) for each in value)
