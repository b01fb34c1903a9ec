"""Weights & Biases, the only module that imports it: offline inside the run folder by default, silent everywhere.

Tracking never ends a run: whatever fails in it is told once, in one sentence, and the work goes on without it.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import wandb
from matplotlib.figure import Figure
from PIL import Image

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.processes import environment
from entropy_grounding.core.records import Grounding
from entropy_grounding.core.verbatim import Text

# What an environment or an open run may say about one run, which would make every run of ours that one.
_OF_ONE_RUN = (
    "run_id",
    "resume",
    "resume_from",
    "fork_from",
    "sweep_id",
    "sweep_param_path",
    "launch",
    "launch_config_path",
)


@dataclass(frozen=True)
class TrackingConfig:
    """Where runs are logged: ``mode`` is "offline" (a folder, upload later with ``wandb sync``), "online" or "disabled"."""

    mode: str = "offline"
    project: Text = "entropy-gradient-grounding"
    entity: Text | None = None
    group: Text | None = None

    def __post_init__(self) -> None:
        """Refuse an unknown mode, and "online" without a login, before any work is done."""
        if self.mode not in ("offline", "online", "disabled"):
            raise InputError(
                f"Unknown tracking.mode '{self.mode}': use offline, online or disabled."
            )
        if self.mode == "online":
            _check_login()


class Tracked:
    """A run of W&B, or none; it is the only thing of W&B that other modules touch."""

    def __init__(self, run: wandb.Run | None = None) -> None:
        self._run = run

    def log(self, values: Mapping[str, Any]) -> None:
        """Log the values of one step."""
        self.attempt(lambda run: run.log(dict(values)))

    def attempt(self, action: Callable[[wandb.Run], object]) -> None:
        """Do something with the run; if that fails, say so, and leave the run alone from then on."""
        if self._run is None:
            return

        try:
            action(self._run)
        except Exception as error:  # of a library, a disk or a network that the work does not need
            self._run = None
            _tell(error)


@contextmanager
def tracked_run(
    tracking: TrackingConfig,
    folder: Path,
    *,
    job_type: str,
    config: dict[str, Any],
    name: str | None = None,
    tags: Sequence[str] = (),
) -> Iterator[Tracked]:
    """Open a W&B run of its own whose files, staged artifacts and cache all stay inside ``folder``; nothing is printed.

    A run that the caller has open goes on untouched, and what the environment says about one run does not count.
    """
    if tracking.mode == "disabled":
        yield Tracked()
        return

    inside = {name: str(folder / "wandb_data") for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR")}
    labels = {"job_type": job_type, "name": name, "tags": list(tags), "config": config}
    with environment(inside):
        tracked = _opened(tracking, folder, labels)
        status = 1
        try:
            yield tracked
            status = 0
        finally:
            tracked.attempt(lambda run: run.finish(exit_code=status))


def _opened(tracking: TrackingConfig, folder: Path, labels: dict[str, Any]) -> Tracked:
    try:
        (folder / "wandb").mkdir(
            parents=True, exist_ok=True
        )  # where this fails W&B would take another folder
        with _settings_of_no_run():
            return Tracked(
                wandb.init(
                    project=tracking.project,
                    entity=tracking.entity,
                    group=tracking.group,
                    mode=tracking.mode,  # type: ignore[arg-type]
                    dir=str(folder),
                    reinit="create_new",
                    settings=wandb.Settings(silent=True, console="off", quiet=True),
                    **labels,
                )
            )
    except Exception as error:  # as in `Tracked.attempt`
        _tell(error)
        return Tracked()


@contextmanager
def _settings_of_no_run(**values: Any) -> Iterator[None]:
    """Take out of the settings that all runs of this process share what makes them one run, for a while."""
    shared = wandb.setup().settings
    with ExitStack() as stack:
        unset = {name: type(shared).model_fields[name].default for name in _OF_ONE_RUN}
        for setting, value in {**unset, **values}.items():
            stack.callback(setattr, shared, setting, getattr(shared, setting))
            setattr(shared, setting, value)
        yield


def _check_login() -> None:
    advice = "run 'wandb login', or pass tracking=offline"
    try:
        with _settings_of_no_run(mode="online"):
            known = wandb.login(prompt=False, verify=False)
    except wandb.errors.Error as error:
        raise InputError(
            f"tracking=online needs a login to Weights & Biases ({error}): {advice}."
        ) from error
    if not known:
        raise InputError(
            f"tracking=online needs a login to Weights & Biases, and there is none: {advice}."
        )


def _tell(error: Exception) -> None:
    """Tell what failed, and leave W&B as if it had not begun."""
    if (
        wandb.run is None
    ):  # nobody else's: a service that is gone would show a traceback when Python ends
        with suppress(Exception):
            wandb.teardown()
    why = " ".join(str(error).split())[:200] or type(error).__name__
    print(
        f"warning: Weights & Biases failed ({why}): the work goes on without it.",
        file=sys.stderr,
        flush=True,
    )


def log_grounding(tracked: Tracked, grounding: Grounding, figure: Figure | None) -> None:
    """Log the table of zoom steps, the first map of every round, the answers and the figure, if there is one."""
    tracked.attempt(lambda run: _log_grounding(run, grounding, figure))


def _log_grounding(run: wandb.Run, grounding: Grounding, figure: Figure | None) -> None:
    columns: list[str | int] = [
        "round",
        "entropy",
        "spatial_entropy",
        "top_probability",
        "visual_tokens",
        "crops",
    ]
    rows = [
        [
            number,
            step.entropy,
            step.spatial_entropy,
            step.top_probability,
            step.visual_tokens,
            str([box.xyxy() for box in step.crops]),
        ]
        for number, step in enumerate(grounding.steps)
    ]
    maps = [
        wandb.Image(
            step.maps[0].smoothed / (step.maps[0].smoothed.max() or 1.0), caption=f"round {number}"
        )
        for number, step in enumerate(grounding.steps)
    ]
    drawn = {} if figure is None else {"grounding": wandb.Image(figure)}
    run.log({"steps": wandb.Table(columns=columns, data=rows), "maps": maps, **drawn})
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


def log_evaluation(
    tracked: Tracked, rows: pd.DataFrame, pictures: dict[str, Image.Image], folder: Path
) -> None:
    """Log the scores of an evaluation, a table of some of its examples with their pictures, and its rows and manifest as an artifact.

    Args:
        tracked: the run.
        rows: of the evaluation.
        pictures: by example id, those to show, with the crops drawn on them.
        folder: holds ``rows.parquet`` and ``manifest.json``.
    """
    tracked.attempt(lambda run: _log_evaluation(run, rows, pictures, folder))


def _log_evaluation(
    run: wandb.Run, rows: pd.DataFrame, pictures: dict[str, Image.Image], folder: Path
) -> None:
    columns: list[str | int] = [
        "picture",
        "question",
        "references",
        "plain_answer",
        "answer",
        "plain_score",
        "score",
        "stop_reason",
    ]
    shown = rows[rows["example_id"].isin(list(pictures))]
    data = [
        [wandb.Image(pictures[row["example_id"]]), *(_cell(row[str(c)]) for c in columns[1:])]
        for row in shown.to_dict("records")
    ]
    run.log({"examples": wandb.Table(columns=columns, data=data)})
    scored = rows[rows["status"] == "ok"]
    means = (
        scored[["plain_score", "score", "seconds", "forwards", "backwards", "visual_tokens"]]
        .astype(float)
        .mean()
    )
    run.summary.update(
        {**means.to_dict(), "n": len(scored), "without_score": len(rows) - len(scored)}
    )
    _log_files(
        run,
        "rows",
        [path for path in (folder / "rows.parquet", folder / "manifest.json") if path.is_file()],
    )


def log_table(
    tracked: Tracked, cells: pd.DataFrame, figures: dict[str, Figure], files: Sequence[Path] = ()
) -> None:
    """Log the summary behind a table, its figures, and files as an artifact."""
    tracked.attempt(lambda run: _log_table(run, cells, figures, files))


def _log_table(
    run: wandb.Run, cells: pd.DataFrame, figures: dict[str, Figure], files: Sequence[Path]
) -> None:
    run.log(
        {
            "cells": wandb.Table(dataframe=cells),
            **{name: wandb.Image(figure) for name, figure in figures.items()},
        }
    )
    _log_files(run, "table", files)


def _log_files(run: wandb.Run, kind: str, files: Sequence[Path]) -> None:
    if files:
        artifact = wandb.Artifact(f"{kind}-{run.id}", type=kind)
        for path in files:
            artifact.add_file(str(path))
        run.log_artifact(artifact)


def _cell(value: Any) -> Any:
    return (
        value
        if isinstance(value, (str, int, float)) or value is None
        else ", ".join(str(each) for each in value)
    )
