"""`eg train`: train a tiny VLM."""

from entropy_grounding.commands.command_line import hydra_command
from entropy_grounding.tiny.train import TrainConfig, Trainer


@hydra_command("train", TrainConfig)
def main(config: TrainConfig) -> None:
    """Train the tiny VLM that the configuration describes."""
    print(Trainer(config).fit())
