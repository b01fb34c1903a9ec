"""`eg calibrate`: choose the thresholds of the gate."""

import pandas as pd

from entropy_grounding.commands.command_line import hydra_command
from entropy_grounding.core.paths import CONF_DIR
from entropy_grounding.evaluation.validation import CalibrateConfig, run
from entropy_grounding.method.gate import OF_ALL, calibration_path


@hydra_command("calibrate", CalibrateConfig)
def main(config: CalibrateConfig) -> None:
    """Calibrate, and print the thresholds."""
    calibration = run(config)
    print(f"written: {calibration_path(config.vlm.name).relative_to(CONF_DIR.parent)}")

    tables = {
        "threshold": calibration.threshold,
        "settle": calibration.settle,
        "accept": {"accept": calibration.accept},
    }
    for name, values in tables.items():
        print(f"\n{name}\n{pd.DataFrame(values).round(3).to_string()}")

    budgets = pd.DataFrame(calibration.budgets[OF_ALL])
    print(f"\nbudgets, for all benchmarks\n{budgets.round(3).to_string(index=False)}")
