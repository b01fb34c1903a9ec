"""`eg ground`: answer one question about one image."""

import sys
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from PIL import Image

from entropy_grounding.app.output import to_record, write_figure, write_outputs, writing_outputs
from entropy_grounding.app.question import (
    GroundConfig,
    load_task,
    run,
    warn_cut_off,
    warn_unknown_words,
)
from entropy_grounding.commands.command_line import hydra_command
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.records import STOP_REASONS, Grounding
from entropy_grounding.tracking import log_grounding, tracked_run
from entropy_grounding.vlm.load import load_vlm


@hydra_command("ground", GroundConfig)
def main(config: GroundConfig) -> None:
    """Answer one question about one image.

    The answers are printed first, then figure, JSON and crops are written, then all is logged.
    """
    matplotlib.use("Agg")
    task = load_task(config)
    vlm = load_vlm(config.vlm)
    folder = Path(config.run_dir)
    with writing_outputs(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if warning := warn_unknown_words(vlm, task.question):
        print(f"warning: {warning}", file=sys.stderr)

    grounding = run(vlm, task, config)
    print(f"question       {grounding.question}")
    print(f"plain answer   {grounding.plain_answer}")
    print(
        f"zoomed answer  {grounding.answer}" + (f"   (truth: {task.truth})" if task.truth else "")
    )
    print(
        f"stopped        after {len(grounding.steps)} rounds: "
        f"{STOP_REASONS[grounding.stop_reason]}",
        flush=True,
    )
    if warning := warn_cut_off(grounding, config.max_new_tokens):
        print(f"warning: {warning}", file=sys.stderr)

    record = to_record(grounding, config, task, vlm)
    written = write_outputs(folder, grounding, task.image, record)
    figure, failed = _figure(folder, grounding, task.image)
    print(
        "written        "
        + "  ".join(
            str(path) for path in [*written, *([folder / "grounding.png"] if figure else [])]
        ),
        flush=True,
    )

    labels = {name: record[name] for name in ("vlm", "method", "weights", "commit")}
    with tracked_run(
        config.tracking,
        folder,
        job_type="ground",
        config=labels,
        name=config.vlm.name,
        tags=[config.vlm.name, record["commit"]],
    ) as tracked:
        log_grounding(tracked, grounding, figure)
    if failed:
        raise failed


def _figure(
    folder: Path, grounding: Grounding, image: Image.Image
) -> tuple[Figure | None, InputError | None]:
    """Return the figure, or why there is none."""
    try:
        return write_figure(folder, grounding, image), None
    except InputError as error:
        return None, error
