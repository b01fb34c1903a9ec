"""What every notebook needs: its configuration, its output folder, and a way to show results.

``eg notebooks execute 00_quickstart out.ipynb image=photo.jpg`` executes one from the command line.
"""

import ast
import os
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from IPython import get_ipython
from IPython.display import Image as Picture
from IPython.display import Markdown, display
from matplotlib.figure import Figure

from entropy_grounding.app.question import GroundConfig
from entropy_grounding.core.checks import check_choice
from entropy_grounding.core.config import compose_config, override_list
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.paths import ROOT
from entropy_grounding.core.suggestions import did_you_mean
from entropy_grounding.core.verbatim import expanded, quote_text
from entropy_grounding.plots import save_figure

NO_BREAK = "\N{NO-BREAK SPACE}"
_WITH_INTERVAL = re.compile(r"\d(?: %)? \[-?\d[\d.]*, -?\d[\d.]*\]")


def notebook_config(name: str, overrides: str | Iterable[str] = (), **values: Any) -> GroundConfig:
    """Compose ``conf/NAME.yaml`` with the parameters of a notebook.

    Args:
        name: the name of the configuration.
        overrides: Hydra overrides. They may be one text, as the option -p of papermill gives them
            (`override_list`).
        values: parameters of the notebook. Empty text leaves the default.

    Raises:
        InputError: for a parameter that the notebook does not have, and for a wrong option.
    """
    refuse_unknown_parameters()
    arguments, texts = [], []
    for key, value in values.items():
        if value != "":
            arguments.append(f"{key}={value}")
        # Text may hold marks that have a meaning for Hydra.
        if isinstance(value, str):
            texts.append(key)

    options = [*quote_text(arguments, texts), *override_list(overrides)]
    return compose_config(options, name, GroundConfig)


def refuse_unknown_parameters() -> None:
    """Refuse what papermill was given for this notebook and the notebook does not have.

    papermill alone warns, and the notebook would run with its default.

    Raises:
        InputError: naming the nearest parameter.
    """
    cells = getattr(get_ipython(), "user_ns", {}).get("In", [])
    for before, cell in pairwise(cells):
        # papermill writes its own cell behind that of the defaults.
        if cell.startswith("# Parameters\n"):
            known = _assigned(before)
            for name in _assigned(cell):
                if name not in known:
                    raise InputError(
                        f"The notebook has no parameter '{name}'{did_you_mean(name, known)}"
                    )


def _assigned(cell: str) -> list[str]:
    """Return the names to which the statements of a cell assign values."""
    assignments = [each for each in ast.parse(cell).body if isinstance(each, ast.Assign)]
    targets = [target for each in assignments for target in each.targets]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def is_interactive(given: bool | str) -> bool:
    """Tell whether a notebook shows widgets.

    Args:
        given: its parameter ``interactive``: True, False, or "auto" for `has_front_end`. Text is
            read as well, because a command line gives "True".

    Raises:
        InputError: for anything else.
    """
    check_choice("interactive", str(given), ("auto", "True", "False"))
    return has_front_end() if given == "auto" else str(given) == "True"


def has_front_end() -> bool:
    """Tell whether a person runs the cells of this notebook, in Jupyter or a program like it.

    Such a program says with every cell that the cell may ask for input. papermill, nbconvert and
    nbval say that it may not, because nobody is there to answer.
    """
    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        return False

    request = kernel.get_parent("shell").get("content", {})
    return bool(request.get("allow_stdin", False))


def name_list(given: str | Iterable[str]) -> list[str]:
    """Return the names of a parameter as a list; text holds one name, or several with commas."""
    if not isinstance(given, str):
        return list(given)

    return [part.strip() for part in given.split(",") if part.strip()]


def output_folder(given: str, name: str, default: Path | None = None) -> Path:
    """Make a folder for the output, and return it.

    Args:
        given: the folder that the user names; empty text for none.
        name: the name of the folder in ``outputs`` of the repository, where no other is given.
        default: the folder where the user names none.
    """
    folder = Path(expanded(given)) if given else default or ROOT / "outputs" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def show_markdown(text: str) -> None:
    """Show Markdown below the cell of a notebook.

    A table in it is shown as a table, and each number stays on one line with its interval.
    """
    display(Markdown(unbroken(text)))


def unbroken(text: str) -> str:
    """Return Markdown in which no line breaks inside a number with its interval.

    The spaces of "51.0 [45.3, 56.3]" become spaces at which nothing breaks a line.
    """
    return _WITH_INTERVAL.sub(lambda found: found[0].replace(" ", NO_BREAK), text)


def show_figure(figure: Figure, folder: Path, name: str) -> None:
    """Save a figure with `save_figure` as ``NAME.png``, show it in a notebook, and close it.

    Args:
        figure: the figure. It can still be logged afterwards.
        folder: the folder of the file.
        name: the name of the file, without ".png".
    """
    written = save_figure(figure, folder / f"{name}.png")

    # The notebook holds the small file, not another picture of the figure.
    display(Picture(data=written[0].read_bytes(), format="png"))
    plt.close(figure)


def run_name(given: str) -> str:
    """Return the name of the run that a table notebook shows.

    It is ``given``, otherwise the value of the environment variable ENTROPY_GROUNDING_RUN,
    otherwise "mini".
    """
    return given or os.environ.get("ENTROPY_GROUNDING_RUN", "mini")
