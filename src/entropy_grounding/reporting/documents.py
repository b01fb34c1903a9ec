"""Write the tables of the README and of docs from stored rows."""

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from entropy_grounding.evaluation.archive import (
    RESULTS,
    load_rows,
    read_summary,
    stored_folder,
    stored_index,
)
from entropy_grounding.experiments.config import (
    ExperimentConfig,
    evaluations,
    experiments,
    load_experiment,
)
from entropy_grounding.profiling.passes import BENCHMARK_COST
from entropy_grounding.reporting.budget_curve import budgets_table, rivals_of_all
from entropy_grounding.reporting.claims import (
    CLAIMS,
    PIXEL_GRADIENTS,
    above,
    claims_table,
    findings,
    verdict_of_all,
)
from entropy_grounding.reporting.comparisons import dominating
from entropy_grounding.reporting.experiment import summary_records
from entropy_grounding.reporting.figures_page import figures_page
from entropy_grounding.reporting.gate_tables import gate_summary
from entropy_grounding.reporting.gpu_tables import gpu_checks, gpu_figures
from entropy_grounding.reporting.kept import kept
from entropy_grounding.reporting.long_tables import LONG_TABLES, check_folders
from entropy_grounding.reporting.memory_tables import cards_table, computed_table
from entropy_grounding.reporting.size_table import min_pixels_table
from entropy_grounding.reporting.summary import METHODS, OURS, SUMMARIES
from entropy_grounding.reporting.tables import (
    cost_table,
    headline_table,
    location_table,
    mean_table,
    miniatures_table,
    protocol_table,
    savings_summary,
    score_line,
    sources,
    wins_sentence,
)
from entropy_grounding.tiny.check import families_table


def report(found: pd.DataFrame, shares: pd.DataFrame) -> str:
    """Return the Markdown section about the compared methods.

    It holds the mean scores with their cost, the share of the gain that location explains, and how
    often another method wins. The tables of single benchmarks are in `LONG_TABLES`.

    Args:
        found: one row per VLM, benchmark and method (`cells`).
        shares: one row per VLM and benchmark (`location_shares`).
    """
    missing = _missing(found)
    parts = [f"**Not run:** {', '.join(missing)}."] if missing else []

    parts += [
        "### Accuracy against cost",
        "Mean score over all benchmarks, in parentheses forwards + 2 x backwards per question:",
        mean_table(found),
        f"What scores at least as much as `{OURS}` for no more passes:",
        dominating(found),
    ]

    parts += [
        "### What location explains",
        location_table(shares),
        f"### Where another method is better than `{OURS}`",
        wins_sentence(found),
        sources(found),
    ]

    return "\n\n".join(parts)


def _missing(found: pd.DataFrame) -> list[str]:
    """Return the methods that were not run. VLMs are named where only some lack the method."""
    vlms = list(found["vlm"].drop_duplicates())
    run = set(zip(found["method"], found["vlm"], strict=True))

    missing = []
    for method in METHODS:
        absent = [f"`{vlm}`" for vlm in vlms if (method, vlm) not in run]
        if len(absent) == len(vlms):
            missing.append(f"`{method}`")
        elif absent:
            missing.append(f"`{method}` ({', '.join(absent)})")

    return missing


def stored_summaries(results: Path = RESULTS) -> list[pd.DataFrame]:
    """Return the stored `cells` and the stored `location_shares`, the arguments of `report`.

    Args:
        results: folder of the published results.
    """
    return [read_summary(results / "measured" / name) for name in SUMMARIES]


def replace_between(text: str, name: str, content: str) -> str:
    """Return the text with new content between ``<!-- NAME -->`` and ``<!-- /NAME -->``.

    Raises:
        ValueError: if the text lacks one of the two markers.
    """
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    head, _, rest = text.partition(start)
    _, _, tail = rest.partition(end)
    if not rest or end not in rest:
        raise ValueError(f"No markers {start} ... {end} in the text.")

    return f"{head}{start}\n{content}\n{end}{tail}"


def readme_with_tables(root: Path) -> str:
    """Return README.md of the repository with new tables, from the stored rows and summaries.

    Args:
        root: folder of the repository.
    """
    text = (root / "README.md").read_text(encoding="utf-8")
    table1 = root / "results" / "rows" / "table1"

    text = replace_between(text, "findings", findings_table(root))

    rows, _ = load_rows(table1 / "tiny_llava" / "mini_textvqa" / "entropy_gradient")
    return replace_between(text, "evaluate", f"```\n{score_line(rows)}\n```")


