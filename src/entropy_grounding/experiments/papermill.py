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
from omegaconf import OmegaConf
from papermill.exceptions import PapermillExecutionError

from entropy_grounding.core.checks import check_choice
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.paths import CONF_DIR, ROOT, names_in
from entropy_grounding.core.processes import environment, kernels, stop_kernels
from entropy_grounding.core.suggestions import did_you_mean

NOTEBOOKS = ROOT / "notebooks"
# Parameters of notebooks that hold one name of ``conf/GROUP``, or several with commas.
PRESETS = ("vlm", "benchmark", "method", "run", "experiment", "tracking")

# Without this option the terminal shows warnings of the kernel: that its messages are not
# encrypted, and that it was told to end.
QUIET = "--IPKernelApp.log_level=CRITICAL"


def execute(notebook: str | Path, target: Path, parameters: Mapping[str, Any]) -> Path:
    """Execute a notebook with these parameters, and return ``target``.

    The file ``target`` exists only after the whole notebook has succeeded.

    Args:
        notebook: a file, or the name of a notebook of the repository, without ".ipynb".
        target: the path of the executed notebook.
        parameters: values of the cell with the tag "parameters".

    Raises:
        InputError: for a parameter that the notebook does not have, before anything runs
            (papermill alone warns and takes the default), and when a cell of the notebook fails,
            with its error. The notebook up to this cell is kept as ``*.failed.ipynb``.
    """
    source = notebook if isinstance(notebook, Path) else NOTEBOOKS / f"{notebook}.ipynb"
    known = known_parameters(source)
    for name in parameters:
        if name not in known:
            advice = did_you_mean(name, known) if known else ": leave it out."
            raise InputError(f"The notebook {source.name} has no parameter '{name}'{advice}")
    if source.parent == NOTEBOOKS:
        check_presets(parameters)

    target.parent.mkdir(parents=True, exist_ok=True)
    failed = target.with_suffix(".failed.ipynb")
    options = {
        "kernel_name": "python3",
        "progress_bar": False,
        "log_output": False,
        "extra_arguments": [QUIET],
    }

    # Several notebooks may run at once: each uses one thread, unless the user says otherwise.
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    try:
        with environment({"OMP_NUM_THREADS": threads}):
            _run(source, failed, dict(parameters), **options)
    except PapermillExecutionError as error:
        reason = " ".join(f"{error.ename}: {error.evalue}".split())
        raise InputError(
            f"Cell {error.exec_count} of {source.name} failed ({reason}); see {failed}."
        ) from error
    except DeadKernelError as error:
        raise InputError(
            f"The process of {source.name} was killed, perhaps because memory ran out; "
            f"see {failed}."
        ) from error

    # The file gets its final name only now: readers take it as the sign of success.
    failed.replace(target)
    return target


def check_presets(parameters: Mapping[str, Any]) -> None:
    """Refuse names that a folder of ``conf`` does not have, in parameters with its name.

    Raises:
        InputError: naming the nearest one.
    """
    for group in PRESETS:
        for part in str(parameters.get(group, "")).split(","):
            if part.strip():
                known = names_in(group) + (_variants() if group == "method" else ())
                check_choice(group, part.strip(), known)


def _variants() -> tuple[str, ...]:
    """Return the names of the variants of all experiments, each once."""
    names = []
    for name in names_in("experiment"):
        file: Any = OmegaConf.load(CONF_DIR / "experiment" / f"{name}.yaml")
        names += [variant["name"] for variant in file["variants"]]
    return tuple(dict.fromkeys(names))


def _run(*arguments: Any, **options: Any) -> None:
    """Run papermill in a thread.

    In the main thread, papermill would handle signals itself. It would kill a kernel before the
    kernel has stored what it has finished.
    """
    # Kernels that run already belong to somebody else.
    spared = kernels(below=False)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(papermill.execute_notebook, *arguments, **options)
        try:
            running.result()
        except (KeyboardInterrupt, SystemExit):
            stop_kernels(running.done, spared)
            raise


def executed_with(target: Path) -> dict[str, Any]:
    """Return the parameters that an executed notebook was made with.

    The dictionary is empty where there is no notebook.
    """
    metadata = json.loads(target.read_text())["metadata"] if target.is_file() else {}
    return metadata.get("papermill", {}).get("parameters", {})


def parameters_of(notebook: Path, given: Iterable[str]) -> dict[str, Any]:
    """Return parameters of a command line as values of the types that the notebook uses.

    Args:
        notebook: the file of the notebook.
        given: the parameters, as NAME=VALUE.

    Returns:
        The value of each name: a number, True or False where the default of the notebook is one,
        otherwise text.

    Raises:
        InputError: for an argument without a value, and for a value of another type.
    """
    known = known_parameters(notebook)
    parameters: dict[str, Any] = {}

    for argument in given:
        name, separator, value = argument.partition("=")
        if not separator:
            raise InputError(f"'{argument}' is no parameter: use NAME=VALUE.")

        # `execute` refuses names that the notebook does not have; here they stay text.
        default = known.get(name, {}).get("default", "")
        parameters[name] = _as_default(name, value, default)

    return parameters


def known_parameters(notebook: Path) -> dict[str, Any]:
    """Return what papermill knows about the parameters of a notebook, by their names."""
    if not notebook.is_file():
        raise InputError(
            f"No notebook at '{notebook}': notebooks come with the repository, "
            "run this in a clone of it."
        )

    try:
        return papermill.inspect_notebook(notebook)
    except (ValueError, OSError, nbformat.ValidationError) as error:
        # The file is not valid JSON, or it names no kernel.
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"The notebook '{notebook}' cannot be read ({reason}).") from error


def _as_default(name: str, value: str, default: str) -> Any:
    """Return a value as the type of the default, which is Python source."""
    kind = type(ast.literal_eval(default)) if default else str
    if kind not in (bool, int, float):
        return value

    try:
        return kind(ast.literal_eval(value))
    except (ValueError, SyntaxError, TypeError) as error:
        raise InputError(
            f"The parameter {name} is '{value}': use a value such as {default}."
        ) from error
