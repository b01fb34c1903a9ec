"""Write the tables of README and docs, from stored rows."""

from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from entropy_grounding.evaluation.archive import (
    check_repository,
    load_rows,
    read_summary,
    stored_folder,
    stored_index,
    write_summary,
)
from entropy_grounding.experiments.config import (
    ExperimentConfig,
    evaluations,
    experiments,
    load_experiment,
)
from entropy_grounding.profiling.attention_layers import ATTENTION_LAYERS, layers_table
from entropy_grounding.profiling.passes import BENCHMARK_COST
from entropy_grounding.reporting.comparisons import dominating, location_shares
from entropy_grounding.reporting.experiment import report_experiment
from entropy_grounding.reporting.gate_tables import calibration_table, gate_table
from entropy_grounding.reporting.summary import METHODS, OURS, cells
from entropy_grounding.reporting.tables import (
    cost_table,
    headline_table,
    location_table,
    mean_table,
    miniatures_table,
    place_table,
    protocol_table,
    savings_table,
    score_line,
    score_table,
    sources,
    wins_table,
)
from entropy_grounding.tiny.architectures import RECIPES
from entropy_grounding.tiny.check import check_table, families_table


def report(found: pd.DataFrame, shares: pd.DataFrame) -> str:
    """Return the whole Markdown section: scores, places and cost, means, what location explains, and where another method wins."""
    missing = _missing(found)
    parts = [f"**Not run:** {', '.join(missing)}."] if missing else []
    for vlm in found["vlm"].drop_duplicates():
        parts += [
            f"### `{vlm}`",
            score_table(found, vlm),
            "Where it looked and what it took, means over the five miniatures that hide evidence:",
        ]
        parts.append(place_table(found, vlm))
    parts += [
        "### Accuracy against cost",
        "Mean score over all benchmarks, in parentheses forwards + 2 x backwards a question:",
    ]
    parts += [mean_table(found), f"What scores at least as much as `{OURS}` for no more passes:"]
    parts.append("\n".join(f"- {line}" for line in dominating(found).splitlines()))
    parts += ["### What location explains", location_table(shares)]
    parts += [
        "### Where another method is better than `entropy_gradient`",
        wins_table(found),
        sources(found),
    ]
    return "\n\n".join(parts)


def _missing(found: pd.DataFrame) -> list[str]:
    """Return the methods that were not run, with the VLM where only some lack them."""
    vlms, run = (
        list(found["vlm"].drop_duplicates()),
        set(zip(found["method"], found["vlm"], strict=True)),
    )
    named = []
    for method in METHODS:
        absent = [f"`{vlm}`" for vlm in vlms if (method, vlm) not in run]
        if absent:
            named.append(
                f"`{method}`" if len(absent) == len(vlms) else f"`{method}` ({', '.join(absent)})"
            )
    return named


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
    """Return the README of the repository at ``root`` with its tables made anew from the stored rows and summaries."""
    text = (root / "README.md").read_text(encoding="utf-8")
    table1 = root / "results" / "table1"
    cells = read_summary(root / "results" / "league" / SUMMARIES[0])
    text = replace_between(
        text,
        "headline",
        f"{headline_table(cells)}\n\n{sources(cells[cells['method'].isin(['plain', OURS])])}",
    )
    text = replace_between(text, "miniatures", miniatures_table(table1))
    text = replace_between(text, "experiments", experiments_table(root))
    rows, _ = load_rows(table1 / "tiny_llava" / "mini_textvqa" / "entropy_gradient")
    return replace_between(text, "evaluate", f"```\n{score_line(rows)}\n```")


def tiny_vlms_with_tables(root: Path) -> str:
    """Return docs/tiny_vlms.md of the repository at ``root`` with the tables of `tiny.check` made anew from the stored rows."""
    text = (root / "docs" / "tiny_vlms.md").read_text(encoding="utf-8")
    stored = (root / "results" / "tiny_check" / f"tiny_{family}" for family in RECIPES)
    folders = [folder for folder in stored if folder.is_dir()]
    for folder in folders:
        text = replace_between(text, f"tiny_check/{folder.name}", check_table(folder))
    return replace_between(text, "tiny_check", families_table(folders))


