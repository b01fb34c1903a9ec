"""What every notebook needs: its configuration, where it writes, figures that are saved; and how notebooks are executed."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import papermill
from matplotlib.figure import Figure
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from entropy_grounding.configs import CONF_DIR, GroundConfig, compose_config, quote_text
from entropy_grounding.errors import InputError
from entropy_grounding.processes import environment

NOTEBOOKS = CONF_DIR.parent / "notebooks"
QUIET = "--IPKernelApp.log_level=CRITICAL"  # else the terminal shows that messages are not encrypted, and that a kernel was told to end


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


def run_name(given: str) -> str:
    """Return the run that a table notebook shows: ``given``, else the one of the environment's ENTROPY_GROUNDING_RUN, else "mini"."""
    return given or os.environ.get("ENTROPY_GROUNDING_RUN", "mini")


def execute(notebook: str | Path, target: Path, parameters: Mapping[str, Any]) -> Path:
    """Execute a notebook with these parameters and return ``target``, which is there only when all of it went well.

    Args:
        notebook: a file, or the name of one in the repository's ``notebooks``, without ".ipynb".
        target: the executed notebook.
        parameters: values of the cell tagged "parameters".

    Raises:
        InputError: for a parameter that the notebook does not have, before anything runs (papermill alone warns and takes defaults); and
            when a cell of it fails, with the error; the notebook up to there is kept beside, as ``*.failed.ipynb``.
    """
    source = notebook if isinstance(notebook, Path) else NOTEBOOKS / f"{notebook}.ipynb"
    known = papermill.inspect_notebook(source)
    unknown = [each for each in parameters if each not in known]
    if unknown:
        raise InputError(f"The notebook {source.name} has no parameter {', '.join(unknown)}: use {', '.join(known)}.")
    target.parent.mkdir(parents=True, exist_ok=True)
    failed = target.with_suffix(".failed.ipynb")
    options = {"kernel_name": "python3", "progress_bar": False, "log_output": False, "extra_arguments": [QUIET]}
    try:
        with environment({"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}):
            papermill.execute_notebook(source, failed, dict(parameters), **options)
    except PapermillExecutionError as error:
        reason = " ".join(f"{error.ename}: {error.evalue}".split())
        raise InputError(f"Cell {error.exec_count} of {source.name} failed ({reason}); see {failed}.") from error
    except DeadKernelError as error:
        raise InputError(f"The process of {source.name} was killed, perhaps because memory ran out; see {failed}.") from error
    failed.replace(target)
    return target


def executed_with(target: Path) -> dict[str, Any]:
    """Return the parameters that an executed notebook was made with; none where there is no notebook."""
    metadata = json.loads(target.read_text())["metadata"] if target.is_file() else {}
    return metadata.get("papermill", {}).get("parameters", {})