def experiments_with_tables(root: Path) -> str:
    """Return docs/experiments.md of the repository with new tables, from the stored rows.

    Args:
        root: folder of the repository.
    """
    text = (root / "docs" / "experiments.md").read_text(encoding="utf-8")
    league, _ = stored_summaries(root / "results")
    shown = league[league["method"].isin(["plain", OURS])]

    text = replace_between(text, "experiments", experiments_table(root))
    text = replace_between(text, "headline", headline_table(league))
    text = replace_between(text, "sources", sources(shown))
    text = replace_between(text, "claims", claims_lists(root))

    table1 = root / "results" / "rows" / "table1"
    return replace_between(text, "miniatures", miniatures_table(table1))


@cache
def _setups(root: Path) -> list[ExperimentConfig]:
    """Return all experiments of the tiny VLMs, in the order of their notebooks; composed once."""
    results = str(root / "results" / "rows")
    setups = [load_experiment(name, "mini", results_dir=results) for name in experiments()]

    return sorted(setups, key=lambda setup: setup.experiment.notebook)


def _cells_of(root: Path, setup: ExperimentConfig) -> pd.DataFrame:
    """Return the stored summary of an experiment, only of the VLMs that its size runs."""
    records = summary_records(root / "results", setup.experiment.name)
    if records.empty:
        return records

    names = {"value": "score", "low": "score_low", "high": "score_high"}
    return records[records["vlm"].isin(setup.vlms())].rename(columns=names)


def findings_table(root: Path) -> str:
    """Return the Markdown table of what the rows say about the claims that README lists.

    A sentence below it names the rival that finds the evidence better.

    Args:
        root: folder of the repository.
    """
    lines = []
    for setup in _setups(root):
        notebook = setup.experiment.notebook
        cells = _cells_of(root, setup)
        if notebook not in CLAIMS or cells.empty:
            continue

        link = f"[{notebook[:2]}](results/notebooks/{notebook}.ipynb)"
        for found in findings(notebook, cells):
            lines.append(
                {
                    "finding": found["claim"],
                    "evidence": found["evidence"],
                    "notebook": link,
                    "verdict": found["verdict"],
                }
            )

    table = pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)
    return f"{table}\n\n{_pixel_gradient(root)}"


def _pixel_gradient(root: Path) -> str:
    """Say in how many cells ViCrop's pixel gradient overlaps the evidence better than ours."""
    cells = _cells_of(root, load_experiment("table2", "mini"))

    counts = []
    for method in PIXEL_GRADIENTS:
        outcome = above("iou", method)(cells)
        beaten = len(outcome) - sum(outcome.values())
        counts.append(f"{beaten} of {len(outcome)} cells")

    as_code, as_text = counts
    return (
        "**The nearest rival.** The windows of ViCrop's pixel gradient overlap the evidence better "
        f"than our crops in {as_code} (as in its code) and in {as_text} (as in its text)."
    )


def claims_lists(root: Path) -> str:
    """Return every claim with its evidence and its verdict, one Markdown table per notebook.

    Args:
        root: folder of the repository.
    """
    parts = []
    for setup in _setups(root):
        notebook = setup.experiment.notebook
        cells = _cells_of(root, setup)
        if notebook in CLAIMS and not cells.empty:
            table = pd.DataFrame(claims_table(notebook, cells))
            parts.append(f"### {notebook}\n\n{table.to_markdown(index=False)}")

    return "\n\n".join(parts)


def tiny_vlms_with_tables(root: Path) -> str:
    """Return docs/tiny_vlms.md of the repository with a new table about the checks of tiny VLMs.

    Args:
        root: folder of the repository.
    """
    text = (root / "docs" / "tiny_vlms.md").read_text(encoding="utf-8")

    return replace_between(text, "tiny_check", families_table(check_folders(root)))


def experiments_table(root: Path) -> str:
    """Return the Markdown table of all experiments, one row per experiment.

    A row holds the command, the notebook, the verdict about its claim and, for ``run=mini`` and
    ``run=full``, how much is stored and how much time it cost.

    Args:
        root: folder of the repository.
    """
    index = stored_index(root / "results" / "rows")

    lines = []
    for setup in _setups(root):
        notebook = setup.experiment.notebook
        copy = f"results/notebooks/{notebook}.ipynb"
        executed = f"[executed](../{copy})" if (root / copy).is_file() else ""

        full = load_experiment(setup.experiment.name, "full", results_dir=setup.results_dir)
        lines.append(
            {
                "what": setup.experiment.title,
                "command": f"`rerun experiment={setup.experiment.name}`",
                "notebook": f"[{notebook}](../notebooks/{notebook}.ipynb) {executed}",
                "verdict": _verdict(root, setup),
                "`run=mini`": _stored_text(setup, index),
                "`run=full`": _stored_text(full, index),
            }
        )

    return pd.DataFrame(lines).to_markdown(index=False)


