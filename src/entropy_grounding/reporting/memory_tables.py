"""Tables about the memory of the released checkpoints, computed and measured."""

from pathlib import Path

import pandas as pd

from entropy_grounding.evaluation.archive import read_summary
from entropy_grounding.experiments.estimate import GPU_PASSES, PEAK, PLAIN, WHOLE
from entropy_grounding.profiling.memory_needs import MEMORY
from entropy_grounding.profiling.random_vlm import SHAPES
from entropy_grounding.profiling.released import TWIN

COMMAND = "eg evaluate vlm={vlm} benchmark=vstar method=entropy_gradient vlm.device=cuda {options}"
MEASURED_CARD = 80  # gigabytes of the card that times come from
# Columns of the computed file, and the figures of the measured one that they stand beside.
COMPARED = {
    "map": "peak of a map, GB",
    "checkpointed map": "peak of a map, checkpointing, GB",
    "grounding": "peak of a grounding, GB",
    "checkpointed grounding": PEAK,
}


def cards_table(root: Path) -> str:
    """Return the Markdown table of each checkpoint on each card, with the command that fits.

    Args:
        root: folder of the repository.
    """
    found = _read(root, MEMORY)
    measured = _measured(root)

    lines = []
    for row in found[found["card"].notna()].to_dict("records"):
        fits = row["options"] is not None and not pd.isna(row["options"])
        command = COMMAND.format(vlm=row["vlm"], options=row["options"]).strip() if fits else ""
        lines.append(
            {
                "card, GB": f"{row['card']:.0f}",
                "VLM": f"`{row['vlm']}`",
                "download, GB": f"{row['weights']:.1f}",
                "command": f"`{command}`" if fits else "none fits",
                "needs, GB": f"{row['needed']:.1f}" if fits else "",
                "s a question": _seconds(row, measured),
            }
        )

    lines.sort(key=lambda line: int(line["card, GB"]))
    table = pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)
    return f"{table}\n\n{_about(found)}"


def computed_table(root: Path) -> str:
    """Return the Markdown table of computed memory beside what a card measured, by VLM.

    Args:
        root: folder of the repository.
    """
    found = _read(root, MEMORY)
    measured = _measured(root)

    lines = []
    for row in found[found["card"].isna()].to_dict("records"):
        line = {"VLM": f"`{row['vlm']}`"}
        for name, figure in {"weights": "weights, GB", **COMPARED}.items():
            value = measured.get((row["vlm"], figure))
            beside = "not run" if value is None else f"{value:.1f}"
            line[f"{name}, GB"] = f"{row[name]:.1f}, {beside}"
        lines.append(line)
    table = pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)
    return f"{table}\n\n{_excess(found, measured)}"


def _excess(found: pd.DataFrame, measured: dict[tuple[str, str], float]) -> str:
    """Return the sentence about how much more a map took than computed."""
    beyond = []
    for row in found[found["card"].isna()].to_dict("records"):
        peak = measured.get((row["vlm"], COMPARED["map"]))
        if peak is not None:
            beyond.append(peak - row["map"])

    if not beyond:
        return "Not measured."
    return f"A map took {min(beyond):.2f} to {max(beyond):.2f} GB more than computed."


def _seconds(row: dict, measured: dict[tuple[str, str], float]) -> str:
    """Return the measured seconds of a question where its card and options were measured."""
    if row["card"] != MEASURED_CARD or row["options"] != "":
        return "not run"

    plain = measured.get((row["vlm"], PLAIN))
    ratio = measured.get((row["vlm"], WHOLE))
    return "not run" if plain is None or ratio is None else f"{plain * ratio:.1f}"


def _about(found: pd.DataFrame) -> str:
    """Return the sentence about where the computed figures come from."""
    first = found.iloc[0]
    return (
        f"Computed by `eg profile memory` at commit {first['commit']}, transformers "
        f"{first['transformers']}."
    )


def _read(root: Path, name: str) -> pd.DataFrame:
    return read_summary(root / "results" / "measured" / name)


def _measured(root: Path) -> dict[tuple[str, str], float]:
    """Return the figures of a GPU by VLM and figure; none if no card was there."""
    rows = _read(root, GPU_PASSES)
    if rows.empty:
        return {}

    rows = rows[(rows["device"] != TWIN) & rows["vlm"].isin(SHAPES) & rows["value"].notna()]
    return dict(zip(zip(rows["vlm"], rows["figure"], strict=True), rows["value"], strict=True))
