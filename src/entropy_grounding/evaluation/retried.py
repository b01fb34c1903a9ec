"""Rows that were answered after memory ran out: with fewer crops or pixels than the method asks."""

from pathlib import Path

import pandas as pd

from entropy_grounding.core.errors import InputError

MOST_RETRIED = 0.05  # share of such rows up to which an evaluation stands for its method


def retried_share(rows: pd.DataFrame) -> float:
    """Return the share of the answered rows that gave up crops or pixels."""
    answered = rows[rows["status"] == "ok"]
    if answered.empty:
        return 0.0

    # A column that old rows lack is empty.
    retried = answered["retried"]
    return float((retried.notna() & (retried != "")).mean())


def check_retried(rows: pd.DataFrame, evaluation: Path, most: float = MOST_RETRIED) -> None:
    """Refuse an evaluation of which too many rows gave up crops or pixels.

    Args:
        rows: of the evaluation.
        evaluation: its path, for the message.
        most: the share that is accepted, from 0 to 1.

    Raises:
        InputError: naming the share and the remedy.
    """
    share = retried_share(rows)
    if share > most:
        raise InputError(
            f"Memory ran out for {100 * share:.1f} % of the rows of '{evaluation}', which were "
            f"answered with fewer crops or pixels; at most {100 * most:g} % are accepted. Evaluate "
            "into another results_dir with less memory (vlm.checkpointing=on, "
            "vlm.quantization=8bit, a smaller vlm.max_pixels or vlm.max_tiles), or accept them "
            "with most_retried=SHARE ('eg merge --most-retried SHARE' for joined rows)."
        )
