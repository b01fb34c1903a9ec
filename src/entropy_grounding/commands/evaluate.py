"""`eg evaluate`: one VLM, one benchmark, one method."""

from entropy_grounding.commands.command_line import hydra_command
from entropy_grounding.evaluation.config import EvaluateConfig, results_folder
from entropy_grounding.evaluation.coverage import missing_text
from entropy_grounding.evaluation.run import check_answered, evaluate
from entropy_grounding.reporting.tables import published_line, score_line


@hydra_command("evaluate", EvaluateConfig)
def main(config: EvaluateConfig) -> None:
    """Evaluate, and print the score with its interval.

    Raises:
        InputError: for what cannot be evaluated, and where no example has a score; in a multirun
            the other evaluations go on.
    """
    rows = evaluate(config)
    folder = results_folder(config)
    print(score_line(rows), flush=True)
    if published := published_line(rows, config.benchmark.kind):
        print(published, flush=True)
    print(f"rows: {folder}", flush=True)
    if missing := missing_text(folder):
        print(missing, flush=True)
    check_answered(rows, config)
