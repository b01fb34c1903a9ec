"""`eg calibrate`: choose the thresholds of the gate."""

import pandas as pd

from entropy_grounding.commands.command_line import hydra_command
from entropy_grounding.evaluation.validation import CalibrateConfig, run


@hydra_command("calibrate", CalibrateConfig)
def main(config: CalibrateConfig) -> None:
    """Calibrate, and print the thresholds."""
    found = run(config)
    for name, chosen in (
        ("threshold", found.threshold),
        ("settle", found.settle),
        ("accept", {"accept": found.accept}),
    ):
        print(f"\n{name}\n{pd.DataFrame(chosen).round(3).to_string()}")
