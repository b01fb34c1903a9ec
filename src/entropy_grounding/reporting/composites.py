"""Scores on composites beside those on drawn backgrounds, question by question."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from entropy_grounding.benchmarks.names import display_name, drawn_sibling, is_composite
from entropy_grounding.core.errors import InputError
from entropy_grounding.evaluation.archive import PUBLISHED, table_rows
from entropy_grounding.metrics.statistics import paired_test
from entropy_grounding.reporting.significance import mark
from entropy_grounding.reporting.summary import OURS

_KEYS = ["number", "question"]  # a composite has the number and the question of its drawn sibling


def beside_drawn(
    folders: Mapping[tuple[str, str, str], Path], drawn: Path = PUBLISHED / "table1"
) -> str:
    """Return a Markdown table of plain and zoomed scores on both backgrounds, in percent.

    Args:
        folders: the evaluations of the experiment, by VLM, benchmark and method.
        drawn: folder of the evaluations on drawn backgrounds.
    """
    lines = []
    for (vlm, benchmark, method), folder in folders.items():
        if method != OURS or not is_composite(benchmark):
            continue

        paired = _paired(folder, drawn / vlm / drawn_sibling(benchmark) / OURS)
        if not paired.empty:
            lines.append(_line(vlm, drawn_sibling(benchmark), paired))

    if not lines:
        return "No composite here has rows on drawn backgrounds to stand beside."
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def _paired(composite: Path, drawn: Path) -> pd.DataFrame:
    """Return the scores of the questions that both evaluations answered; empty without the second.

    The columns of the composite are ``plain_score`` and ``score``, those of its sibling end in
    ``_drawn``.
    """
    try:
        other, _ = table_rows(drawn)
    except InputError:  # not evaluated, as for a VLM of the user
        return pd.DataFrame()

    rows, _ = table_rows(composite)
    columns = [*_KEYS, "plain_score", "score"]
    mine, theirs = (each.loc[each["status"] == "ok", columns] for each in (rows, other))
    return mine.merge(theirs, on=_KEYS, suffixes=("", "_drawn"))


def _line(vlm: str, benchmark: str, paired: pd.DataFrame) -> dict[str, str]:
    """Return the line of one VLM and miniature."""
    line = {"VLM": f"`{vlm}`", "miniature": display_name(benchmark), "n": str(len(paired))}

    for column, answer in (("plain_score", "plain"), ("score", "zoomed")):
        before, after = paired[f"{column}_drawn"], paired[column]
        change = after.mean() - before.mean()
        sign = mark(paired_test(before.to_numpy(), after.to_numpy()).p_value, change)

        line[f"{answer}, drawn"] = f"{100 * before.mean():.1f}"
        line[f"{answer}, photograph"] = f"{100 * after.mean():.1f}{sign}"
    return line
