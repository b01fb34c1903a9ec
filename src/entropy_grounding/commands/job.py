"""`eg job`: one VLM on one benchmark, as `eg rerun` launches it."""

import signal
import sys
from argparse import Namespace
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from entropy_grounding.commands.command_line import command, run_hydra
from entropy_grounding.core.config import build
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.paths import CONF_DIR
from entropy_grounding.core.processes import TERMINATED, end_together, end_with_parent, is_ending
from entropy_grounding.experiments.job import JobConfig, run_job


@hydra.main(config_path=str(CONF_DIR), config_name="job", version_base="1.3")
def job(config: Any) -> None:
    """Run one job. Its failure is told, and the other jobs go on.

    A cluster that takes its node back tells every process to end, also that of the notebook, and
    runs the job again.
    """
    _end_when_told()
    if is_ending():
        sys.exit(TERMINATED)

    options = build(JobConfig, config)
    options.error().unlink(missing_ok=True)
    launched = HydraConfig.get().job
    number = 0 if OmegaConf.is_missing(launched, "num") else launched.num
    print(f"{options.cell}: starts ({number + 1} of {options.cells})", flush=True)
    try:
        run_job(options)
    except InputError as error:
        print(f"{options.cell}: error: {error}", file=sys.stderr, flush=True)
        options.error().parent.mkdir(parents=True, exist_ok=True)
        options.error().write_text(f"{error}\n", encoding="utf-8")


def _end_when_told() -> None:
    """End with the process that started this one.

    On SIGTERM the notebooks below store their rows first.
    """
    signal.signal(signal.SIGTERM, end_together)
    end_with_parent()


def main(_: Namespace) -> None:
    """Run the jobs of a command line with the launcher that it names."""
    command(_launch, started_by_another=True)


def _launch() -> None:
    _end_when_told()
    run_hydra(job, JobConfig)
