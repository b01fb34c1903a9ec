"""An experiment with its rows: summarise it and write its tables."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from entropy_grounding.benchmarks.names import display_name, in_paper_order, kind_of
from entropy_grounding.core.errors import InputError
from entropy_grounding.evaluation.archive import source_of, stored_folder, stored_index
from entropy_grounding.evaluation.budgets import BUDGETS
from entropy_grounding.experiments.config import (
    ExperimentConfig,
    evaluations,
    load_experiment,
)
from entropy_grounding.method.budget import BudgetOptions, Limits
from entropy_grounding.method.limits import stored_limits
from entropy_grounding.reporting.budget_curve import budget_name
from entropy_grounding.reporting.significance import TEST, adjusted, mark
from entropy_grounding.reporting.summary import OURS, summarised
from entropy_grounding.reporting.tables import latex_table, score_table, sources
from entropy_grounding.vlm.registry import BIG_SIBLINGS


def summary(setup: ExperimentConfig, folders: dict[tuple[str, str, str], Path]) -> pd.DataFrame:
    """Return the scores, intervals, tests, localisation and costs of stored evaluations.

    Args:
        setup: the experiment.
        folders: the folder of each stored (VLM, benchmark, variant).

    Returns:
        One row per VLM, benchmark and variant, and one for each "plain". A cascade without
        thresholds (``budget.trace``) also has one for each of `BUDGETS` that the calibration of
        its VLM knows, as if it had been run with that budget. The columns are those of `cells`;
        ``p_ours`` is tested against the reference variant of the experiment.
    """
    # The folders of the variants, for each VLM and benchmark, in the order of `folders`.
    by_cell: dict[tuple[str, str], dict[str, Path]] = {}
    for (vlm, benchmark, variant), folder in folders.items():
        by_cell.setdefault((vlm, benchmark), {})[variant] = folder

    lines = []
    for (vlm, _), stored in by_cell.items():
        # Without rows of the reference, the first variant takes its place.
        reference = stored.get(setup.experiment.reference, next(iter(stored.values())))
        for variant, folder in (("plain", reference), *stored.items()):
            lines.append(summarised(folder, reference, variant, setup.run.examples))
            for name, limits in _budgets(folder, vlm) if variant != "plain" else ():
                about = (folder, reference, name, setup.run.examples)
                lines.append(summarised(*about, limits))

    return pd.DataFrame(lines)


def _budgets(folder: Path, vlm: str) -> Iterator[tuple[str, Limits]]:
    """Yield name and thresholds of every budget that rows with traces are replayed with."""
    method = source_of(folder)["config"]["method"]
    if not method.get("budget", {}).get("trace"):
        return

    for passes in BUDGETS:
        with suppress(InputError):  # no calibration, or a budget below its cheapest
            yield budget_name(passes), stored_limits(BudgetOptions(passes=passes), vlm)


# The link below every table, from ``results/tables`` and from a notebook's folder in ``outputs``.
DEFINITIONS = "What the words and marks mean: [definitions](../../docs/definitions.md)."

SUMMARY = "summary.json"  # in the folder of the published results: one record per score


# Gains of the paper below this are within what prompts and scorers move; in points.
PAPER_GAIN = 1.0


def directions(cells: pd.DataFrame, setup: ExperimentConfig) -> pd.DataFrame:
    """Compare the gain of `entropy_gradient` over plain with the paper's, where the paper gains.

    The paper's models and pictures are others, so only signs are compared, never sizes. Only cells
    count in which the paper gains at least `PAPER_GAIN`.

    Returns:
        One row per VLM and benchmark of the paper's Table 1 that counts, with the columns ``VLM``,
        ``benchmark``, ``paper`` (gain in points, of the family's big checkpoint), ``here`` (gain in
        points), ``p`` (paired test here, `adjusted`) and ``agrees``: "yes", "no", or "no change
        here" where the gain here is not significant.
    """
    lines = []
    for (vlm, benchmark), rows in cells.groupby(["vlm", "benchmark"], sort=False):
        # The paper has scores of the big checkpoint of a tiny VLM's family.
        paper = setup.experiment.paper.get(BIG_SIBLINGS.get(str(vlm), str(vlm)), {})
        kind, by_method = kind_of(str(benchmark)), rows.set_index("method")
        if kind not in paper.get("plain", {}) or OURS not in by_method.index:
            continue

        # Rounded, because 1.0 points are not exactly that as a difference of floats.
        there = round(paper[OURS][kind] - paper["plain"][kind], 2)
        if there < PAPER_GAIN:
            continue

        here = 100 * (by_method["score"][OURS] - by_method["score"]["plain"])
        p = by_method["p_plain"][OURS]
        agrees = {"": "no change here", "+": "yes", "-": "no"}[mark(p, here)]
        lines.append([vlm, display_name(str(benchmark)), there, here, p, agrees])

    table = pd.DataFrame(lines, columns=["VLM", "benchmark", "paper", "here", "p", "agrees"])
    return table.assign(p=adjusted(table["p"]))


def agreement(compared: pd.DataFrame) -> str:
    """Say in how many cells the sign of the gain is that of the paper, and what that is worth.

    Args:
        compared: from `directions`.
    """
    counts = compared["agrees"].value_counts()
    return (
        f"The paper gains at least one point in {len(compared)} of the cells shown. In "
        f"{counts.get('yes', 0)} of them the gain here is significant, too; in "
        f"{counts.get('no change here', 0)} it is not significant; in {counts.get('no', 0)} there "
        f"is a significant loss ({TEST}). The miniatures are built to need zooming, so this "
        "agreement says that the code does what the paper describes. It is no evidence for the "
        "paper's scores."
    )


def paper_table(setup: ExperimentConfig) -> pd.DataFrame:
    """Return the paper's scores in percent, of its own big models.

    Returns:
        One row per VLM and method, one column per benchmark.
    """
    lines = []
    for vlm, methods in setup.experiment.paper.items():
        for method, scores in methods.items():
            named = {display_name(kind): scores[kind] for kind in in_paper_order(scores)}
            lines.append({"VLM (paper)": vlm, "method": method, **named})

    return pd.DataFrame(lines)


def write_tables(cells: pd.DataFrame, folder: Path, name: str = "table") -> list[Path]:
    """Write the tables of an experiment, as Markdown and as LaTeX, and return their paths.

    Args:
        cells: the table that `summary` returns.
        folder: folder for the files; it is made if it is missing.
        name: their name, without ``.md`` and ``.tex``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    markdown, latex = folder / f"{name}.md", folder / f"{name}.tex"

    parts = [f"**`{vlm}`**\n\n{score_table(cells, vlm)}" for vlm in cells["vlm"].drop_duplicates()]
    caption = f"`+` or `-`: a significant change from plain ({TEST})."
    paragraphs = [*parts, caption, sources(cells), DEFINITIONS]
    markdown.write_text("\n\n".join(paragraphs) + "\n", encoding="utf-8")
    latex.write_text(latex_table(cells), encoding="utf-8")

    return [markdown, latex]


