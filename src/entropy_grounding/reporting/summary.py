"""One row per evaluation: scores with intervals and paired tests, localisation and cost."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from entropy_grounding.benchmarks.names import TITLES
from entropy_grounding.core.errors import InputError
from entropy_grounding.evaluation.archive import last_change, stored_evaluations, table_rows
from entropy_grounding.evaluation.budgets import replayed_rows
from entropy_grounding.evaluation.retried import retried_share
from entropy_grounding.method.budget import Limits
from entropy_grounding.metrics.statistics import interval, paired_test
from entropy_grounding.reporting.kept import kept
from entropy_grounding.tiny.architectures import RECIPES
from entropy_grounding.vlm.weights import short_identity


def in_order(folders: Iterable[Path]) -> list[Path]:
    """Sort VLM/BENCHMARK and VLM/BENCHMARK/METHOD folders in the order of the paper's table."""
    names = [f"tiny_{family}" for family in RECIPES] + [f"mini_{name}" for name in TITLES]
    places = {name: place for place, name in enumerate(names)}

    def place(folder: Path) -> list[tuple[int, str]]:
        # Other names come last, in alphabetical order.
        return [(places.get(part, len(names)), part) for part in folder.parts]

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
# These methods know the evidence, so they do not compete.
ORACLES = ("control_oracle", "control_oracle_budget")

# Files in results/measured: the tables of `cells` and of `location_shares`.
SUMMARIES = ("cells.json", "location_shares.json")


# Goes through several things and shows how far it is, as `tqdm` does.
Progress = Callable[[Sequence[Any]], Iterable[Any]]


def cells(root: str | Path, progress: Progress = iter) -> pd.DataFrame:
    """Return one row per VLM, benchmark and method of stored evaluations, and one for each "plain".

    Benchmarks without rows of `OURS` are left out, since there is nothing to compare with.

    Args:
        root: folder of an experiment, for example ``results/rows/table1``.
        progress: goes through the rows of the table.

    Returns:
        A table with these columns. ``score`` with ``score_low`` and ``score_high`` (95 %, BCa);
        ``p_plain`` and ``p_ours`` of paired tests against the plain answer and against `OURS` (not
        adjusted); ``gained`` and ``lost`` answers against plain; means of ``iou``, ``best_iou``,
        ``pointing``, ``energy``, ``chance``, ``passes`` (forwards + 2 x backwards),
        ``visual_tokens`` and ``seconds``; the number ``n`` of examples with a score and of those
        ``without``; ``weights`` and ``commit``. Where memory ran out for some rows, also
        ``retried``, their share.

    Raises:
        InputError: if nothing is stored in ``root``.
    """
    compared = _compared(root)
    if not compared:
        raise InputError(
            f"No stored evaluation in '{root}': run 'eg evaluate' with results_dir={root}."
        )

    return pd.DataFrame([cell(root, *names) for names in progress(compared)])


def _compared(root: str | Path) -> list[tuple[str, str, str]]:
    """Return the VLM, benchmark and method of every row of `cells`."""
    found = []
    stored = set(stored_evaluations(root))
    for folder in in_order({evaluation.parent for evaluation in stored}):
        if folder / OURS not in stored:
            continue

        for method in METHODS:
            if method == "plain" or folder / method in stored:
                found.append((folder.parent.name, folder.name, method))

    return found


def cell(root: str | Path, vlm: str, benchmark: str, method: str) -> dict[str, Any]:
    """Return the row of `cells` for one VLM, benchmark and method, from its stored rows."""
    folder = Path(root) / vlm / benchmark

    # The rows of every method hold the plain answer, too.
    return summarised(folder / (OURS if method == "plain" else method), folder / OURS, method)


def summarised(
    folder: Path,
    reference: Path,
    method: str,
    examples: int | None = None,
    limits: Limits | None = None,
) -> dict[str, Any]:
    """Return the row of `cells` for the rows in a folder.

    It is computed only where it is not `kept`, because intervals take time.

    Args:
        folder: folder of the rows; "plain" takes their plain scores.
        reference: folder of the rows that they are tested against.
        method: name of the method.
        examples: how many examples of the data set count, from the first on; None counts all.
        limits: thresholds that the cascade of the rows is replayed with, which must hold traces.
    """
    plain = method == "plain"
    line = kept(
        (folder, reference),
        (plain, examples, limits and asdict(limits)),
        sys.modules[__name__],
        lambda: _summarised(folder, reference, plain, examples, limits),
    )

    return {**line, "method": method}


def _summarised(
    folder: Path, reference: Path, plain: bool, examples: int | None, limits: Limits | None
) -> dict[str, Any]:
    """Summarise the rows of a folder."""
    rows, source = _first_rows(folder, examples, last_change(folder))
    ours, _ = _first_rows(reference, examples, last_change(reference))
    if plain:
        rows = rows.assign(score=rows["plain_score"])
    if limits:
        rows = replayed_rows(rows, limits)

    return _summarise(rows, source, ours, plain=plain)


@lru_cache(maxsize=2)  # the reference of a benchmark is asked for with every method
def _first_rows(
    folder: Path, examples: int | None, changed: tuple[int, ...]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the rows of the first examples of the data set, and their manifest.

    The examples are counted by their numbers, since the rows of some shards may be missing.
    ``changed`` only makes old entries of the cache invalid.
    """
    rows, source = table_rows(folder)
    if examples is not None:
        rows = rows[rows["number"] < examples].reset_index(drop=True)

    return rows, source


def _summarise(
    rows: pd.DataFrame, source: dict[str, Any], ours: pd.DataFrame, *, plain: bool
) -> dict[str, Any]:
    """Return the row of `cells` for some rows; without any score, it holds only the first columns.

    Args:
        rows: rows of one evaluation.
        source: their manifest.
        ours: rows that they are tested against.
        plain: whether the rows stand for the plain answers, which have no localisation.
    """
    config = source["config"]
    scored = rows[rows["status"] == "ok"]
    line = {
        "vlm": config["vlm"]["name"],
        "benchmark": config["benchmark"]["name"],
        "n": len(scored),
        "without": len(rows) - len(scored),
        "weights": short_identity(source),
        "commit": source["commit"],
    }
    if scored.empty:
        return line

    if share := retried_share(rows):
        line["retried"] = share

    score = interval(scored["score"].to_numpy(float))
    line |= {"score": score.mean, "score_low": score.low, "score_high": score.high}

    change = paired_test(scored["plain_score"].to_numpy(float), scored["score"].to_numpy(float))
    line |= {"p_plain": change.p_value, "gained": change.gained, "lost": change.lost}

    # Paired: only examples that both evaluations scored.
    both = scored.merge(ours[ours["status"] == "ok"], on="example_id", suffixes=("", "_ours"))
    against_ours = paired_test(both["score_ours"].to_numpy(float), both["score"].to_numpy(float))
    line["p_ours"] = against_ours.p_value

    if plain:
        return {**line, "passes": 1.0}

    places = ("iou", "best_iou", "pointing", "energy", "chance")
    for name in (*places, "seconds", "visual_tokens"):
        line[name] = float(scored[name].mean())

    # A backward pass costs as much as two forward passes.
    passes = scored["forwards"] + 2 * scored["backwards"]
    return {**line, "passes": float(passes.mean())}
