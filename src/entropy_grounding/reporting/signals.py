"""The table of signals and procedures: what a map is made of, and how crops come from it."""

from typing import Any

import pandas as pd

from entropy_grounding.benchmarks.miniature.requirements import hides_evidence
from entropy_grounding.reporting.comparisons import mean_costs
from entropy_grounding.reporting.summary import OURS

PROCEDURES = ("components + zoom", "one window", "search")
# The method of each procedure, in this order; None where there is none.
SIGNALS: dict[str, tuple[str | None, str | None, str | None]] = {
    "entropy gradient, tokens": (OURS, "window_entropy", "ranked_entropy"),
    "the same, masked": ("found_entropy_masked", "window_entropy_masked", None),
    "log p gradient, pixels, masked": ("found_pixels", "vicrop_pure_grad_paper", "ranked_pixels"),
    "the same, no mask": ("found_pixels_unmasked", "window_pixels_unmasked", None),
    "log p gradient, tokens": (
        "map_log_probability",
        "window_log_probability",
        "ranked_log_probability",
    ),
    "attention, tokens": ("map_attention", "window_attention", "ranked_attention"),
    "none: random crops, all 16": ("control_random", None, "search_16"),
    "none: central crops": ("control_center", None, None),
}


def signal_values(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the means of every VLM, signal and procedure that was run.

    Methods that lack a benchmark of the VLM are left out.

    Args:
        cells: one row per VLM, benchmark and method, from `summary`.

    Returns:
        A table with the columns ``vlm``, ``signal``, ``procedure``, ``method``; ``score`` and
        ``passes``, means over the benchmarks; and ``iou``, of the union of the crops with the
        evidence, mean over the benchmarks that hide evidence.
    """
    means = mean_costs(cells)
    hidden = cells[cells["benchmark"].map(hides_evidence).astype(bool)]
    overlaps = hidden.groupby(["vlm", "method"])["iou"].mean().to_dict()

    lines = []
    for signal, methods in SIGNALS.items():
        for procedure, method in zip(PROCEDURES, methods, strict=True):
            for row in means[means["method"] == method].to_dict("records"):
                iou = overlaps.get((row["vlm"], method), float("nan"))
                lines.append({**row, "signal": signal, "procedure": procedure, "iou": iou})

    columns = ["vlm", "signal", "procedure", "method", "score", "passes", "iou"]
    return pd.DataFrame(lines, columns=columns)


def signal_table(cells: pd.DataFrame, vlm: str = "") -> str:
    """Return the Markdown table of signals and procedures: score in percent, passes and IoU.

    Args:
        cells: as `signal_values` takes them.
        vlm: name of the VLM; empty for the mean over all VLMs, of what was run on each.
    """
    values = signal_values(cells)
    wanted = 1 if vlm else cells["vlm"].nunique()
    if vlm:
        values = values[values["vlm"] == vlm]

    lines = []
    for signal, methods in SIGNALS.items():
        line = {"signal": signal}
        for procedure, method in zip(PROCEDURES, methods, strict=True):
            line[procedure] = _field(values[values["method"] == method], method, wanted)
        lines.append(line)
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def _field(values: pd.DataFrame, method: str | None, wanted: int) -> str:
    """Return the field of a method: a dash without one, "not run" where a VLM lacks it."""
    if method is None:
        return "-"
    if len(values) < wanted:
        return "not run"

    mean: Any = values[["score", "passes", "iou"]].mean()
    return f"{100 * mean['score']:.1f} ({mean['passes']:.1f}; {mean['iou']:.3f})"