def results_json(setup: ExperimentConfig, cells: pd.DataFrame) -> list[dict[str, Any]]:
    """Return one record per score, for other programs.

    A record holds experiment, VLM, benchmark, method, score with interval, n, weights and commit.
    """
    # Columns that keep their names; the scores stand between the first three and the others.
    first = ["vlm", "benchmark", "method"]
    scores = {"score": "value", "score_low": "low", "score_high": "high"}
    tests = ["n", "weights", "commit", "p_plain", "p_ours"]
    measures = ["iou", "best_iou", "pointing", "energy", "passes", "seconds"]

    if "retried" in cells:
        measures.append("retried")

    columns = [*first, *scores.values(), *tests, *measures]
    table = cells.rename(columns=scores).reindex(columns=columns)
    table.insert(0, "experiment", setup.experiment.name)

    # The stored files depend on the number of digits, so it is fixed here.
    return json.loads(table.to_json(orient="records", double_precision=10))


def report_experiment(name: str, results: Path) -> list[dict[str, Any]]:
    """Write the tables of one experiment from its published rows, and return its records.

    The tiny VLMs have the table ``NAME``, released checkpoints ``NAME_full``. Nothing is written
    where only the rows of the reference variant are stored.

    Args:
        name: name of a file in ``conf/experiment``.
        results: folder of the published results; the tables go to its subfolder ``tables``.

    Returns:
        The `results_json` of the experiment; none if nothing was written.
    """
    index = stored_index(results / "rows")
    published = {evaluation.parts[-3] for evaluation in index.values()}

    records = []
    for run in ("mini", "full"):
        setup = load_experiment(name, run, results_dir=str(results / "rows"))
        # Rows of the hub's checkpoints are found by their commits, which the hub is asked for.
        if published & set(setup.vlms()):
            table = name if run == "mini" else f"{name}_{run}"
            records += _report_run(setup, index, results / "tables", table)
    return records


def _report_run(
    setup: ExperimentConfig, index: dict[str, Path], folder: Path, table: str
) -> list[dict[str, Any]]:
    """Write the tables of an experiment in one size, and return its records."""
    folders = {}
    for variant, config in evaluations(setup):
        stored = stored_folder(config, index)
        if stored is not None:
            folders[config.vlm.name, config.benchmark.name, variant.name] = stored

    if {variant for *_, variant in folders} <= {setup.experiment.reference}:
        return []

    cells = summary(setup, folders)
    if cells.empty:
        return []

    write_tables(cells, folder, table)
    return results_json(setup, cells)


def summary_records(results: Path, experiment: str) -> pd.DataFrame:
    """Return the records of one experiment from the published summary; none if there are none."""
    path = results / SUMMARY
    records = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []

    return pd.DataFrame([each for each in records if each["experiment"] == experiment])
