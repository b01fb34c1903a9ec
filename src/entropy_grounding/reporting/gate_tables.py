"""Tables about the gate, which decides when to zoom and when to keep the zoomed answer."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from entropy_grounding.benchmarks.miniature.requirements import hides_evidence
from entropy_grounding.benchmarks.names import display_name
from entropy_grounding.evaluation.archive import (
    is_stored,
    source_of,
    stored_evaluations,
    table_rows,
)
from entropy_grounding.evaluation.retried import retried_share
from entropy_grounding.evaluation.thresholds import cross_validated
from entropy_grounding.reporting.summary import OURS
from entropy_grounding.reporting.tables import sources
from entropy_grounding.vlm.weights import short_identity

GATE = "gate"


def gate_table(root: Path) -> str:
    """Return the Markdown table of the gated method next to the ungated one.

    It has one row per VLM and benchmark.

    Args:
        root: folder of the repository.
    """
    lines, about = [], []
    for folder, rows, ungated in _gated_evaluations(root):
        lines.append(_gate_line(folder, rows, ungated))
        about.append(_origin(folder.parts[-3], source_of(folder), rows, ungated))

    if not lines:
        return "Not run."

    # Lines without "gated_all" lack some columns.
    table = pd.DataFrame(lines).fillna("").to_markdown(index=False, disable_numparse=True)
    return f"{table}\n\n{sources(pd.DataFrame(about))}"


def gate_summary(root: Path) -> str:
    """Return the Markdown table of what the gate keeps and what it costs, one row per VLM.

    Args:
        root: folder of the repository.
    """
    pairs, about = [], []
    for folder, rows, ungated in _gated_evaluations(root):
        pairs.append((rows, ungated))
        about.append(_origin(folder.parts[-3], source_of(folder), rows, ungated))

    if not pairs:
        return "Not run."

    return f"{_gate_summary(pairs)}\n\n{sources(pd.DataFrame(about))}"


def _gated_evaluations(root: Path) -> Iterator[tuple[Path, pd.DataFrame, pd.DataFrame]]:
    """Yield the path of every gated evaluation, its rows, and those without a gate."""
    for folder in stored_evaluations(root / "results" / "rows" / GATE):
        if folder.name == "gated":
            yield folder, *_with_ungated(folder)


def _gate_line(folder: Path, rows: pd.DataFrame, ungated: pd.DataFrame) -> dict[str, Any]:
    """Return the line of one VLM and benchmark, from its rows with and without the gate."""
    line = {
        "VLM": f"`{folder.parts[-3]}`",
        "miniature": display_name(folder.parts[-2]),
        "n": len(ungated),
        "plain": _percent(ungated["plain_score"]),
        "ungated": _percent(ungated["score"]),
        **_gated("gated", rows, ungated),
    }

    every = folder.with_name("gated_all")
    if is_stored(every):
        return line | _gated(every.name, table_rows(every)[0], ungated)

    return line | {every.name: "not run"}


def _origin(vlm: str, source: dict[str, Any], *shown: pd.DataFrame) -> dict[str, Any]:
    """Return what `sources` needs to know about evaluations that a line shows."""
    return {
        "vlm": vlm,
        "weights": short_identity(source),
        "commit": source["commit"],
        "n": len(shown[0]),
        "retried": max(retried_share(rows) for rows in shown),
    }


def calibration_table(folder: Path) -> str:
    """Return the Markdown table of the gate on its validation rows, cross-validated.

    It has the columns of `gate_summary`.

    Args:
        folder: folder with one folder of validation rows per VLM.
    """
    pairs, about = [], []
    for path in sorted(folder.glob("*/rows.parquet")):
        rows, source = table_rows(path.parent)
        about.append(_origin(source["vlm"], source, rows))

        gated = cross_validated(rows, accept=source["accept"])
        gated = gated.assign(vlm=source["vlm"], backwards=0)  # `passes` counts them already
        for _, part in gated.groupby("benchmark"):
            with_gate = part.assign(forwards=part["passes"])
            without_gate = part.assign(score=part["answer_score"], forwards=part["answer_passes"])
            pairs.append((with_gate, without_gate))

    if not pairs:
        return "Not run."

    return f"{_gate_summary(pairs)}\n\n{sources(pd.DataFrame(about))}"


def _with_ungated(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of a gated evaluation, and those of the same cell without a gate."""
    vlm, benchmark = folder.parts[-3:-1]
    ungated = folder.parents[3] / "table1" / vlm / benchmark / OURS

    return table_rows(folder)[0], table_rows(ungated)[0]


def _gate_summary(gated: Sequence[tuple[pd.DataFrame, pd.DataFrame]]) -> str:
    """Return the Markdown table with one line per VLM and one line for all VLMs together.

    It separates benchmarks that hide evidence from those that do not.

    Args:
        gated: the rows with the gate and those without it, for each VLM and benchmark.
    """
    # One row per example; the columns of the ungated answer end in "_ungated".
    merged = []
    for rows, ungated in gated:
        merged.append(rows.merge(ungated, on="example_id", suffixes=("", "_ungated")))
    both = pd.concat(merged)
    both = both.assign(hidden=both["benchmark"].map(hides_evidence))

    lines = [_summary_line(f"`{vlm}`", mine) for vlm, mine in both.groupby("vlm")]
    lines.append(_summary_line("all", both))

    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def _summary_line(name: str, rows: pd.DataFrame) -> dict[str, str]:
    """Return one line of `_gate_summary` for the merged rows of one VLM or of all VLMs."""
    hidden, general = rows[rows["hidden"]], rows[~rows["hidden"]]

    gain = (hidden["score"] - hidden["plain_score"]).sum()
    ungated_gain = (hidden["score_ungated"] - hidden["plain_score"]).sum()
    passes, ungated_passes = _passes(hidden), _passes(hidden, "_ungated")

    return {
        "VLM": name,
        "no evidence hidden (2): passes": f"{_passes(general):.2f}",
        "plain, gated": f"{_percent(general['plain_score'])}, {_percent(general['score'])}",
        "right to wrong": f"{_lost(general)} of {_lost(general, '_ungated')}",
        "evidence hidden (5): of the ungated gain": f"{100 * gain / ungated_gain:.0f} %",
        "of the ungated passes": f"{100 * passes / ungated_passes:.0f} %",
    }


def _gated(name: str, rows: pd.DataFrame, ungated: pd.DataFrame) -> dict[str, str]:
    """Return the columns of one gated evaluation, compared with the ungated one."""
    return {
        name: _percent(rows["score"]),
        f"{name}: passes": f"{_passes(rows):.2f}",
        f"{name}: of ungated": f"{_passes(rows) / _passes(ungated):.2f}",
        f"{name}: right to wrong": f"{_lost(rows)} of {_lost(ungated)}",
    }


def _passes(rows: pd.DataFrame, end: str = "") -> float:
    """Return the mean number of passes; a backward pass costs as much as two forward passes.

    Args:
        rows: merged rows.
        end: ending of the columns, "" or "_ungated".
    """
    return float((rows[f"forwards{end}"] + 2 * rows[f"backwards{end}"]).mean())


def _lost(rows: pd.DataFrame, end: str = "") -> int:
    """Return how many examples score less than their plain answer; ``end`` as in `_passes`."""
    return int((rows[f"score{end}"] < rows["plain_score"]).sum())


def _percent(scores: pd.Series) -> str:
    """Write the mean of scores in percent."""
    return f"{100 * scores.mean():.1f}"
