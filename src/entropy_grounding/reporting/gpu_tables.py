"""Tables about what was measured and checked on a GPU, on models in the released sizes."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from entropy_grounding.evaluation.archive import read_summary
from entropy_grounding.experiments.estimate import GPU_PASSES
from entropy_grounding.profiling.random_vlm import SHAPES
from entropy_grounding.profiling.released import (
    GPU_CHECKS,
    GPU_LIMITS,
    NOT_RUN,
    TWIN,
    released_table,
)

# Lines of the table of checks: the test, the figures that a cell shows, and what they are.
CHECKS = (
    (
        "the_gradient_is_that_of_finite_differences",
        ("gradient", "finite_difference"),
        "gradient, finite difference (2 layers, float32)",
    ),
    (
        "a_map_in_bfloat16_ranks_tokens_as_in_float32",
        ("rank_correlation",),
        "map in bfloat16 and in float32, rank correlation (8 layers)",
    ),
    (
        "checkpointing_gives_the_same_map_with_less_memory",
        ("largest_difference",),
        "map with checkpointing and without, largest difference / peak of the map",
    ),
    (
        "another_kernel_gives_the_map_of_sdpa[eager]",
        ("cosine",),
        "map of eager attention and of sdpa, cosine",
    ),
    (
        "another_kernel_gives_the_map_of_sdpa[flash_attention_2]",
        ("cosine",),
        "map of flash attention and of sdpa, cosine",
    ),
    (
        "logits_are_finite_and_hidden_states_keep_their_scale",
        ("hidden_first", "hidden_last"),
        "scale of hidden states, first and last layer",
    ),
    (
        "a_grounding_at_the_budgets_of_the_paper_fits",
        ("peak_gb_grounding",),
        "a grounding of three rounds with checkpointing fits, peak in GB",
    ),
)


def gpu_figures(root: Path) -> str:
    """Return the Markdown table of what passes cost on GPUs, and what it was measured with.

    Args:
        root: folder of the repository.
    """
    rows = read_summary(root / "results" / "measured" / GPU_PASSES)
    if rows.empty or set(rows["device"]) == {TWIN}:
        return "Not run."

    measured = rows[rows["device"] != TWIN]
    return "\n\n".join([released_table(measured), *_limits(measured), *_sources(measured)])


def gpu_checks(root: Path) -> str:
    """Return the Markdown table of what the tests of ``tests/gpu`` found, by VLM.

    A cell says "not run" where no test ended.

    Args:
        root: folder of the repository.
    """
    rows = read_summary(root / "results" / "measured" / GPU_CHECKS)
    if rows.empty:
        return "Not run."

    lines = []
    for check, figures, text in CHECKS:
        line = {"check": text}
        for vlm in SHAPES:
            found = rows[(rows["check"] == check) & (rows["vlm"] == vlm)]
            line[f"`{vlm}`"] = _outcome(found, figures)
        lines.append(line)
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def _outcome(found: pd.DataFrame, figures: Iterable[str]) -> str:
    """Return the figures of a check that passed, or what happened instead."""
    if found.empty:
        return NOT_RUN
    if found["outcome"].iloc[0] != "passed":
        return f"{found['outcome'].iloc[0]}: {found['why'].iloc[0]}"

    values = found.set_index("figure")["value"]
    return ", ".join(f"{values[figure]:.4g}" for figure in figures)


def _limits(rows: pd.DataFrame) -> Iterable[str]:
    """Yield a sentence about each figure that has a limit."""
    for (vlm, figure), limit in GPU_LIMITS.items():
        for row in rows[(rows["vlm"] == vlm) & (rows["figure"] == figure)].itertuples():
            kept = "kept" if row.value <= limit else "**not kept**"
            yield f"At most {limit:g} was wanted for `{vlm}`, {figure}: {row.value:.2f}, {kept}."


def _sources(rows: pd.DataFrame) -> Iterable[str]:
    """Yield a sentence about each card: its versions, and the repeats by VLM."""
    for (device, torch, transformers, commit), part in rows.groupby(
        ["device", "torch", "transformers", "commit"]
    ):
        repeats = ", ".join(
            f"`{row.vlm}` {row.repeats}" for row in part.drop_duplicates("vlm").itertuples()
        )
        yield (
            f"Random weights in the released sizes, bfloat16, on an {device}; torch {torch}, "
            f"transformers {transformers}, commit {commit}. Medians of so many interleaved "
            f"repeats: {repeats}."
        )
