"""`eg rerun`: run an experiment again, from a laptop to a cluster.

Every VLM and benchmark becomes an executed notebook; the notebook of the table follows.
"""

from argparse import Namespace
from collections.abc import Sequence

import pandas as pd

from entropy_grounding.commands.command_line import command
from entropy_grounding.core.config import quoted_arguments
from entropy_grounding.core.errors import InputError
from entropy_grounding.experiments.config import ExperimentConfig, composed, evaluations
from entropy_grounding.experiments.doctor import check_all
from entropy_grounding.experiments.launch import launcher_options, run
from entropy_grounding.experiments.plan import plan_text, planned

DRY_RUN, NO_DOCTOR = FLAGS = ("--dry-run", "--no-doctor")


def main(options: Namespace) -> None:
    """Check everything, run what is missing, and make the table."""
    command(lambda: rerun(options.arguments))


def rerun(arguments: Sequence[str]) -> None:
    """Run an experiment from the arguments of a command line.

    Raises:
        InputError: for options that it does not take, and for jobs that failed.
    """
    given = [each for each in arguments if each.startswith(("hydra/", "hydra."))]
    options = [each for each in arguments if each not in (*given, *FLAGS)]
    for each in options:
        if each.startswith(("run.", "experiment.")):
            raise InputError(
                f"'{each}' reaches no cell: copy the file in conf/{each.partition('.')[0]} under a "
                "new name and change it there."
            )

    setup = composed(quoted_arguments(options))
    launcher = launcher_options(setup.gpus, given)
    plan = planned(setup)
    print(plan_text(plan, setup.results_dir), flush=True)

    if DRY_RUN in arguments:
        return
    if NO_DOCTOR not in arguments:
        _check(setup, plan)
    run(setup, plan, launcher)


def _check(setup: ExperimentConfig, plan: pd.DataFrame) -> None:
    """Refuse to start where an evaluation that is missing cannot run.

    Raises:
        InputError: with every remedy.
    """
    complete = plan.set_index(["vlm", "benchmark", "method"])["complete"]
    missing = []
    for variant, config in evaluations(setup):
        if not complete[config.vlm.name, config.benchmark.name, variant.name]:
            missing.append(config)

    print(f"doctor: {check_all(missing)} cells can run", flush=True)
