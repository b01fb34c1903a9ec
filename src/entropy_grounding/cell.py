"""One cell of an experiment, a VLM on a benchmark, as an executed notebook: what `rerun` launches through Hydra, here or on a cluster."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from filelock import FileLock, Timeout

from entropy_grounding.configs import CONF_DIR, build, register
from entropy_grounding.errors import InputError
from entropy_grounding.notebooks import execute
from entropy_grounding.processes import environment

NOTEBOOK = "50_cell"


@dataclass(frozen=True)
class CellConfig:
    """Options of one cell, VLM/BENCHMARK; see `experiments.ExperimentConfig`, of which it takes names (methods joined by "+")."""

    experiment_name: str = "table1"
    run_name: str = "mini"
    cell: str = "tiny_llava/mini_textvqa"
    only_method: str = ""
    overrides: tuple[str, ...] = ()
    results_dir: str = "outputs/results"
    output_dir: str = "outputs/rerun"
    tracking_mode: str = "offline"
    gpus: int = 0


register("cell_schema", CellConfig)


def executed_notebook(output_dir: str | Path, experiment: str, vlm: str, benchmark: str) -> Path:
    """Return where the executed notebook of a cell lies; it is there only when the whole cell went well."""
    return Path(output_dir) / experiment / f"{vlm}_{benchmark}.ipynb"


def run_cell(config: CellConfig) -> Path:
    """Execute the notebook of a cell on a free GPU, and return its path.

    Raises:
        InputError: with the error of the notebook, which is kept beside, named ``*.failed.ipynb``.
    """
    vlm, _, benchmark = config.cell.partition("/")
    names = {"experiment": config.experiment_name, "run": config.run_name, "vlm": vlm, "benchmark": benchmark}
    places = {"results_dir": str(Path(config.results_dir).resolve()), "method": config.only_method.replace("+", ",")}
    parameters = {**names, **places, "overrides": list(config.overrides), "tracking": config.tracking_mode}
    target = executed_notebook(config.output_dir, config.experiment_name, vlm, benchmark)
    with _free_gpu(config.gpus, Path(config.output_dir)):
        return execute(NOTEBOOK, target, parameters)


@contextmanager
def _free_gpu(gpus: int, folder: Path) -> Iterator[None]:
    """Show one GPU that no other cell of this machine uses; as many cells may run as there are GPUs."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(gpus):
        lock = FileLock(folder / f".gpu_{number}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            continue
        try:
            with environment({"CUDA_VISIBLE_DEVICES": str(number)}):
                yield
        finally:
            lock.release()
        return
    if gpus:
        raise InputError(f"All {gpus} GPUs are in use by other cells: set hydra.launcher.n_jobs to the number of GPUs.")
    yield


@hydra.main(config_path=str(CONF_DIR), config_name="cell", version_base="1.3")
def main(config: Any) -> None:
    """Run one cell; a failure is told and leaves the other cells alone."""
    options = build(CellConfig, config)
    try:
        print(f"{options.cell}: {run_cell(options)}", flush=True)
    except InputError as error:
        print(f"error: {options.cell}: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
