"""`eg rerun`: run an experiment again, from a laptop to a cluster.

Every VLM and benchmark becomes an executed notebook; the notebook of the table follows.
"""

from argparse import Namespace
from collections.abc import Sequence

from entropy_grounding.commands.command_line import command
from entropy_grounding.core.config import quoted_arguments
from entropy_grounding.core.errors import InputError
from entropy_grounding.experiments.config import composed
from entropy_grounding.experiments.launch import launcher_options, run
from entropy_grounding.experiments.plan import plan_text, planned


def main(options: Namespace) -> None:
    """Check everything, run what is missing, and make the table."""
    command(lambda: rerun(options.arguments))


def rerun(arguments: Sequence[str]) -> None:
    """Run an experiment from the arguments of a command line.

    Raises:
        InputError: for options that it does not take, and for jobs that failed.
    """
    given = [each for each in arguments if each.startswith(("hydra/", "hydra."))]
    options = [each for each in arguments if each not in given and each != "--dry-run"]
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

    if "--dry-run" not in arguments:
        run(setup, plan, launcher)
