"""What every notebook needs: its configuration, where it writes, and figures that are saved while they are shown."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from entropy_grounding.configs import CONF_DIR, GroundConfig, compose_config, quote_text


def notebook_config(name: str, overrides: Sequence[str] = (), **values: Any) -> GroundConfig:
    """Compose ``conf/NAME.yaml``; ``values`` are notebook parameters, of which empty strings leave the default."""
    given = [f"{key}={value}" for key, value in values.items() if value != ""]
    texts = [key for key, value in values.items() if isinstance(value, str)]
    return compose_config([*quote_text(given, texts), *overrides], name)


def output_folder(given: str, name: str, default: Path | None = None) -> Path:
    """Return (and make) the folder ``given``, else ``default``, else ``outputs/NAME`` of the repository."""
    folder = Path(given) if given else default or repository_folder("outputs") / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def repository_folder(name: str) -> Path:
    """Return a folder of the repository, such as ``results``."""
    return CONF_DIR.parent / name


def save_figure(figure: Figure, path: Path) -> None:
    """Save a figure at 120 dots per inch, without the date that would change the file on every run."""
    figure.savefig(path, dpi=120, bbox_inches="tight", metadata={"Software": None})
