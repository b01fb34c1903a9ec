"""Results that write themselves: ``python -m entropy_grounding.report`` makes every summary, table and document from the stored rows.

For each experiment with stored rows it writes ``results/EXPERIMENT/results.json`` (machine-readable), ``table.md`` and ``table.tex``; then
the tables of the README and the docs, between their markers.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from entropy_grounding.experiments import (
    ExperimentConfig,
    evaluations,
    experiments,
    load_experiment,
    stored_folder,
    stored_index,
    summary,
)
from entropy_grounding.league import cells, location_shares, report, score_table, sources
from entropy_grounding.results import load_rows, read_summary, write_summary
from entropy_grounding.tables import check_table, families_table, miniatures_table, protocol_table, score_line
from entropy_grounding.tiny.build import RECIPES

SUMMARIES = ("cells.json", "location_shares.json")


def replace_between(text: str, name: str, content: str) -> str:
    """Return the text with everything between ``<!-- NAME -->`` and ``<!-- /NAME -->`` replaced."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    head, _, rest = text.partition(start)
    _, _, tail = rest.partition(end)
    if not rest or end not in rest:
        raise ValueError(f"No markers {start} ... {end} in the text.")
    return f"{head}{start}\n{content}\n{end}{tail}"


def readme_with_tables(root: Path) -> str:
    """Return the README of the repository at ``root`` with its tables made anew from the stored rows."""
    text = (root / "README.md").read_text()
    stored = (root / "results" / "tiny_check" / f"tiny_{family}" for family in RECIPES)
    folders = [folder for folder in stored if folder.is_dir()]
    for folder in folders:
        text = replace_between(text, f"tiny_check/{folder.name}", check_table(folder))
    text = replace_between(text, "tiny_check", families_table(folders))
    text = replace_between(text, "miniatures", miniatures_table(root / "results" / "table1"))
    rows, _ = load_rows(root / "results" / "table1" / "tiny_llava" / "mini_textvqa" / "entropy_gradient")
    return replace_between(text, "evaluate", f"```\n{score_line(rows)}\n```")


def protocol_with_table(root: Path) -> str:
    """Return docs/protocol.md of the repository at ``root`` with its table made anew from the stored rows."""
    text = (root / "docs" / "protocol.md").read_text()
    return replace_between(text, "protocol", protocol_table(root / "results" / "protocol"))


def baselines_with_tables(root: Path) -> str:
    """Return docs/baselines.md of the repository at ``root`` with its tables made anew from the summaries of the stored rows."""
    text = (root / "docs" / "baselines.md").read_text()
    return replace_between(text, "league", report(*(read_summary(root / "results" / "league" / name) for name in SUMMARIES)))


def write_tables(cells: pd.DataFrame, folder: Path) -> list[Path]:
    """Write the tables of an experiment, Markdown and LaTeX, and return their paths.

    Args:
        cells: from `experiments.summary`.
        folder: where ``table.md`` and ``table.tex`` go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = [f"**`{vlm}`**\n\n{score_table(cells, vlm)}" for vlm in cells["vlm"].drop_duplicates()]
    (folder / "table.md").write_text("\n\n".join([*parts, sources(cells)]) + "\n")
    (folder / "table.tex").write_text(latex_table(cells))
    return [folder / "table.md", folder / "table.tex"]


def latex_table(cells: pd.DataFrame) -> str:
    """Return the LaTeX table (booktabs) of mean scores in percent: VLM and method a line, a benchmark a column, the best of a VLM bold."""
    scores = cells[cells["n"] > 0].assign(score=100 * cells["score"], method=cells["method"].str.replace("_", " "))
    wide = scores.pivot_table(index=["vlm", "method"], columns="benchmark", values="score", sort=False)
    wide = wide.rename(index=lambda name: str(name).replace("_", " ")).rename_axis(index=[None, None], columns=None)
    ours = wide[[not str(method).startswith("control") for _, method in wide.index]]
    best = ours.groupby(level=0).max()

    def bold(column: pd.Series) -> list[str]:
        return ["textbf:--rwrap;" if value == best[column.name][vlm] else "" for (vlm, _), value in column.items()]

    return wide.style.format("{:.1f}", na_rep="--").apply(bold, axis=0).to_latex(hrules=True, clines="skip-last;data", multirow_align="t")


def results_json(setup: ExperimentConfig, cells: pd.DataFrame) -> list[dict[str, Any]]:
    """Return one record a score, for machines: task, VLM, method, metric value with interval, n, weights and commit."""
    names = {"score": "value", "score_low": "low", "score_high": "high"}
    kept = ["vlm", "benchmark", "method", "n", "weights", "commit", "p_plain", "p_ours", "iou", "pointing", "energy", "passes", "seconds"]
    table = cells.rename(columns=names).reindex(columns=[*kept[:3], *names.values(), *kept[3:]])
    table.insert(0, "experiment", setup.experiment.name)
    return json.loads(table.to_json(orient="records", double_precision=10))


def report_experiment(name: str, results: Path) -> pd.DataFrame:
    """Write results.json and tables of one experiment from what is stored in ``results``, and return the summary."""
    setup = load_experiment(name, "mini", results_dir=str(results))
    index = stored_index(results)
    folders = {
        (config.vlm.name, config.benchmark.name, variant.name): folder
        for variant, config in evaluations(setup)
        if (folder := stored_folder(config, index)) is not None
    }
    cells = summary(setup, folders)
    if len(cells):
        write_tables(cells, results / name)
        (results / name / "results.json").write_text(json.dumps(results_json(setup, cells), indent=1) + "\n")
    return cells


def main(root: Path) -> None:
    """Make everything anew, with a line for each experiment."""
    results = root / "results"
    for name, table in zip(SUMMARIES, (cells(results / "table1"), location_shares(results / "table1")), strict=True):
        write_summary(results / "league" / name, table)
    for name in tqdm(experiments(), desc="experiments"):
        report_experiment(name, results)
    (root / "docs" / "baselines.md").write_text(baselines_with_tables(root))
    (root / "README.md").write_text(readme_with_tables(root))
    (root / "docs" / "protocol.md").write_text(protocol_with_table(root))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
