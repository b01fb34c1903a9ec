"""One line per evaluation: scores with intervals and paired tests, localisation, cost."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from entropy_grounding.benchmarks.load import BENCHMARKS
from entropy_grounding.core.errors import InputError
from entropy_grounding.evaluation.archive import load_rows
from entropy_grounding.metrics.statistics import compare, interval
from entropy_grounding.tiny.architectures import RECIPES
from entropy_grounding.vlm.weights import short_identity


def in_order(folders: Iterable[Path]) -> list[Path]:
    """Sort VLM/BENCHMARK and VLM/BENCHMARK/METHOD folders as the paper's table has them."""
    known = [f"tiny_{family}" for family in RECIPES] + [f"mini_{name}" for name in BENCHMARKS]

    def place(folder: Path) -> list[tuple[int, str]]:
        return [(known.index(name) if name in known else len(known), name) for name in folder.parts]

    return sorted(folders, key=place)


OURS = "entropy_gradient"
METHODS = (
    "plain",
    OURS,
    "entropy_gradient_released",
    "map_attention",
    "map_relative_attention",
    "map_log_probability",
    "map_gradient_x_input",
    "map_localization_heads",
    "vicrop_rel_att",
    "vicrop_rel_att_chosen",
    "vicrop_rel_att_high",
    "vicrop_grad_att",
    "vicrop_grad_att_chosen",
    "vicrop_grad_att_high",
    "vicrop_pure_grad",
    "vicrop_pure_grad_paper",
    "vicrop_pure_grad_high",
    "search_8",
    "search_16",
    "search_32",
    "nested",
    "control_random",
    "control_center",
    "control_lowest",
    "control_repeated",
    "control_blank",
    "control_upscaled",
    "control_oracle",
    "control_oracle_budget",
)
ORACLES = (
    "control_oracle",
    "control_oracle_budget",
)  # they know the evidence, so they do not compete


def cells(root: str | Path) -> pd.DataFrame:
    """Return one row a VLM, benchmark and method of the stored evaluations in VLM/BENCHMARK/METHOD folders, and one for each "plain".

    Benchmarks without rows of `OURS` are left out, since there is nothing to compare with.

    Columns: ``score`` with ``score_low`` and ``score_high`` (95 %, BCa); ``p_plain`` and ``p_ours`` of paired tests against the plain
    answer and against `OURS` (not adjusted); ``gained`` and ``lost`` against plain; means of ``iou``, ``pointing``, ``energy``, ``chance``,
    ``passes`` (forwards + 2 x backwards), ``visual_tokens`` and ``seconds``; ``n``, those ``without`` a score, ``weights``, ``commit``.

    Raises:
        InputError: when nothing is stored in ``root``.
    """
    found = []
    for folder in in_order({path.parent.parent for path in Path(root).glob("*/*/*/rows.parquet")}):
        stored = {path.parent.name for path in folder.glob("*/rows.parquet")}
        if OURS in stored:
            found += [
                cell(root, folder.parent.name, folder.name, method)
                for method in METHODS
                if method in {"plain", *stored}
            ]
    if not found:
        raise InputError(
            f"No stored evaluation in '{root}': run 'python -m entropy_grounding.evaluate' with results_dir={root}."
        )
    return pd.DataFrame(found)


def cell(root: str | Path, vlm: str, benchmark: str, method: str) -> dict[str, Any]:
    """Return the row of `cells` for one VLM, benchmark and method, from its stored rows."""
    folder = Path(root) / vlm / benchmark
    return summarised(folder / (OURS if method == "plain" else method), folder / OURS, method)


def summarised(
    folder: Path, reference: Path, method: str, examples: int | None = None
) -> dict[str, Any]:
    """Return the row of `cells` for the rows in a folder, computed once for as long as they do not change: intervals take time.

    Args:
        folder: of the rows; "plain" takes their plain scores.
        reference: folder of the rows that they are tested against.
        method: its name.
        examples: how many of the rows count, from the first on; None for all.
    """
    files = [path / "rows.parquet" for path in (folder, reference)]
    changed = tuple(file.stat().st_mtime_ns for file in files)
    return {
        **_summarised(folder, reference, method == "plain", examples, changed),
        "method": method,
    }


@cache
def _summarised(
    folder: Path, reference: Path, plain: bool, examples: int | None, changed: tuple[int, ...]
) -> dict[str, Any]:
    (rows, source), (ours, _) = (_first_rows(path, examples) for path in (folder, reference))
    return _summarise(
        rows.assign(score=rows["plain_score"]) if plain else rows, source, ours, plain=plain
    )


def _first_rows(folder: Path, examples: int | None) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the rows of the first examples of the data set, by their numbers: of some shards, others may be missing."""
    rows, source = load_rows(folder)
    return rows if examples is None else rows[rows["number"] < examples].reset_index(
        drop=True
    ), source


def _summarise(
    rows: pd.DataFrame, source: dict[str, Any], ours: pd.DataFrame, *, plain: bool
) -> dict[str, Any]:
    config = source["config"]
    scored = rows[rows["status"] == "ok"]
    line = {
        "vlm": config["vlm"]["name"],
        "benchmark": config["benchmark"]["name"].removeprefix("mini_"),
    }
    line |= {
        "n": len(scored),
        "without": len(rows) - len(scored),
        "weights": short_identity(source),
        "commit": source["commit"],
    }
    if scored.empty:
        return line
    score = interval(scored["score"].to_numpy(float))
    line |= {"score": score.mean, "score_low": score.low, "score_high": score.high}
    change = compare(scored["plain_score"].to_numpy(float), scored["score"].to_numpy(float))
    line |= {"p_plain": change.p_value, "gained": change.gained, "lost": change.lost}
    both = scored.merge(ours[ours["status"] == "ok"], on="example_id", suffixes=("", "_ours"))
    line["p_ours"] = compare(
        both["score_ours"].to_numpy(float), both["score"].to_numpy(float)
    ).p_value
    if plain:
        return {**line, "passes": 1.0}
    line |= {
        name: float(scored[name].mean())
        for name in ("iou", "pointing", "energy", "chance", "seconds")
    }
    line["visual_tokens"] = float(
        scored["visual_tokens"].where(scored["lm_tokens"].notna()).mean()
    )  # rows of before counted kept tokens, too
    return {**line, "passes": float((scored["forwards"] + 2 * scored["backwards"]).mean())}
