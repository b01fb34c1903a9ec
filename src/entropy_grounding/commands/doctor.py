"""`eg doctor`: can this evaluation run here?"""

import sys
from argparse import Namespace

from entropy_grounding.commands.command_line import hydra_command
from entropy_grounding.core.errors import InputError
from entropy_grounding.evaluation.config import EvaluateConfig, resolved
from entropy_grounding.experiments.doctor import Doctor, Finding

MEASURE = "--measure"


def main(options: Namespace) -> None:
    """Check everything that an evaluation needs, before anything is loaded."""
    # Hydra reads the arguments of this process, and knows no such flag.
    measure = MEASURE in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != MEASURE]

    @hydra_command("evaluate", EvaluateConfig)
    def examine(config: EvaluateConfig) -> None:
        _examine(config, measure=measure)

    examine(options)


def _examine(config: EvaluateConfig, *, measure: bool) -> None:
    """Print every finding, and whether the evaluation can run.

    Raises:
        InputError: naming what is wrong, if something is.
    """
    wrong = []
    for found in Doctor().examine(resolved(config), measure=measure):
        print(f"{_mark(found)}  {found.name:<10} {found.value or found.remedy}", flush=True)
        if found.remedy:
            wrong.append(found.name)
        if found.remedy and found.value:
            print(f"    {'':<10} {found.remedy}", flush=True)

    if wrong:
        raise InputError(f"no-go: {', '.join(wrong)}; the remedies stand above.")
    print("go")


def _mark(found: Finding) -> str:
    """Return two letters that say what a check found."""
    if not found.looked:
        return "--"
    return "NO" if found.remedy else "ok"
