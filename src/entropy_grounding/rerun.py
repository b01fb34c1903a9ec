"""Run an experiment again, from a laptop to a cluster: every cell as an executed notebook, then the notebook of its table.

usage: python -m entropy_grounding.rerun experiment=table1 [run=mini] [vlm=A,B] [benchmark=A,B] [method=A,B] [--dry-run] ...

  experiment=NAME      one of conf/experiment (below)
  run=NAME             smoke (minutes, tiny VLMs, few examples), mini (tiny VLMs, miniatures, CPU), full (real checkpoints)
  vlm=A,B benchmark=A,B method=A,B   only these; the defaults are those of the experiment and run
  vlm.dtype=float16 method.regions.sigma=2.0 ...   any option of every evaluation (sections vlm, benchmark, method)
  results_dir=FOLDER   rows (outputs/results); what is complete there is not done again
  output_dir=FOLDER    executed notebooks (outputs/rerun)
  tracking=NAME        Weights & Biases: offline (beside the rows), online, disabled
  --dry-run            print the cells, what is missing, and the time that it will take

Where cells run is Hydra's launcher, one job a VLM and benchmark:

  (nothing)                                          one after the other
  hydra/launcher=joblib hydra.launcher.n_jobs=2      two processes
  gpus=4                                             four processes, each with a GPU of its own
  hydra/launcher=local                               submitit's local executor, on the CPU
  hydra/launcher=slurm hydra.launcher.partition=gpu  SLURM, an array job with one GPU a cell (docs/cluster.md)

Run the same command again to go on where it stopped; with --dry-run, in another terminal, it tells how far it is.
"""

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

from entropy_grounding.benchmarks import boxes_note
from entropy_grounding.cell import CellConfig, gpu_names
from entropy_grounding.commands import command
from entropy_grounding.configs import compose_config, quoted_arguments
from entropy_grounding.errors import InputError
from entropy_grounding.evaluation import results_folder
from entropy_grounding.experiments import (
    STORED,
    ExperimentConfig,
    composed,
    evaluations,
    experiments,
    stored_folder,
    stored_index,
)
from entropy_grounding.notebooks import execute, executed_with
from entropy_grounding.processes import PATIENCE, POLL, announce_parent
from entropy_grounding.results import coverage, load_rows
from entropy_grounding.verbatim import quote_text, quoted, verbatim_options

START = 12.0  # seconds that a cell takes before its first example


