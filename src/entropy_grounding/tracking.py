"""Weights & Biases (W&B): log runs, by default offline and inside the run folder.

No other module imports W&B, and nothing of it is printed. Tracking never ends a run: if something
in it fails, one sentence says so, and the work goes on without it.
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

_LONGEST_TAG = 64  # W&B refuses a whole run for one longer tag

# Settings that identify one run. The environment or an open run may set them, and every run that is
# opened here would then be that one.
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
    """Where runs are logged.

    ``mode`` is "offline", "online" or "disabled". An offline run is a folder that ``wandb sync``
    can upload later.
    """

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
    """A run of W&B, or none. Other modules use W&B only through this class."""

    def __init__(self, run: wandb.Run | None = None) -> None:
        self._run = run

    @property
    def is_open(self) -> bool:
        """Tell whether what is logged goes anywhere."""
        return self._run is not None

    def log(self, values: Mapping[str, Any]) -> None:
        """Log the values of one step."""
        self.attempt(lambda run: run.log(dict(values)))

    def attempt(self, action: Callable[[wandb.Run], object]) -> None:
        """Call ``action`` with the run. If that fails, say so, and do not use the run again."""
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
    """Open a W&B run for the length of a block, and print nothing.

    Files, staged artifacts and cache all stay inside ``folder``. A run that the caller has open is
    not touched, and settings of the environment that identify one run have no effect.
    """
    if tracking.mode == "disabled":
        yield Tracked()
        return

    inside = {name: str(folder / "wandb_data") for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR")}
    known = list(dict.fromkeys(tag[:_LONGEST_TAG] for tag in tags if tag))
    labels = {"job_type": job_type, "name": name, "tags": known, "config": config}

    with environment(inside):
        tracked = _opened(tracking, folder, labels)
        status = 1  # until the block has ended without an error
        try:
            yield tracked
            status = 0
        finally:
            tracked.attempt(lambda run: run.finish(exit_code=status))


def _opened(tracking: TrackingConfig, folder: Path, labels: dict[str, Any]) -> Tracked:
    """Return an open run, or none if W&B fails."""
    try:
        # If W&B cannot make this folder, it silently takes another one.
        (folder / "wandb").mkdir(parents=True, exist_ok=True)

        with _settings_of_no_run():
            return Tracked(
                wandb.init(
                    project=tracking.project,
                    entity=tracking.entity,
                    group=tracking.group,
                    mode=tracking.mode,  # type: ignore[arg-type]
                    dir=str(folder),
                    reinit="create_new",  # beside a run that the caller has open
                    settings=wandb.Settings(silent=True, console="off", quiet=True),
                    **labels,
                )
            )
    except Exception as error:  # as in `Tracked.attempt`
        _tell(error)
        return Tracked()


@contextmanager
def _settings_of_no_run(**values: Any) -> Iterator[None]:
    """Reset the settings that identify one run, for the length of a block.

    All runs of a process share these settings. ``values`` are other settings for the same time.
    """
    shared = wandb.setup().settings

    with ExitStack() as stack:
        unset = {name: type(shared).model_fields[name].default for name in _OF_ONE_RUN}
        for setting, value in {**unset, **values}.items():
            # The stack restores the old values, also after an error.
            stack.callback(setattr, shared, setting, getattr(shared, setting))
            setattr(shared, setting, value)
        yield


def _check_login() -> None:
    """Raise an `InputError` if there is no login to W&B."""
    advice = "run 'wandb login', or pass tracking=offline"

    try:
        with _settings_of_no_run(mode="online"):
            logged_in = wandb.login(prompt=False, verify=False)
    except wandb.errors.Error as error:
        raise InputError(
            f"tracking=online needs a login to Weights & Biases ({error}): {advice}."
        ) from error

    if not logged_in:
        raise InputError(
            f"tracking=online needs a login to Weights & Biases, and there is none: {advice}."
        )


def _tell(error: Exception) -> None:
    """Print what failed, and leave W&B as if it had not begun."""
    # A broken service would print a traceback when Python ends. Runs of the caller still need it.
    if wandb.run is None:
        with suppress(Exception):
            wandb.teardown()

    why = " ".join(str(error).split())[:200] or type(error).__name__
    print(
        f"warning: Weights & Biases failed ({why}): the work goes on without it.",
        file=sys.stderr,
        flush=True,
    )


def log_grounding(tracked: Tracked, grounding: Grounding, figure: Figure | None) -> None:
    """Log the table of zoom steps, the first map of every round, the answers, and the figure."""
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

    rows, maps = [], []
    for number, step in enumerate(grounding.steps):
        row = [step.entropy, step.spatial_entropy, step.top_probability, step.visual_tokens]
        rows.append([number, *row, str([box.xyxy() for box in step.crops])])

        # W&B reads values from 0 to 1 as brightness; a map of zeros stays black.
        smoothed = step.maps[0].smoothed
        maps.append(wandb.Image(smoothed / (smoothed.max() or 1.0), caption=f"round {number}"))

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
    """Log the scores of an evaluation, some of its examples, and its files.

    The examples form a table with pictures. The files, rows and manifest, form an artifact.

    Args:
        tracked: the run.
        rows: rows of the evaluation, one per example.
        pictures: the pictures to show by example id, with the crops drawn on them.
        folder: folder with ``rows.parquet`` and ``manifest.json``.
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
    data = []
    for row in shown.to_dict("records"):
        picture = wandb.Image(pictures[row["example_id"]])
        data.append([picture, *(_cell(row[str(column)]) for column in columns[1:])])
    run.log({"examples": wandb.Table(columns=columns, data=data)})

    # Means are over the examples that have a score; the others are counted.
    scored = rows[rows["status"] == "ok"]
    figures = ["plain_score", "score", "seconds", "forwards", "backwards", "visual_tokens"]
    means = scored[figures].astype(float).mean()
    run.summary.update(
        {**means.to_dict(), "n": len(scored), "without_score": len(rows) - len(scored)}
    )

    paths = (folder / "rows.parquet", folder / "manifest.json")
    _log_files(run, "rows", [path for path in paths if path.is_file()])


def log_table(
    tracked: Tracked, cells: pd.DataFrame, figures: dict[str, Figure], files: Sequence[Path] = ()
) -> None:
    """Log the summary that a table is made from, its figures, and files as an artifact."""
    tracked.attempt(lambda run: _log_table(run, cells, figures, files))


def _log_table(
    run: wandb.Run, cells: pd.DataFrame, figures: dict[str, Figure], files: Sequence[Path]
) -> None:
    images = {name: wandb.Image(figure) for name, figure in figures.items()}
    run.log({"cells": wandb.Table(dataframe=cells), **images})
    _log_files(run, "table", files)


def _log_files(run: wandb.Run, kind: str, files: Sequence[Path]) -> None:
    """Log files as one artifact. Without files there is no artifact."""
    if files:
        artifact = wandb.Artifact(f"{kind}-{run.id}", type=kind)
        for path in files:
            artifact.add_file(str(path))
        run.log_artifact(artifact)


def _cell(value: Any) -> Any:
    """Return a value as a table of W&B can hold it: a list becomes one string."""
    if isinstance(value, (str, int, float)) or value is None:
        return value

    return ", ".join(str(item) for item in value)