def experiments_table(root: Path) -> str:
    """Return the Markdown table of all experiments: command, notebook, what is stored of ``run=mini``, and how long that took."""
    index = stored_index(root / "results")
    lines = []
    setups = [
        load_experiment(name, "mini", results_dir=str(root / "results")) for name in experiments()
    ]
    for setup in sorted(setups, key=lambda each: each.experiment.notebook):
        notebook = setup.experiment.notebook
        copy = f"results/executed/{notebook}.ipynb"
        executed = f"[executed]({copy})" if (root / copy).is_file() else ""
        full = load_experiment(setup.experiment.name, "full", results_dir=setup.results_dir)
        lines.append(
            {
                "what": setup.experiment.title,
                "command": f"`rerun experiment={setup.experiment.name}`",
                "notebook": f"[{notebook}](notebooks/{notebook}.ipynb) {executed}",
                "`run=mini`": _stored_text(setup, index),
                "`run=full`": _stored_text(full, index),
            }
        )
    return pd.DataFrame(lines).to_markdown(index=False)


def _stored_text(setup: ExperimentConfig, index: dict[str, Path]) -> str:
    """Say how much of an experiment is stored and, where it is known, how long it took; rows of its reference alone are no run of it."""
    folders = [stored_folder(config, index) for _, config in evaluations(setup)]
    stored = [folder for folder in folders if folder]
    if all(folder.name == setup.experiment.reference for folder in stored):
        return "not run"
    seconds = [load_rows(folder)[0]["seconds"] for folder in stored]
    timed = sum(each.sum() for each in seconds) / 60
    took = f", {timed:.0f} core minutes" if all(each.notna().any() for each in seconds) else ""
    return f"{len(stored)} of {len(folders)} evaluations{took}"


def protocol_with_table(root: Path) -> str:
    """Return docs/protocol.md of the repository at ``root`` with its table made anew from the stored rows."""
    text = (root / "docs" / "protocol.md").read_text(encoding="utf-8")
    return replace_between(text, "protocol", protocol_table(root / "results" / "protocol"))


def baselines_with_tables(root: Path) -> str:
    """Return docs/baselines.md of the repository at ``root`` with its tables made anew from the summaries of the stored rows."""
    text = (root / "docs" / "baselines.md").read_text(encoding="utf-8")
    text = replace_between(
        text, "layers", layers_table(read_summary(root / "results" / ATTENTION_LAYERS))
    )
    return replace_between(
        text,
        "league",
        report(*(read_summary(root / "results" / "league" / name) for name in SUMMARIES)),
    )


def cost_with_table(root: Path) -> str:
    """Return docs/cost.md of the repository at ``root`` with its tables made anew from stored figures and rows."""
    text = (root / "docs" / "cost.md").read_text(encoding="utf-8")
    found = read_summary(root / "results" / BENCHMARK_COST)
    text = replace_between(text, "gate", gate_table(root))
    text = replace_between(text, "calibration", calibration_table(root / "results" / "calibration"))
    text = replace_between(text, "savings", savings_table(root / "results" / "ablation_savings"))
    return replace_between(text, "benchmark", cost_table(found)) if len(found) else text


def run(root: Path) -> None:
    """Make everything anew, with a line for each experiment.

    Raises:
        InputError: where there is no repository.
    """
    check_repository(root)
    results = root / "results"
    for name, table in zip(
        SUMMARIES, (cells(results / "table1"), location_shares(results / "table1")), strict=True
    ):
        write_summary(results / "league" / name, table)
    for name in tqdm(experiments(), desc="experiments"):
        report_experiment(name, results)
    documents = {
        "baselines": baselines_with_tables,
        "protocol": protocol_with_table,
        "cost": cost_with_table,
        "tiny_vlms": tiny_vlms_with_tables,
    }
    for name, made in documents.items():
        (root / "docs" / f"{name}.md").write_text(made(root), encoding="utf-8")
    (root / "README.md").write_text(readme_with_tables(root), encoding="utf-8")
