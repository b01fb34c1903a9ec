"""`eg publish`: pack finished evaluations into the committed results."""

from argparse import Namespace
from pathlib import Path

from entropy_grounding.commands.command_line import command
from entropy_grounding.core.verbatim import expanded
from entropy_grounding.evaluation.archive import publish


def main(options: Namespace) -> None:
    """Pack the evaluations of each folder, and name what was packed."""
    command(lambda: run(options))


def run(options: Namespace) -> None:
    """Pack the evaluations of each folder."""
    for folder in options.folders:
        place = Path(expanded(folder))
        experiment = options.experiment or experiment_of(place)
        for path in publish(place, experiment, Path(expanded(options.results))):
            print(f"packed: {path}", flush=True)


def experiment_of(folder: Path) -> str:
    """Return the name of the experiment that a folder below ``outputs/results`` belongs to."""
    parts = folder.resolve().parts
    if "results" in parts[:-1]:
        last = len(parts) - 1 - parts[::-1].index("results")
        return parts[last + 1] if last + 1 < len(parts) else folder.name

    return folder.resolve().name
