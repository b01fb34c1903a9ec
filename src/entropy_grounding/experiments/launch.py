"""Launch the jobs of an experiment, then execute the notebook of its table."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import psutil

from entropy_grounding.core.config import compose_config
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.processes import PATIENCE, POLL, announce_parent
from entropy_grounding.core.verbatim import quote_text, quoted, verbatim_options
from entropy_grounding.experiments.config import ExperimentConfig
from entropy_grounding.experiments.job import JobConfig, gpu_names
from entropy_grounding.experiments.papermill import execute, executed_with


def launcher_options(gpus: int, given: Sequence[str]) -> list[str]:
    """Return the options of Hydra's launcher: those given, after joblib's where each process has a GPU of its own.

    Raises:
        InputError: for a launcher or option that does not exist, and for more GPUs than there are.
    """
    if gpu_names(gpus) and any(each.startswith("hydra/launcher=") for each in given):
        raise InputError(
            f"gpus={gpus} starts processes of its own: leave it out, or hydra/launcher."
        )
    options = (
        ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={gpus}", *given] if gpus else list(given)
    )
    compose_config(options, "cell", JobConfig)
    return options


def run(setup: ExperimentConfig, plan: pd.DataFrame, launcher: Sequence[str]) -> None:
    """Launch the cells that are not complete, then execute the notebook of the table.

    Raises:
        InputError: when a cell failed; the others are done, and the table is not made.
    """
    cells = [
        _cell(setup, *pair)
        for pair, rows in plan.groupby(["vlm", "benchmark"], sort=False)
        if not is_done(_cell(setup, *pair), rows)
    ]
    if cells:
        check_all_done(cells, _launch(cells, launcher))
    chosen = {"vlm": setup.only_vlm, "benchmark": setup.only_benchmark, "method": setup.only_method}
    parameters = {
        "run": setup.run.name,
        "results_dir": str(Path(setup.results_dir).resolve()),
        "overrides": list(setup.overrides),
        "tracking": setup.tracking_mode,
        **{name: ",".join(values) for name, values in chosen.items()},
    }
    folder = Path(setup.output_dir).resolve() / setup.experiment.name
    target = folder / f"{setup.experiment.notebook}.ipynb"
    print(f"{setup.experiment.notebook}: starts", flush=True)
    print(
        f"table: {execute(setup.experiment.notebook, target, {**parameters, 'run_dir': str(folder)})}"
    )


def _cell(setup: ExperimentConfig, vlm: str, benchmark: str) -> JobConfig:
    return JobConfig(
        experiment_name=setup.experiment.name,
        run_name=setup.run.name,
        cell=f"{vlm}/{benchmark}",
        only_method="+".join(setup.only_method),
        overrides=setup.overrides,
        results_dir=str(Path(setup.results_dir).resolve()),  # jobs may run in other folders
        output_dir=str(Path(setup.output_dir).resolve()),
        tracking_mode=setup.tracking_mode,
        gpus=setup.gpus,
    )


def is_done(cell: JobConfig, rows: pd.DataFrame) -> bool:
    """Tell whether every evaluation of a cell is complete and its notebook was executed with the same parameters."""
    return bool(rows["complete"].all()) and executed_with(cell.executed()) == cell.parameters()


def _launch(cells: Sequence[JobConfig], launcher: Sequence[str]) -> int:
    """Run cells as jobs of Hydra's launcher, say which are done, and return its exit code."""
    for cell in cells:
        cell.executed().unlink(missing_ok=True)
        cell.error().unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "entropy_grounding.cell", "-m", *command_line(cells), *launcher],
        env=os.environ | announce_parent(),
        start_new_session=True,  # signals of a terminal come here alone; the cells are told below
    )
    try:
        _follow(process, cells)
    except (KeyboardInterrupt, SystemExit):
        if "hydra/launcher=slurm" in launcher:
            print("Jobs of a cluster are not stopped by this.", file=sys.stderr)
        _end(process)
        raise
    return process.returncode


def _end(process: subprocess.Popen[bytes]) -> None:
    """Tell the launcher and its cells to end, which store what is finished; after that none of them is left."""
    started = psutil.Process().children(recursive=True)
    process.terminate()
    try:
        process.wait(timeout=2 * PATIENCE)
    except subprocess.TimeoutExpired:
        pass
    finally:
        for each in started:
            with suppress(psutil.Error):
                each.kill()
        process.wait()


def command_line(cells: Sequence[JobConfig]) -> list[str]:
    """Return the options of `cell` that run these cells, which differ in nothing but their names."""
    values = asdict(replace(cells[0], cells=len(cells)))
    del values["overrides"]
    values["cell"] = ",".join(cell.cell for cell in cells)
    as_typed = (*verbatim_options(JobConfig), "cell")
    names = [
        name for name, value in values.items() if isinstance(value, str) and name not in as_typed
    ]
    overrides = ",".join(quoted(each) for each in cells[0].overrides)
    return [
        *quote_text([f"{name}={value}" for name, value in values.items()], names),
        f"overrides=[{overrides}]",
    ]


def _follow(process: subprocess.Popen[bytes], cells: Sequence[JobConfig]) -> None:
    """Wait for the launcher, and tell every cell that ends, wherever it runs."""
    ended: set[str] = set()
    running = True
    while running:
        running = process.poll() is None
        present = _present(cells)
        for cell in cells:
            if cell.cell not in ended and {cell.executed(), cell.error()} & present:
                ended.add(cell.cell)
                print(
                    f"{cell.cell}: {'failed' if cell.error() in present else 'done'} ({len(ended)} of {len(cells)} ended)",
                    flush=True,
                )
        time.sleep(POLL * running)


def _present(cells: Sequence[JobConfig]) -> set[Path]:
    """List the folder of the notebooks: on a network drive, asking for one file may give an answer of half a minute ago."""
    folder = cells[0].executed().parent
    return set(folder.iterdir()) if folder.is_dir() else set()


def check_all_done(cells: Sequence[JobConfig], code: int) -> None:
    """Check that every cell was executed.

    Raises:
        InputError: with every cell that was not, and why.
    """
    present = _present(cells)
    failed = [cell for cell in cells if cell.executed() not in present]
    silent = [cell.cell for cell in failed if cell.error() not in present]
    reasons = [
        f"{cell.cell}: {cell.error().read_text(encoding='utf-8').strip()}"
        for cell in failed
        if cell.error() in present
    ]
    if silent:
        reasons.append(
            f"{', '.join(silent)}: no message; the launcher ended with code {code}, see above and the logs in {cells[0].output_dir}."
        )
    if failed:
        text = "\n  ".join(
            [
                f"{len(failed)} of {len(cells)} cells failed. Run the same command again when the reason is mended.",
                *reasons,
            ]
        )
        raise InputError(text)
