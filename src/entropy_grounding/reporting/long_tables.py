"""Tables that are too long for a document. Each is a file of its own in results/tables."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from entropy_grounding.evaluation.archive import read_summary
from entropy_grounding.profiling.attention_layers import ATTENTION_LAYERS, layers_table
from entropy_grounding.reporting.experiment import DEFINITIONS, summary_records
from entropy_grounding.reporting.gate_tables import calibration_table, gate_table
from entropy_grounding.reporting.significance import TEST
from entropy_grounding.reporting.summary import SUMMARIES
from entropy_grounding.reporting.tables import (
    place_table,
    savings_table,
    score_table,
    sources,
    wins_table,
)
from entropy_grounding.tiny.architectures import RECIPES
from entropy_grounding.tiny.check import check_table


def by_vlm(found: pd.DataFrame, table: Callable[[pd.DataFrame, str], str]) -> str:
    """Return one Markdown section per VLM, and the sentence about the sources below them.

    Args:
        found: one row per VLM, benchmark and method (`cells`).
        table: makes the table of one VLM.
    """
    parts = [f"## `{vlm}`\n\n{table(found, vlm)}" for vlm in found["vlm"].drop_duplicates()]

    return "\n\n".join([*parts, sources(found)])


def check_folders(root: Path) -> list[Path]:
    """Return the folders of the stored checks of the tiny VLMs, in the order of the families."""
    measured = root / "results" / "measured" / "tiny_check"
    folders = [measured / f"tiny_{family}" for family in RECIPES]

    return [folder for folder in folders if folder.is_dir()]


def _page(title: str, *parts: str) -> str:
    """Return a page with a title, its parts, and a link to what its words mean."""
    return "\n\n".join([f"# {title}", *parts, DEFINITIONS]) + "\n"


def _cells(root: Path) -> pd.DataFrame:
    return read_summary(root / "results" / "measured" / SUMMARIES[0])


def _scores(root: Path) -> str:
    about = (
        "Scores in percent with 95 % intervals. `+` or `-`: a significant change from plain "
        f"({TEST}). The last column counts the answers that became right, and those that became "
        "wrong."
    )
    tables = by_vlm(_cells(root), score_table)

    return _page("Every method on every miniature", about, tables)


def _places(root: Path) -> str:
    about = (
        "Where each method looked and what it took: means over the five miniatures that hide "
        "evidence. A field is empty where a value was not recorded."
    )
    tables = by_vlm(_cells(root), place_table)

    return _page("Localisation and cost of every method", about, tables)


def _wins(root: Path) -> str:
    found = _cells(root)
    title = "Where another method is better than `entropy_gradient`"
    about = f"`p` is that of the paired test; `adjusted p` is what counts ({TEST})."

    return _page(title, about, wins_table(found), sources(found))


def _layers(root: Path) -> str:
    about = (
        "Energy of the attention map of the full picture in the evidence boxes, divided by that "
        "of a constant map (1 is chance). Each number comes from 30 validation rows each of the "
        "mini-TextVQA, mini-V\\* and mini-InfoVQA. Made by `eg profile layers`."
    )
    table = layers_table(read_summary(root / "results" / "measured" / ATTENTION_LAYERS))

    return _page("Attention by layer and general question", about, table)


def _checks(root: Path) -> str:
    about = (
        "Small evidence on held-out scenes, made by `eg check`. The way to the oracle is "
        "(accuracy - plain) / (oracle - plain)."
    )
    parts = [f"## `{folder.name}`\n\n{check_table(folder)}" for folder in check_folders(root)]

    return _page("The check of the tiny VLMs", about, *parts)


def _savings(root: Path) -> str:
    about = (
        "The approximate savings, each compared with the exact method. Scores are in percent; the "
        "interval is the 95 % interval of the exact score."
    )
    table = savings_table(summary_records(root / "results", "ablation_savings"))

    return _page("Approximate savings", about, table)


def _gate(root: Path) -> str:
    about = (
        "The gate on every VLM and miniature. Passes are forwards + 2 x backwards per question; "
        "right to wrong counts the questions that the zoom spoils, gated of ungated."
    )
    return _page("The gate", about, gate_table(root))


def _validation(root: Path) -> str:
    about = (
        "The gate on its validation rows, by ten-fold cross-validation. `PRICE` and `MIN_GAIN` "
        "were set on these rows."
    )
    table = calibration_table(root / "results" / "measured" / "calibration")

    return _page("The gate on validation rows", about, table)


# The functions that return their text, by the path of the table in the repository.
LONG_TABLES: dict[str, Callable[[Path], str]] = {
    f"results/tables/{name}.md": table
    for name, table in {
        "baselines_scores": _scores,
        "baselines_places": _places,
        "baselines_wins": _wins,
        "attention_layers": _layers,
        "tiny_check": _checks,
        "savings": _savings,
        "gate": _gate,
        "gate_validation": _validation,
    }.items()
}
