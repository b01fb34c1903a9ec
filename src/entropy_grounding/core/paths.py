"""Folders of the package and of its repository; everything else is found from here."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
# The wheel holds its own copy of conf; in a checkout it stands beside src.
CONF_DIR = next(
    folder for folder in (PACKAGE / "conf", PACKAGE.parents[1] / "conf") if folder.is_dir()
)
# The checkout, or the working folder where the package is installed without one.
ROOT = Path.cwd() if CONF_DIR.parent == PACKAGE else CONF_DIR.parent


def names_in(group: str) -> tuple[str, ...]:
    """Return the names of the YAML files in ``conf/GROUP``, sorted."""
    return tuple(sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml")))
