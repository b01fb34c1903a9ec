"""`eg export`: a benchmark as a task of lmms-eval."""

from entropy_grounding.commands.command_line import hydra_command
from entropy_grounding.harness.export import ExportConfig, export


@hydra_command("export", ExportConfig)
def main(config: ExportConfig) -> None:
    """Write the rows and the task, and name the files.

    Raises:
        InputError: for what cannot be exported.
    """
    for path in export(config):
        print(f"written: {path}", flush=True)
