"""An experiment with its rows: open it, summarise it, write its tables."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from entropy_grounding.evaluation.archive import stored_folder, stored_index
from entropy_grounding.experiments.complete import complete
from entropy_grounding.experiments.config import (
    OUTPUTS,
    STORED,
    ExperimentConfig,
    evaluations,
    load_experiment,
)
from entropy_grounding.reporting.summary import summarised
from entropy_grounding.reporting.tables import latex_table, score_table, sources
from entropy_grounding.vlm.registry import BIG_SIBLINGS


def summary(setup: ExperimentConfig, folders: dict[tuple[str, str, str], Path]) -> pd.DataFrame:
    """Return the scores, intervals, tests, places and costs of stored evaluations, one row a VLM, benchmark and variant, and "plain".

    Columns: see `league.cells`; ``p_ours`` is tested against the reference variant of the experiment.
    """
    lines = []
    for vlm, benchmark in dict.fromkeys((vlm, benchmark) for vlm, benchmark, _ in folders):
        stored = {
            name: folder for (v, b, name), folder in folders.items() if (v, b) == (vlm, benchmark)
        }
        reference = stored.get(setup.experiment.reference, next(iter(stored.values())))
        lines += [
            summarised(folder, reference, name, setup.run.examples)
            for name, folder in (("plain", reference), *stored.items())
        ]
    return pd.DataFrame(lines)


@dataclass(frozen=True)
class Opened:
    """An experiment whose rows are all stored: its options, the folder of each (VLM, benchmark, variant), and their summary."""

    setup: ExperimentConfig
    folders: dict[tuple[str, str, str], Path]
    cells: pd.DataFrame


def open_experiment(
    name: str,
    run: str = "mini",
    *,
    results_dir: str = "",
    overrides: Sequence[str] = (),
    **chosen: str,
) -> Opened:
    """Return an experiment with its rows, after running what is not stored yet; the first lines of a table notebook.

    Args:
        name: of ``conf/experiment``.
        run: of ``conf/run``.
        results_dir: where rows are and go; empty: outputs/results of the repository, and those of its results folder are used, too.
        overrides: Hydra overrides of every evaluation.
        chosen: ``vlm``, ``benchmark``, ``method`` (comma-separated, empty for all) and ``tracking``.
    """
    setup = load_experiment(name, run, overrides, results_dir=results_dir or str(OUTPUTS), **chosen)
    folders = complete(setup, roots=() if results_dir else (STORED,))
    return Opened(setup, folders, summary(setup, folders))


def directions(cells: pd.DataFrame, setup: ExperimentConfig) -> pd.DataFrame:
    """Return, for every cell of the paper's Table 1, the gain of `entropy_gradient` over plain there and here, and whether the signs agree.

    Columns: ``vlm``, ``benchmark``, ``paper`` (points, of the family's big checkpoint), ``here`` (points), ``p`` (paired, not adjusted),
    ``agrees``: "yes", "no", or "no change here" where p >= 0.05. Paper and tiny VLMs are different models: signs are compared, never sizes.
    """
    lines = []
    for (vlm, benchmark), rows in cells.groupby(["vlm", "benchmark"], sort=False):
        paper = setup.experiment.paper.get(BIG_SIBLINGS.get(str(vlm), str(vlm)), {})
        scores = rows.set_index("method")
        if benchmark not in paper.get("plain", {}) or "entropy_gradient" not in scores.index:
            continue
        there = paper["entropy_gradient"][benchmark] - paper["plain"][benchmark]
        here, p = (
            100 * (scores["score"]["entropy_gradient"] - scores["score"]["plain"]),
            scores["p_plain"]["entropy_gradient"],
        )
        agrees = "no change here" if not p < 0.05 else "yes" if (here > 0) == (there > 0) else "no"
        lines.append(
            {
                "vlm": vlm,
                "benchmark": benchmark,
                "paper": there,
                "here": here,
                "p": p,
                "agrees": agrees,
            }
        )
    return pd.DataFrame(lines, columns=["vlm", "benchmark", "paper", "here", "p", "agrees"])


def paper_table(setup: ExperimentConfig) -> pd.DataFrame:
    """Return the paper's scores in percent, a VLM and method a line, a benchmark a column; other models than the tiny ones."""
    lines = [
        {"VLM (paper)": vlm, "method": method, **scores}
        for vlm, methods in setup.experiment.paper.items()
        for method, scores in methods.items()
    ]
    return pd.DataFrame(lines)


def write_tables(cells: pd.DataFrame, folder: Path) -> list[Path]:
    """Write the tables of an experiment, Markdown and LaTeX, and return their paths.

    Args:
        cells: from `experiments.summary`.
        folder: where ``table.md`` and ``table.tex`` go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = [f"**`{vlm}`**\n\n{score_table(cells, vlm)}" for vlm in cells["vlm"].drop_duplicates()]
    (folder / "table.md").write_text("\n\n".join([*parts, sources(cells)]) + "\n", encoding="utf-8")
    (folder / "table.tex").write_text(latex_table(cells), encoding="utf-8")
    return [folder / "table.md", folder / "table.tex"]


def results_json(setup: ExperimentConfig, cells: pd.DataFrame) -> list[dict[str, Any]]:
    """Return one record a score, for machines: task, VLM, method, metric value with interval, n, weights and commit."""
    names = {"score": "value", "score_low": "low", "score_high": "high"}
    kept = [
        "vlm",
        "benchmark",
        "method",
        "n",
        "weights",
        "commit",
        "p_plain",
        "p_ours",
        "iou",
        "pointing",
        "energy",
        "passes",
        "seconds",
    ]
    table = cells.rename(columns=names).reindex(columns=[*kept[:3], *names.values(), *kept[3:]])
    table.insert(0, "experiment", setup.experiment.name)
    return json.loads(table.to_json(orient="records", double_precision=10))


def report_experiment(name: str, results: Path) -> pd.DataFrame:
    """Write results.json and tables of one experiment from the stored rows, unless only its reference is there; return the summary."""
    setup = load_experiment(name, "mini", results_dir=str(results))
    index = stored_index(results)
    folders = {
        (config.vlm.name, config.benchmark.name, variant.name): folder
        for variant, config in evaluations(setup)
        if (folder := stored_folder(config, index)) is not None
    }
    if {variant for *_, variant in folders} <= {setup.experiment.reference}:
        return pd.DataFrame()
    cells = summary(setup, folders)
    if len(cells):
        write_tables(cells, results / name)
        (results / name / "results.json").write_text(
            json.dumps(results_json(setup, cells), indent=1) + "\n", encoding="utf-8"
        )
    return cells
