"""`eg check`: does a tiny VLM show the paper's phenomenon?"""

from dataclasses import asdict
from pathlib import Path

from entropy_grounding.commands.command_line import hydra_command
from entropy_grounding.evaluation.archive import write_results
from entropy_grounding.evaluation.provenance import manifest
from entropy_grounding.tiny.check import CheckConfig, check, check_table


@hydra_command("check", CheckConfig)
def main(config: CheckConfig) -> None:
    """Print the table of required figures and store the rows behind it."""
    options = asdict(config)
    del options["results_dir"]  # where rows lie says nothing about them
    source = manifest(options)
    print(
        check_table(
            write_results(Path(config.results_dir) / config.vlm.name, check(config), source)
        )
    )
