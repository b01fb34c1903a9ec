"""What every notebook needs: its configuration, where it writes, figures that are saved; and how notebooks are executed.

``python -m entropy_grounding.notebooks 00_quickstart out.ipynb image=photo.jpg`` executes one from the command line.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from entropy_grounding.app.question import GroundConfig
from entropy_grounding.core.config import compose_config, override_list
from entropy_grounding.core.paths import ROOT
from entropy_grounding.core.verbatim import expanded, quote_text


def notebook_config(name: str, overrides: str | Iterable[str] = (), **values: Any) -> GroundConfig:
    """Compose ``conf/NAME.yaml``; ``values`` are notebook parameters, of which empty strings leave the default.

    ``overrides`` may be one text, as papermill's -p gives it (`configs.override_list`).
    """
    given = [f"{key}={value}" for key, value in values.items() if value != ""]
    texts = [key for key, value in values.items() if isinstance(value, str)]
    return compose_config(
        [*quote_text(given, texts), *override_list(overrides)], name, GroundConfig
    )


def name_list(given: str | Iterable[str]) -> list[str]:
    """Return names of a notebook's parameter as a list: a text holds one, or several by comma."""
    return (
        [each.strip() for each in given.split(",") if each.strip()]
        if isinstance(given, str)
        else list(given)
    )


def output_folder(given: str, name: str, default: Path | None = None) -> Path:
    """Return (and make) the folder ``given``, else ``default``, else ``outputs/NAME`` of the repository."""
    folder = Path(expanded(given)) if given else default or repository_folder("outputs") / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def repository_folder(name: str) -> Path:
    """Return a folder of the repository, such as ``results``."""
    return ROOT / name


def save_figure(figure: Figure, path: Path) -> None:
    """Save a figure at 120 dots per inch, without the date that would change the file on every run."""
    figure.savefig(path, dpi=120, bbox_inches="tight", metadata={"Software": None})


def run_name(given: str) -> str:
    """Return the run that a table notebook shows: ``given``, else the one of the environment's ENTROPY_GROUNDING_RUN, else "mini"."""
    return given or os.environ.get("ENTROPY_GROUNDING_RUN", "mini")
