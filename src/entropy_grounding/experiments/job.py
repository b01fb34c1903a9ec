"""A job of an experiment: one VLM on one benchmark, run as a notebook.

``eg rerun`` launches one job per VLM and benchmark through Hydra, on this machine or on a cluster.
"""

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
    """Options of one job. They hold names; `ExperimentConfig` holds what the names stand for.

    Attributes:
        experiment_name: a name of ``conf/experiment``.
        run_name: a name of ``conf/run``.
        cell: the VLM and the benchmark of the job, as VLM/BENCHMARK.
        only_method: variants of the experiment, joined by "+"; empty for all.
        overrides: Hydra overrides of every evaluation.
        results_dir: the folder of the rows.
        output_dir: the folder of the executed notebooks.
        tracking_mode: a name of ``conf/tracking``.
        gpus: the number of GPUs of this machine. The job takes a free GPU. 0 leaves the choice to
            torch.
        cells: the number of jobs that are launched together, for the message.
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
        """Return the path of the executed notebook.

        The file exists only after the whole job has succeeded.
        """
        return Path(self.output_dir) / self.experiment_name / f"{self.cell.replace('/', '_')}.ipynb"

    def error(self) -> Path:
        """Return the path of the file that says why the job failed."""
        return self.executed().with_suffix(".error.txt")

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the notebook."""
        vlm, _, benchmark = self.cell.partition("/")

        return {
            "experiment": self.experiment_name,
            "run": self.run_name,
            "vlm": vlm,
            "benchmark": benchmark,
            # Absolute, because the notebook may run in another folder.
            "results_dir": str(Path(self.results_dir).resolve()),
            # The option joins names by "+": on Hydra's command line, commas separate jobs.
            "method": self.only_method.replace("+", ","),
            "overrides": list(self.overrides),
            "tracking": self.tracking_mode,
        }


register("job_schema", JobConfig)


def run_job(config: JobConfig) -> Path:
    """Execute the notebook of a job on a free GPU, and return its path.

    Raises:
        InputError: when the notebook fails, with its error. The notebook is kept beside the path,
            with the name ``*.failed.ipynb``.
    """
    with _free_gpu(config.gpus, Path(config.output_dir)):
        return execute(NOTEBOOK, config.executed(), config.parameters())


def gpu_names(count: int) -> list[str]:
    """Return the names of the first GPUs of this machine, as CUDA_VISIBLE_DEVICES writes them.

    Where this variable is set, only the GPUs that it names are counted.

    Args:
        count: the number of GPUs.

    Raises:
        InputError: when there are fewer GPUs.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        names = [str(number) for number in range(count)]
    else:
        names = [name for name in visible.split(",") if name]

    if count < 0:
        raise InputError(f"gpus is {count}: it must be at least 0.")

    if count > len(names):
        raise InputError(
            f"gpus is {count}, but CUDA_VISIBLE_DEVICES is '{visible}': use at most {len(names)}."
        )

    return names[:count]


@contextmanager
def _free_gpu(gpus: int, folder: Path) -> Iterator[None]:
    """Make one GPU visible that no other job of this machine uses.

    A lock file in ``folder`` marks a GPU as used, so at most ``gpus`` jobs run at the same time.
    """
    folder.mkdir(parents=True, exist_ok=True)

    for name in gpu_names(gpus):
        lock = FileLock(folder / f".gpu_{name.replace('/', '_')}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            # Another job has this GPU.
            continue

        try:
            with environment({"CUDA_VISIBLE_DEVICES": name}):
                yield
        finally:
            lock.release()
        return

    if gpus:
        raise InputError(
            f"All {gpus} GPUs are in use by other cells: "
            "set hydra.launcher.n_jobs to the number of GPUs."
        )

    # Without a number of GPUs, torch chooses the device.
    yield