def main(arguments: Sequence[str]) -> None:
    """Parse the command line, check everything, run what is missing, and make the table."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__, "\n\nexperiments:", ", ".join(experiments()))
        return
    given = [each for each in arguments if each.startswith(("hydra/", "hydra."))]
    options = [each for each in arguments if each not in given and each != "--dry-run"]
    for each in options:
        if "=" not in each or each.startswith("-"):
            raise InputError(f"'{each}' is no option: use NAME=VALUE as in 'python -m entropy_grounding.rerun --help', or --dry-run.")
        if each.startswith(("run.", "experiment.")):
            raise InputError(
                f"'{each}' reaches no cell: copy the file in conf/{each.partition('.')[0]} under a new name and change it there."
            )
    setup = composed(quoted_arguments(options))
    launcher = launcher_options(setup.gpus, given)
    plan = planned(setup)
    print(plan_text(plan), flush=True)
    if "--dry-run" not in arguments:
        run(setup, plan, launcher)


def launcher_options(gpus: int, given: Sequence[str]) -> list[str]:
    """Return the options of Hydra's launcher: those given, after joblib's where each process has a GPU of its own.

    Raises:
        InputError: for a launcher or option that does not exist, and for more GPUs than there are.
    """
    if gpu_names(gpus) and any(each.startswith("hydra/launcher=") for each in given):
        raise InputError(f"gpus={gpus} starts processes of its own: leave it out, or hydra/launcher.")
    options = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={gpus}", *given] if gpus else list(given)
    compose_config(options, "cell", CellConfig)
    return options


def planned(setup: ExperimentConfig) -> pd.DataFrame:
    """Return what there is to do, a row a VLM, benchmark and variant: ``missing`` examples, and estimated ``seconds`` (NaN: unknown).

    Estimates are the mean seconds an example of rows of the same VLM, benchmark and method that came with the repository.
    """
    index = stored_index(setup.results_dir)
    lines = []
    for variant, config in evaluations(setup):
        complete = stored_folder(config, index) is not None
        examples, folder = config.benchmark.examples, results_folder(config)
        missing = 0 if complete else coverage(folder, examples).missing if folder.is_dir() else examples
        each = _seconds_each(config.vlm.name, config.benchmark.name, variant.method)
        names = {"vlm": config.vlm.name, "benchmark": config.benchmark.name, "method": variant.name}
        seconds = 0.0 if missing == 0 else each * (missing or float("nan"))
        lines.append({**names, "complete": complete, "missing": missing, "seconds": seconds, "note": boxes_note(config.benchmark)})
    return pd.DataFrame(lines)


def _seconds_each(vlm: str, benchmark: str, method: str) -> float:
    for name in (method, "entropy_gradient"):
        folder = STORED / "table1" / vlm / benchmark / name
        if (folder / "rows.parquet").is_file():
            return float(load_rows(folder)[0]["seconds"].mean())
    return float("nan")


def plan_text(plan: pd.DataFrame) -> str:
    """Return the plan as a table, a line a cell, with the time that it takes one process, and which data have no boxes."""
    cells = plan.groupby(["vlm", "benchmark"], sort=False)
    lines = [
        {
            "vlm": vlm,
            "benchmark": benchmark,
            "methods": len(rows),
            "complete": int(rows["complete"].sum()),
            "examples to do": "all" if rows["missing"].isna().any() else int(rows["missing"].sum()),
            "estimated": _duration(rows["seconds"].sum(skipna=False) + START * (not rows["complete"].all())),
        }
        for (vlm, benchmark), rows in cells
    ]
    total = plan["seconds"].sum(skipna=False) + START * sum(not rows["complete"].all() for _, rows in cells)
    table = pd.DataFrame(lines).to_markdown(index=False)
    notes = plan[plan["note"] != ""].groupby("note", sort=False)["benchmark"].unique()
    noted = "".join(f"{', '.join(names)}: {note}\n" for note, names in notes.items())
    return (
        f"{table}\n{noted}{len(lines)} cells, {int(plan['complete'].sum())} of {len(plan)} evaluations complete; "
        f"one process: {_duration(total)}"
    )


def _duration(seconds: float) -> str:
    if pd.isna(seconds):
        return "unknown"
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def run(setup: ExperimentConfig, plan: pd.DataFrame, launcher: Sequence[str]) -> None:
    """Launch the cells that are not complete, then execute the notebook of the table.

    Raises:
        InputError: when a cell failed; the others are done, and the table is not made.
    """
    cells = [_cell(setup, *pair) for pair, rows in plan.groupby(["vlm", "benchmark"], sort=False) if not is_done(_cell(setup, *pair), rows)]
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
    print(f"table: {execute(setup.experiment.notebook, target, {**parameters, 'run_dir': str(folder)})}")


def _cell(setup: ExperimentConfig, vlm: str, benchmark: str) -> CellConfig:
    return CellConfig(
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


def is_done(cell: CellConfig, rows: pd.DataFrame) -> bool:
    """Tell whether every evaluation of a cell is complete and its notebook was executed with the same parameters."""
    return bool(rows["complete"].all()) and executed_with(cell.executed()) == cell.parameters()


def _launch(cells: Sequence[CellConfig], launcher: Sequence[str]) -> int:
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


def command_line(cells: Sequence[CellConfig]) -> list[str]:
    """Return the options of `cell` that run these cells, which differ in nothing but their names."""
    values = asdict(replace(cells[0], cells=len(cells)))
    del values["overrides"]
    values["cell"] = ",".join(cell.cell for cell in cells)
    as_typed = (*verbatim_options(CellConfig), "cell")
    names = [name for name, value in values.items() if isinstance(value, str) and name not in as_typed]
    overrides = ",".join(quoted(each) for each in cells[0].overrides)
    return [*quote_text([f"{name}={value}" for name, value in values.items()], names), f"overrides=[{overrides}]"]


def _follow(process: subprocess.Popen[bytes], cells: Sequence[CellConfig]) -> None:
    """Wait for the launcher, and tell every cell that ends, wherever it runs."""
    ended: set[str] = set()
    running = True
    while running:
        running = process.poll() is None
        present = _present(cells)
        for cell in cells:
            if cell.cell not in ended and {cell.executed(), cell.error()} & present:
                ended.add(cell.cell)
                print(f"{cell.cell}: {'failed' if cell.error() in present else 'done'} ({len(ended)} of {len(cells)} ended)", flush=True)
        time.sleep(POLL * running)


def _present(cells: Sequence[CellConfig]) -> set[Path]:
    """List the folder of the notebooks: on a network drive, asking for one file may give an answer of half a minute ago."""
    folder = cells[0].executed().parent
    return set(folder.iterdir()) if folder.is_dir() else set()


def check_all_done(cells: Sequence[CellConfig], code: int) -> None:
    """Check that every cell was executed.

    Raises:
        InputError: with every cell that was not, and why.
    """
    present = _present(cells)
    failed = [cell for cell in cells if cell.executed() not in present]
    silent = [cell.cell for cell in failed if cell.error() not in present]
    reasons = [f"{cell.cell}: {cell.error().read_text(encoding='utf-8').strip()}" for cell in failed if cell.error() in present]
    if silent:
        reasons.append(
            f"{', '.join(silent)}: no message; the launcher ended with code {code}, see above and the logs in {cells[0].output_dir}."
        )
    if failed:
        text = "\n  ".join([f"{len(failed)} of {len(cells)} cells failed. Run the same command again when the reason is mended.", *reasons])
        raise InputError(text)


if __name__ == "__main__":
    command(lambda: main(sys.argv[1:]))
