"""The table about the least size of a picture, `vlm.min_pixels`."""

from pathlib import Path

import pandas as pd

from entropy_grounding.benchmarks.names import display_name
from entropy_grounding.evaluation.archive import stored_folder, stored_index, table_rows
from entropy_grounding.experiments.config import evaluations, load_experiment
from entropy_grounding.metrics.statistics import interval
from entropy_grounding.reporting.tables import sources
from entropy_grounding.vlm.config import VLMConfig
from entropy_grounding.vlm.load import open_checkpoint
from entropy_grounding.vlm.weights import short_identity

EXPERIMENT = "ablation_min_pixels"


def min_pixels_table(root: Path) -> str:
    """Return the Markdown table of the ablation of `vlm.min_pixels`, from the stored rows.

    It has one row per benchmark and least size: plain score, score with crops, and visual tokens of
    a question. Unlike other tables it shows the plain score of every variant, because a larger
    picture has another one.

    Args:
        root: folder of the repository.
    """
    results = root / "results" / "rows"
    setup = load_experiment(EXPERIMENT, "mini", results_dir=str(results))
    index = stored_index(results)

    lines, about = [], []
    for _, config in evaluations(setup):
        folder = stored_folder(config, index)
        if folder is None:
            continue

        rows, manifest = table_rows(folder)
        benchmark = display_name(config.benchmark.name)
        least = _least(config.vlm)
        lines.append({"miniature": benchmark, "least pixels": least, **_figures(rows)})
        about.append(
            {
                "vlm": config.vlm.name,
                "weights": short_identity(manifest),
                "commit": manifest["commit"],
                "n": len(rows),
            }
        )

    if len({line["least pixels"] for line in lines}) < 2:  # the reference alone
        return "Not run."
    table = pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)
    return f"{table}\n\n{sources(pd.DataFrame(about))}"


def _least(vlm: VLMConfig) -> str:
    """Return the least pixels of a picture as text."""
    if vlm.min_pixels is None:
        own = open_checkpoint(vlm).processor.image_processor.size["shortest_edge"]
        return f"the checkpoint's, {own:,}"
    raised = f" (at most {vlm.max_pixels:,})" if vlm.max_pixels else ""
    return f"{vlm.min_pixels:,}{raised}"


def _figures(rows: pd.DataFrame) -> dict[str, str]:
    """Return the scores of one evaluation, and its visual tokens."""
    tokens = rows["visual_tokens"].mean()

    return {
        "plain": _percent(rows["plain_score"]),
        "with crops": _percent(rows["score"]),
        "visual tokens of a question": "" if pd.isna(tokens) else f"{tokens:.0f}",
    }


def _percent(scores: pd.Series) -> str:
    """Return a mean in percent with its interval."""
    found = interval(scores.dropna().to_numpy(dtype=float))
    return f"{100 * found.mean:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"