def _verdict(root: Path, setup: ExperimentConfig) -> str:
    """Return the short verdict about the claim of an experiment's notebook."""
    cells = _cells_of(root, setup)
    notebook = setup.experiment.notebook

    return "not tested" if cells.empty else verdict_of_all(notebook, cells)


def _stored_text(setup: ExperimentConfig, index: dict[str, Path]) -> str:
    """Say how many evaluations of an experiment are stored and, where known, their run time.

    If only the reference variant is stored, the experiment counts as not run.
    """
    # Checkpoints of the hub are not asked for where no evaluation has their names.
    if not {evaluation.parts[-3] for evaluation in index.values()} & set(setup.vlms()):
        return "not run"

    every = [stored_folder(config, index) for _, config in evaluations(setup)]
    stored = [folder for folder in every if folder]
    if all(folder.name == setup.experiment.reference for folder in stored):
        return "not run"

    times = [_times(folder) for folder in stored]
    minutes = sum(seconds for seconds, _ in times) / 60
    took = f", {minutes:.0f} core minutes" if all(timed for _, timed in times) else ""

    return f"{len(stored)} of {len(every)} evaluations{took}"


def _times(folder: Path) -> tuple[float, bool]:
    """Return the seconds of all examples, and whether there are any; some rows have no times."""

    def read() -> list[Any]:
        seconds = load_rows(folder)[0]["seconds"]
        return [float(seconds.sum()), bool(seconds.notna().any())]

    total, timed = kept((folder,), (), sys.modules[__name__], read)
    return total, timed


def protocol_with_table(root: Path) -> str:
    """Return docs/protocol.md of the repository with a new table, from the stored rows.

    Args:
        root: folder of the repository.
    """
    text = (root / "docs" / "protocol.md").read_text(encoding="utf-8")

    return replace_between(text, "protocol", protocol_table(root / "results" / "rows" / "protocol"))


def baselines_with_tables(root: Path) -> str:
    """Return docs/baselines.md of the repository with new tables, from stored summaries.

    Args:
        root: folder of the repository.
    """
    text = (root / "docs" / "baselines.md").read_text(encoding="utf-8")

    return replace_between(text, "league", report(*stored_summaries(root / "results")))


def cost_with_table(root: Path) -> str:
    """Return docs/cost.md of the repository with new tables, from stored measurements and rows.

    Args:
        root: folder of the repository.
    """
    text = (root / "docs" / "cost.md").read_text(encoding="utf-8")
    measured = read_summary(root / "results" / "measured" / BENCHMARK_COST)

    budgets = _cells_of(root, load_experiment("anytime", "mini"))
    for name, table in (("budgets", budgets_table), ("rivals", rivals_of_all)):
        text = replace_between(text, name, "Not run." if budgets.empty else table(budgets))

    text = replace_between(text, "gate", gate_summary(root))
    text = replace_between(text, "gpu", gpu_figures(root))
    text = replace_between(text, "gpu_checks", gpu_checks(root))
    records = summary_records(root / "results", "ablation_savings")
    text = replace_between(text, "savings", savings_summary(records))

    return replace_between(text, "benchmark", cost_table(measured)) if len(measured) else text


def deviations_with_table(root: Path) -> str:
    """Return docs/deviations.md of the repository with a new table about the size of crops.

    Args:
        root: folder of the repository.
    """
    text = (root / "docs" / "deviations.md").read_text(encoding="utf-8")

    return replace_between(text, "min_pixels", min_pixels_table(root))


def real_checkpoints_with_tables(root: Path) -> str:
    """Return docs/real_checkpoints.md of the repository with new tables about memory.

    Args:
        root: folder of the repository.
    """
    text = (root / "docs" / "real_checkpoints.md").read_text(encoding="utf-8")
    text = replace_between(text, "cards", cards_table(root))

    return replace_between(text, "computed", computed_table(root))


# The documents with tables and the long tables, by their path in the repository.
DOCUMENTS: dict[str, Callable[[Path], str]] = {
    **LONG_TABLES,
    "docs/baselines.md": baselines_with_tables,
    "docs/deviations.md": deviations_with_table,
    "docs/experiments.md": experiments_with_tables,
    "docs/protocol.md": protocol_with_table,
    "docs/cost.md": cost_with_table,
    "docs/real_checkpoints.md": real_checkpoints_with_tables,
    "docs/tiny_vlms.md": tiny_vlms_with_tables,
    "figures/README.md": figures_page,
    "README.md": readme_with_tables,
}
