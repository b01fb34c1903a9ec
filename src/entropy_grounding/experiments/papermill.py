"""Execute a notebook with values of its parameters."""

import ast
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.paths import ROOT
from entropy_grounding.core.processes import environment, kernels, stop_kernels

NOTEBOOKS = ROOT / "notebooks"
QUIET = "--IPKernelApp.log_level=CRITICAL"  # else the terminal shows that messages are not encrypted, and that a kernel was told to end


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
    known = _known_parameters(source)
    unknown = [each for each in parameters if each not in known]
    if unknown:
        raise InputError(
            f"The notebook {source.name} has no parameter {', '.join(unknown)}: use {', '.join(known)}."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    failed = target.with_suffix(".failed.ipynb")
    options = {
        "kernel_name": "python3",
        "progress_bar": False,
        "log_output": False,
        "extra_arguments": [QUIET],
    }
    try:
        with environment({"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}):
            _run(source, failed, dict(parameters), **options)
    except PapermillExecutionError as error:
        reason = " ".join(f"{error.ename}: {error.evalue}".split())
        raise InputError(
            f"Cell {error.exec_count} of {source.name} failed ({reason}); see {failed}."
        ) from error
    except DeadKernelError as error:
        raise InputError(
            f"The process of {source.name} was killed, perhaps because memory ran out; see {failed}."
        ) from error
    failed.replace(target)
    return target


def _run(*arguments: Any, **options: Any) -> None:
    """Run papermill in a thread: its own handling of signals kills a kernel before that has stored what it has finished."""
    spared = kernels(below=False)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(papermill.execute_notebook, *arguments, **options)
        try:
            running.result()
        except (KeyboardInterrupt, SystemExit):
            stop_kernels(running.done, spared)
            raise


def executed_with(target: Path) -> dict[str, Any]:
    """Return the parameters that an executed notebook was made with; none where there is no notebook."""
    metadata = json.loads(target.read_text())["metadata"] if target.is_file() else {}
    return metadata.get("papermill", {}).get("parameters", {})


def parameters_of(notebook: Path, given: Iterable[str]) -> dict[str, Any]:
    """Return the parameters NAME=VALUE as values of the kind that the notebook has there: a number, True or False, else text.

    Raises:
        InputError: for an argument without a value, and for a value of another kind.
    """
    known = _known_parameters(notebook)
    found: dict[str, Any] = {}
    for argument in given:
        name, separator, value = argument.partition("=")
        if not separator:
            raise InputError(f"'{argument}' is no parameter: use NAME=VALUE.")
        found[name] = _as_default(name, value, known.get(name, {}).get("default", ""))

    return found


def _known_parameters(notebook: Path) -> dict[str, Any]:
    if not notebook.is_file():
        raise InputError(
            f"No notebook at '{notebook}': notebooks come with the repository, run this in a clone of it."
        )
    try:
        return papermill.inspect_notebook(notebook)
    except (ValueError, OSError, nbformat.ValidationError) as error:  # broken JSON, no kernel
        raise InputError(
            f"The notebook '{notebook}' cannot be read ({' '.join(str(error).split())[:200]})."
        ) from error


def _as_default(name: str, value: str, default: str) -> Any:
    kind = type(ast.literal_eval(default)) if default else str
    if kind not in (bool, int, float):
        return value

    try:
        return kind(ast.literal_eval(value))
    except (ValueError, SyntaxError, TypeError) as error:
        raise InputError(
            f"The parameter {name} is '{value}': use a value such as {default}."
        ) from error
