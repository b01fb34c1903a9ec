"""`eg notebooks`: execute notebooks."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
from tqdm.auto import tqdm

from entropy_grounding.commands.catalogue import UsageError, check_options
from entropy_grounding.commands.command_line import command
from entropy_grounding.core.config import override_list
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.verbatim import expanded
from entropy_grounding.evaluation.archive import check_repository, stored_folder, stored_index
from entropy_grounding.experiments.config import evaluations, experiments, load_experiment
from entropy_grounding.experiments.papermill import (
    NOTEBOOKS,
    execute,
    known_parameters,
    parameters_of,
)
from entropy_grounding.reporting.executed_notebooks import relink, shrink, tidy

FOLDER = Path("results", "notebooks")
ALWAYS = (
    "00_quickstart",
    "01_method_step_by_step",
    "02_four_vlms",
    "04_seven_benchmarks",
    "05_from_scratch",
    "26_controls",
    "30_gallery",
    "31_failures",
)


def complete_notebooks(results: Path) -> list[str]:
    """Return the notebooks that need no evaluation any more, in order."""
    index = stored_index(results / "rows")
    found = list(ALWAYS)
    for name in experiments():
        setup = load_experiment(name, "mini", results_dir=str(results))
        if all(stored_folder(config, index) for _, config in evaluations(setup)):
            found.append(setup.experiment.notebook)
    return sorted(set(found))


def run(names: Sequence[str]) -> None:
    """Execute these notebooks, and keep small copies."""
    for name in tqdm(names, desc="notebooks"):
        path = execute(name, FOLDER / f"{name}.ipynb", {"figure_dir": "figures"})
        notebook = nbformat.read(path, as_version=4)
        tidy(notebook)
        relink(notebook)
        shrink(notebook)
        nbformat.write(notebook, path)


def execute_one(options: Namespace) -> None:
    """Execute a notebook with values of its parameters."""
    notebook = Path(expanded(options.notebook))
    source = notebook if notebook.suffix == ".ipynb" else NOTEBOOKS / f"{notebook}.ipynb"
    parameters = parameters_of(source, options.parameters)
    _check_overrides(source, parameters)

    print(f"executed: {execute(source, Path(expanded(options.target)), parameters)}")


def _check_overrides(notebook: Path, parameters: Mapping[str, Any]) -> None:
    """Refuse overrides of options and presets that do not exist, before a kernel starts.

    Args:
        notebook: the file of the notebook.
        parameters: what the user gives it.

    Raises:
        InputError: naming the nearest one.
    """
    # Notebooks that run evaluations have a size of the run; the others ground one question.
    name = "evaluate" if "run" in known_parameters(notebook) else "ground"
    try:
        check_options(name, override_list(parameters.get("overrides", "")))
    except UsageError as error:
        raise InputError(str(error)) from error


def write_copies(options: Namespace) -> None:
    """Execute notebooks from the stored rows, and keep small copies of them."""
    check_repository(Path())
    run(options.names or complete_notebooks(Path("results")))


def main(options: Namespace) -> None:
    """Execute one notebook, or write the copies for visitors."""
    actions = {"execute": execute_one, "copies": write_copies}
    command(lambda: actions[options.action](options))
