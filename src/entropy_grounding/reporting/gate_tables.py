"""Tables of the gate."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from entropy_grounding.benchmarks.miniature.requirements import HIDDEN
from entropy_grounding.evaluation.archive import load_rows
from entropy_grounding.evaluation.provenance import read_manifest
from entropy_grounding.evaluation.thresholds import cross_validated
from entropy_grounding.reporting.summary import OURS
from entropy_grounding.reporting.tables import sources
from entropy_grounding.vlm.weights import short_identity

GATE = "gate"


def gate_table(root: Path) -> str:
    """Return the Markdown tables of the gated method beside the ungated one: what it keeps and costs, and every cell."""
    gated = [
        (folder, *_with_ungated(folder))
        for folder in sorted((root / "results" / GATE).glob("*/*/gated"))
    ]
    if not gated:
        return "Not run."
    lines = []
    for folder, rows, ungated in gated:
        line = {
            "VLM": f"`{folder.parts[-3]}`",
            "miniature": folder.parts[-2].removeprefix("mini_"),
            "n": len(ungated),
        }
        line |= {
            "plain": _percent(ungated["plain_score"]),
            "ungated": _percent(ungated["score"]),
        } | _gated("gated", rows, ungated)
        every = folder.with_name("gated_all")
        line |= (
            _gated(every.name, load_rows(every)[0], ungated)
            if every.is_dir()
            else {every.name: "not run"}
        )
        lines.append(line)
    cells = pd.DataFrame(lines).fillna("").to_markdown(index=False, disable_numparse=True)
    made = [
        (folder.parts[-3], read_manifest(folder / "manifest.json"), len(rows))
        for folder, rows, _ in gated
    ]
    about = [
        {"vlm": vlm, "weights": short_identity(source), "commit": source["commit"], "n": n}
        for vlm, source, n in made
    ]
    return "\n\n".join(
        [
            _gate_summary([(rows, ungated) for _, rows, ungated in gated]),
            cells,
            sources(pd.DataFrame(about)),
        ]
    )


def calibration_table(folder: Path) -> str:
    """Return the Markdown table of the gate on its validation rows, cross-validated; to be read as `gate_table`."""
    pairs, about = [], []
    for path in sorted(folder.glob("*/rows.parquet")):
        rows, source = load_rows(path.parent)
        gated = cross_validated(rows, accept=source["accept"]).assign(
            vlm=source["vlm"], backwards=0
        )
        for _, part in gated.groupby("benchmark"):
            pairs.append(
                (
                    part.assign(forwards=part["passes"]),
                    part.assign(score=part["answer_score"], forwards=part["answer_passes"]),
                )
            )
        about.append(
            {
                "vlm": source["vlm"],
                "weights": short_identity(source),
                "commit": source["commit"],
                "n": len(rows),
            }
        )
    return f"{_gate_summary(pairs)}\n\n{sources(pd.DataFrame(about))}" if pairs else "Not run."


def _with_ungated(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of a gated evaluation, and those of the same cell without a gate."""
    vlm, benchmark = folder.parts[-3:-1]
    return load_rows(folder)[0], load_rows(folder.parents[3] / "table1" / vlm / benchmark / OURS)[0]


def _gate_summary(gated: Sequence[tuple[pd.DataFrame, pd.DataFrame]]) -> str:
    """Return a line a VLM and one for all together; apart where evidence is hidden and where not."""
    rows = pd.concat(
        [one.merge(other, on="example_id", suffixes=("", "_ungated")) for one, other in gated]
    )
    rows = rows.assign(hidden=rows["benchmark"].str.removeprefix("mini_").isin(HIDDEN))
    lines = []
    for vlm, mine in [*rows.groupby("vlm"), ("all", rows)]:
        hidden, general = mine[mine["hidden"]], mine[~mine["hidden"]]
        gains = [
            (hidden[name] - hidden["plain_score"]).sum() for name in ("score", "score_ungated")
        ]
        spent = [_passes(hidden, end) for end in ("", "_ungated")]
        lost = [_lost(general, end) for end in ("", "_ungated")]
        lines.append(
            {
                "VLM": f"`{vlm}`" if vlm != "all" else vlm,
                "no evidence hidden (2): passes": f"{_passes(general):.2f}",
                "plain, gated": f"{_percent(general['plain_score'])}, {_percent(general['score'])}",
                "right to wrong": f"{lost[0]} of {lost[1]}",
                "evidence hidden (5): of the ungated gain": f"{100 * gains[0] / gains[1]:.0f} %",
                "of the ungated passes": f"{100 * spent[0] / spent[1]:.0f} %",
            }
        )
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def _gated(name: str, rows: pd.DataFrame, ungated: pd.DataFrame) -> dict[str, str]:
    return {
        name: _percent(rows["score"]),
        f"{name}: passes": f"{_passes(rows):.2f}",
        f"{name}: of ungated": f"{_passes(rows) / _passes(ungated):.2f}",
        f"{name}: right to wrong": f"{_lost(rows)} of {_lost(ungated)}",
    }


def _passes(rows: pd.DataFrame, end: str = "") -> float:
    return float((rows[f"forwards{end}"] + 2 * rows[f"backwards{end}"]).mean())


def _lost(rows: pd.DataFrame, end: str = "") -> int:
    return int((rows[f"score{end}"] < rows["plain_score"]).sum())


def _percent(scores: pd.Series) -> str:
    return f"{100 * scores.mean():.1f}"
