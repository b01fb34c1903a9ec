"""One cell of an experiment, a VLM on a benchmark, as an executed notebook: what `rerun` launches through Hydra, here or on a cluster."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from entropy_grounding.core.config import register
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.processes import environment
from entropy_grounding.core.verbatim import Place
from entropy_grounding.experiments.papermill import execute

NOTEBOOK = "50_cell"


@dataclass(frozen=True)
class JobConfig:
    """Options of one cell, VLM/BENCHMARK; see `experiments.ExperimentConfig`, of which it takes names.

    Attributes:
        experiment_name: of ``conf/experiment``.
        run_name: of ``conf/run``.
        cell: VLM/BENCHMARK.
        only_method: variants of the experiment, joined by "+"; empty for all.
        overrides: of every evaluation.
        results_dir: rows.
        output_dir: executed notebooks.
        tracking_mode: of ``conf/tracking``.
        gpus: of this machine, of which the cell takes a free one; 0 leaves the choice to torch.
        cells: how many are launched together, for the message.
    """

    experiment_name: str = "table1"
    run_name: str = "mini"
    cell: str = "tiny_llava/mini_textvqa"
    only_method: str = ""
    overrides: tuple[str, ...] = ()
    results_dir: Place = "outputs/results"
    output_dir: Place = "outputs/rerun"
    tracking_mode: str = "offline"
    gpus: int = 0
    cells: int = 1

    def executed(self) -> Path:
        """Return where the executed notebook lies; it is there only when the whole cell went well."""
        return Path(self.output_dir) / self.experiment_name / f"{self.cell.replace('/', '_')}.ipynb"

    def error(self) -> Path:
        """Return where the reason lies when the cell failed."""
        return self.executed().with_suffix(".error.txt")

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the notebook."""
        vlm, _, benchmark = self.cell.partition("/")
        names = {
            "experiment": self.experiment_name,
            "run": self.run_name,
            "vlm": vlm,
            "benchmark": benchmark,
        }
        places = {
            "results_dir": str(Path(self.results_dir).resolve()),
            "method": self.only_method.replace("+", ","),
        }
        return {
            **names,
            **places,
            "overrides": list(self.overrides),
            "tracking": self.tracking_mode,
        }


register("cell_schema", JobConfig)


def run_job(config: JobConfig) -> Path:
    """Execute the notebook of a cell on a free GPU, and return its path.

    Raises:
        InputError: with the error of the notebook, which is kept beside, named ``*.failed.ipynb``.
    """
    with _free_gpu(config.gpus, Path(config.output_dir)):
        return execute(NOTEBOOK, config.executed(), config.parameters())


def gpu_names(count: int) -> list[str]:
    """Return what CUDA_VISIBLE_DEVICES calls the first ``count`` GPUs of this machine, of those that it names where it is set.

    Raises:
        InputError: when there are fewer.
    """
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = (
        [str(number) for number in range(count)]
        if given is None
        else [name for name in given.split(",") if name]
    )
    if count < 0:
        raise InputError(f"gpus is {count}: it must be at least 0.")
    if count > len(names):
        raise InputError(
            f"gpus is {count}, but CUDA_VISIBLE_DEVICES is '{given}': use at most {len(names)}."
        )
    return names[:count]


@contextmanager
def _free_gpu(gpus: int, folder: Path) -> Iterator[None]:
    """Show one GPU that no other cell of this machine uses; as many cells may run as there are GPUs."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in gpu_names(gpus):
        lock = FileLock(folder / f".gpu_{name.replace('/', '_')}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            continue
        try:
            with environment({"CUDA_VISIBLE_DEVICES": name}):
                yield
        finally:
            lock.release()
        return
    if gpus:
        raise InputError(
            f"All {gpus} GPUs are in use by other cells: set hydra.launcher.n_jobs to the number of GPUs."
        )
    yield
