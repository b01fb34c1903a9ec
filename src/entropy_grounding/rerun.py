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
  hydra/launcher=local                               submitit's local executor
  hydra/launcher=slurm hydra.launcher.partition=gpu  SLURM, an array job with one GPU a cell (docs/cluster.md)

Run the same command again to go on where it stopped.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from entropy_grounding.cell import executed_notebook
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
from entropy_grounding.notebooks import execute
from entropy_grounding.results import load_rows, stored_rows

START = 12.0  # seconds that a cell takes before its first example


def main(arguments: Sequence[str]) -> None:
    """Parse the command line, check everything, run what is missing, and make the table."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__, "\n\nexperiments:", ", ".join(experiments()))
        return
    launcher = [each for each in arguments if each.startswith(("hydra/", "hydra."))]
    setup = composed([each for each in arguments if each not in launcher and each != "--dry-run"])
    plan = planned(setup)
    print(plan_text(plan), flush=True)
    if "--dry-run" not in arguments:
        run(setup, plan, launcher)


def planned(setup: ExperimentConfig) -> pd.DataFrame:
    """Return what there is to do, a row a VLM, benchmark and variant: ``missing`` examples, and estimated ``seconds`` (NaN: unknown).

    Estimates are the mean seconds an example of rows of the same VLM, benchmark and method that came with the repository.
    """
    index = stored_index(setup.results_dir)
    lines = []
    for variant, config in evaluations(setup):
        complete = stored_folder(config, index) is not None
        examples = config.benchmark.examples
        stored = 0 if complete or not results_folder(config).is_dir() else len(stored_rows(results_folder(config)))
        missing = 0 if complete else None if examples is None else max(examples - stored, 0)
        each = _seconds_each(config.vlm.name, config.benchmark.name, variant.method)
        names = {"vlm": config.vlm.name, "benchmark": config.benchmark.name, "method": variant.name}
        lines.append({**names, "complete": complete, "missing": missing, "seconds": 0.0 if complete else each * (missing or float("nan"))})
    return pd.DataFrame(lines)


def _seconds_each(vlm: str, benchmark: str, method: str) -> float:
    for name in (method, "entropy_gradient"):
        folder = STORED / "table1" / vlm / benchmark / name
        if (folder / "rows.parquet").is_file():
            return float(load_rows(folder)[0]["seconds"].mean())
    return float("nan")


def plan_text(plan: pd.DataFrame) -> str:
    """Return the plan as a table, a line a cell, with the time that it takes one process."""
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
    return (
        f"{table}\n{len(lines)} cells, {int(plan['complete'].sum())} of {len(plan)} evaluations complete; one process: {_duration(total)}"
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
    todo = [pair for pair, rows in plan.groupby(["vlm", "benchmark"], sort=False) if not _is_done(setup, pair, rows)]
    if todo:
        _launch(setup, todo, launcher)
    failed = [f"{vlm} {benchmark}" for vlm, benchmark in todo if not _notebook(setup, vlm, benchmark).is_file()]
    if failed:
        raise InputError(f"{len(failed)} of {len(todo)} cells failed ({', '.join(failed)}): their errors are above; run the command again.")
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
    print(f"table: {execute(setup.experiment.notebook, target, {**parameters, 'run_dir': str(folder)})}")


def _notebook(setup: ExperimentConfig, vlm: str, benchmark: str) -> Path:
    return executed_notebook(setup.output_dir, setup.experiment.name, vlm, benchmark)


def _is_done(setup: ExperimentConfig, pair: tuple[str, str], rows: pd.DataFrame) -> bool:
    return bool(rows["complete"].all()) and _notebook(setup, *pair).is_file()


def _launch(setup: ExperimentConfig, cells: Sequence[tuple[str, str]], launcher: Sequence[str]) -> None:
    """Run cells as jobs of Hydra's launcher."""
    parallel = [] if launcher or not setup.gpus else ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={setup.gpus}"]
    options = {"experiment_name": setup.experiment.name, "run_name": setup.run.name, "tracking_mode": setup.tracking_mode}
    options |= {name: f"'{Path(getattr(setup, name)).resolve()}'" for name in ("results_dir", "output_dir")}  # jobs run in other folders
    options |= {"gpus": str(setup.gpus)}
    options |= {"cell": ",".join(f"{vlm}/{benchmark}" for vlm, benchmark in cells), "only_method": "+".join(setup.only_method) or "''"}
    quoted = ",".join("'" + each.replace("'", "\\'") + "'" for each in setup.overrides)
    command = [sys.executable, "-m", "entropy_grounding.cell", "-m", *(f"{key}={value}" for key, value in options.items())]
    subprocess.run([*command, f"overrides=[{quoted}]", *parallel, *launcher], check=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.exit(f"error: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: the launcher ended with code {error.returncode}; its message is above. Run the same command again to go on.")
    except KeyboardInterrupt:
        sys.exit("interrupted: every finished example is stored; run the same command again to go on.")
