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
    """Return the options of Hydra's launcher.

    Where each process has a GPU of its own, the options of joblib come before those given.

    Args:
        gpus: the number of GPUs of this machine that the jobs use; 0 leaves the choice to torch.
        given: options of the command line.

    Raises:
        InputError: for a launcher or option that does not exist, and for more GPUs than there are.
    """
    names = gpu_names(gpus)
    if names and any(option.startswith("hydra/launcher=") for option in given):
        raise InputError(
            f"gpus={gpus} starts processes of its own: leave it out, or hydra/launcher."
        )

    options = list(given)
    if gpus:
        options = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={gpus}", *options]

    # A wrong option is an error here, before any job starts.
    compose_config(options, "job", JobConfig)
    return options


def run(setup: ExperimentConfig, plan: pd.DataFrame, launcher: Sequence[str]) -> None:
    """Launch the jobs that are not complete, then execute the notebook of the table.

    Args:
        setup: the experiment.
        plan: the table of `planned`.
        launcher: the options of `launcher_options`.

    Raises:
        InputError: when a job failed. The other jobs are done then, and the table is not made.
    """
    jobs = []
    for (vlm, benchmark), rows in plan.groupby(["vlm", "benchmark"], sort=False):
        job = _cell(setup, vlm, benchmark)
        if not is_done(job, rows):
            jobs.append(job)

    if jobs:
        check_all_done(jobs, _launch(jobs, launcher))

    _make_table(setup)


def _make_table(setup: ExperimentConfig) -> None:
    """Execute the notebook of the table, and print its path."""
    folder = Path(setup.output_dir).resolve() / setup.experiment.name
    target = folder / f"{setup.experiment.notebook}.ipynb"
    parameters = {
        "run": setup.run.name,
        "results_dir": str(Path(setup.results_dir).resolve()),
        "overrides": list(setup.changes()),
        "tracking": setup.tracking_mode,
        "vlm": ",".join(setup.only_vlm),
        "benchmark": ",".join(setup.only_benchmark),
        "method": ",".join(setup.only_method),
        "run_dir": str(folder),
    }

    print(f"{setup.experiment.notebook}: starts", flush=True)
    print(f"table: {execute(setup.experiment.notebook, target, parameters)}")


def _cell(setup: ExperimentConfig, vlm: str, benchmark: str) -> JobConfig:
    """Return the job of one VLM and benchmark."""
    return JobConfig(
        experiment_name=setup.experiment.name,
        run_name=setup.run.name,
        cell=f"{vlm}/{benchmark}",
        only_method="+".join(setup.only_method),
        overrides=setup.changes(),
        # Jobs may run in other folders.
        results_dir=str(Path(setup.results_dir).resolve()),
        output_dir=str(Path(setup.output_dir).resolve()),
        tracking_mode=setup.tracking_mode,
        gpus=setup.gpus,
    )


def is_done(cell: JobConfig, rows: pd.DataFrame) -> bool:
    """Tell whether nothing of a job is left to do.

    Args:
        cell: the job.
        rows: the rows of `planned` of this job.

    Returns:
        True if every evaluation is complete, and the notebook was executed with these parameters.
    """
    return bool(rows["complete"].all()) and executed_with(cell.executed()) == cell.parameters()


def _launch(cells: Sequence[JobConfig], launcher: Sequence[str]) -> int:
    """Run the jobs with Hydra's launcher, print which are done, and return its exit code."""
    # Files of an earlier run would tell that a job has ended.
    for job in cells:
        job.executed().unlink(missing_ok=True)
        job.error().unlink(missing_ok=True)

    process = subprocess.Popen(
        [sys.executable, "-m", "entropy_grounding", "job", "-m", *command_line(cells), *launcher],
        env=os.environ | announce_parent(),
        # Signals of the terminal reach this process only. `_end` passes them on to the jobs.
        start_new_session=True,
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
    """Tell the launcher and its jobs to end. They first store what is finished.

    Processes that are still there after some time are killed, so none of them is left.
    """
    started = psutil.Process().children(recursive=True)
    process.terminate()

    # The jobs have `PATIENCE` seconds, and the launcher ends after them: wait twice as long.
    try:
        process.wait(timeout=2 * PATIENCE)
    except subprocess.TimeoutExpired:
        pass
    finally:
        for child in started:
            with suppress(psutil.Error):
                child.kill()
        process.wait()


def command_line(cells: Sequence[JobConfig]) -> list[str]:
    """Return the options of ``eg job`` that run these jobs.

    The jobs differ in nothing but their names, so one list of options is enough for all.
    """
    values = asdict(replace(cells[0], cells=len(cells)))
    del values["overrides"]

    # Hydra's multirun starts one job per name between commas.
    values["cell"] = ",".join(job.cell for job in cells)

    # `eg job` quotes its places itself, and the names of the jobs must stay a list.
    unquoted = (*verbatim_options(JobConfig), "cell")
    options, texts = [], []
    for name, value in values.items():
        options.append(f"{name}={value}")
        if isinstance(value, str) and name not in unquoted:
            texts.append(name)

    overrides = ",".join(quoted(override) for override in cells[0].overrides)
    return [*quote_text(options, texts), f"overrides=[{overrides}]"]


def _follow(process: subprocess.Popen[bytes], cells: Sequence[JobConfig]) -> None:
    """Wait for the launcher, and print a line for every job that ends, wherever it runs."""
    ended: set[str] = set()
    running = True

    while running:
        # The folder is read after this, so the last round sees the jobs that ended last.
        running = process.poll() is None
        present = _present(cells)

        for job in cells:
            if job.cell not in ended and {job.executed(), job.error()} & present:
                ended.add(job.cell)
                state = "failed" if job.error() in present else "done"
                print(f"{job.cell}: {state} ({len(ended)} of {len(cells)} ended)", flush=True)

        time.sleep(POLL * running)


def _present(cells: Sequence[JobConfig]) -> set[Path]:
    """Return the files in the folder of the executed notebooks.

    The whole folder is listed, because a network drive may answer a question about one file with
    the state of half a minute ago.
    """
    folder = cells[0].executed().parent
    return set(folder.iterdir()) if folder.is_dir() else set()


def check_all_done(cells: Sequence[JobConfig], code: int) -> None:
    """Check that every job was executed.

    Args:
        cells: the jobs.
        code: the exit code of the launcher.

    Raises:
        InputError: when a job was not executed; it names every such job and the reason.
    """
    present = _present(cells)
    failed = [job for job in cells if job.executed() not in present]
    if not failed:
        return

    silent, reasons = [], []
    for job in failed:
        if job.error() in present:
            reasons.append(f"{job.cell}: {job.error().read_text(encoding='utf-8').strip()}")
        else:
            silent.append(job.cell)

    # A job that was killed leaves no file with a reason.
    if silent:
        reasons.append(
            f"{', '.join(silent)}: no message; the launcher ended with code {code}, "
            f"see above and the logs in {cells[0].output_dir}."
        )

    head = (
        f"{len(failed)} of {len(cells)} cells failed. "
        "Run the same command again when the reason is mended."
    )
    raise InputError("\n  ".join([head, *reasons]))
