"""Results that write themselves: ``python -m entropy_grounding.report`` makes every summary, table and document from the stored rows.

For each experiment with stored rows it writes ``results/EXPERIMENT/results.json`` (machine-readable), ``table.md`` and ``table.tex``; then
the tables of the README and the docs, between their markers.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from entropy_grounding.baselines import layers
from entropy_grounding.baselines.layers import layers_table
from entropy_grounding.calibration import cross_validated
from entropy_grounding.commands import Parser, check_repository, command
from entropy_grounding.experiments import (
    ExperimentConfig,
    evaluations,
    experiments,
    load_experiment,
    stored_folder,
    stored_index,
    summary,
)
from entropy_grounding.league import OURS, cells, location_shares, report, score_table, sources
from entropy_grounding.results import load_rows, read_manifest, read_summary, write_summary
from entropy_grounding.stats import holm
from entropy_grounding.tables import HIDDEN, check_table, families_table, miniatures_table, protocol_table, score_line
from entropy_grounding.tiny.build import RECIPES
from entropy_grounding.verbatim import expanded
from entropy_grounding.vlm.identity import short_identity

BENCHMARK_COST, GATE = "benchmark_cost.json", "gate"
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
    text = replace_between(text, "headline", f"{headline_table(cells)}\n\n{sources(cells[cells['method'].isin(['plain', OURS])])}")
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


def headline_table(cells: pd.DataFrame) -> str:
    """Return the Markdown table of plain and final scores in percent, a VLM a line, from `league.cells`; + and - mark adjusted p < 0.05."""
    pairs = cells[cells["method"] == OURS].merge(cells[cells["method"] == "plain"], on=["vlm", "benchmark"], suffixes=("", "_plain"))
    pairs = pairs.assign(p=holm(pairs["p_plain"].tolist()))
    lines: dict[str, dict[str, str]] = {}
    for row in pairs.to_dict("records"):
        mark = ("+" if row["score"] > row["score_plain"] else "-") if row["p"] < 0.05 else ""
        lines.setdefault(f"`{row['vlm']}`", {})[row["benchmark"]] = f"{100 * row['score_plain']:.1f} → {100 * row['score']:.1f}{mark}"
    return pd.DataFrame(lines.values(), index=pd.Index(lines, name="VLM")).fillna("not run").to_markdown(disable_numparse=True)


def experiments_table(root: Path) -> str:
    """Return the Markdown table of all experiments: command, notebook, what is stored of ``run=mini``, and how long that took."""
    index = stored_index(root / "results")
    lines = []
    setups = [load_experiment(name, "mini", results_dir=str(root / "results")) for name in experiments()]
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
    text = replace_between(text, "layers", layers_table(read_summary(root / "results" / layers.FILE)))
    return replace_between(text, "league", report(*(read_summary(root / "results" / "league" / name) for name in SUMMARIES)))


def cost_with_table(root: Path) -> str:
    """Return docs/cost.md of the repository at ``root`` with its tables made anew from stored figures and rows."""
    text = (root / "docs" / "cost.md").read_text(encoding="utf-8")
    found = read_summary(root / "results" / BENCHMARK_COST)
    text = replace_between(text, "gate", gate_table(root))
    text = replace_between(text, "calibration", calibration_table(root / "results" / "calibration"))
    text = replace_between(text, "savings", savings_table(root / "results" / "ablation_savings"))
    return replace_between(text, "benchmark", cost_table(found)) if len(found) else text


def savings_table(folder: Path) -> str:
    """Return the Markdown table of the scores of each approximation, of the plain answer and of the exact method, or "Not run."."""
    path = folder / "results.json"
    stored = pd.DataFrame(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else pd.DataFrame()
    if stored.empty:
        return "Not run."
    plain, exact = (stored[stored["method"] == method].set_index(["vlm", "benchmark"]) for method in ("plain", OURS))
    lines = []
    for row in stored[~stored["method"].isin(["plain", OURS])].to_dict("records"):
        other = exact.loc[row["vlm"], row["benchmark"]]
        inside = "yes" if other["low"] <= row["value"] <= other["high"] else "**no**"
        line = {"option": row["method"], "VLM": f"`{row['vlm']}`", "miniature": row["benchmark"], "n": row["n"]}
        line |= {"plain": f"{100 * plain.loc[row['vlm'], row['benchmark']]['value']:.1f}"}
        line |= {"exact": f"{100 * other['value']:.1f} [{100 * other['low']:.1f}, {100 * other['high']:.1f}]"}
        lines.append({**line, "approximate": f"{100 * row['value']:.1f}", "inside the interval": inside})
    return f"{pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)}\n\n{sources(stored)}"


def gate_table(root: Path) -> str:
    """Return the Markdown tables of the gated method beside the ungated one: what it keeps and costs, and every cell."""
    gated = [(folder, *_with_ungated(folder)) for folder in sorted((root / "results" / GATE).glob("*/*/gated"))]
    if not gated:
        return "Not run."
    lines = []
    for folder, rows, ungated in gated:
        line = {"VLM": f"`{folder.parts[-3]}`", "miniature": folder.parts[-2].removeprefix("mini_"), "n": len(ungated)}
        line |= {"plain": _percent(ungated["plain_score"]), "ungated": _percent(ungated["score"])} | _gated("gated", rows, ungated)
        every = folder.with_name("gated_all")
        line |= _gated(every.name, load_rows(every)[0], ungated) if every.is_dir() else {every.name: "not run"}
        lines.append(line)
    cells = pd.DataFrame(lines).fillna("").to_markdown(index=False, disable_numparse=True)
    made = [(folder.parts[-3], read_manifest(folder / "manifest.json"), len(rows)) for folder, rows, _ in gated]
    about = [{"vlm": vlm, "weights": short_identity(source), "commit": source["commit"], "n": n} for vlm, source, n in made]
    return "\n\n".join([_gate_summary([(rows, ungated) for _, rows, ungated in gated]), cells, sources(pd.DataFrame(about))])


def calibration_table(folder: Path) -> str:
    """Return the Markdown table of the gate on its validation rows, cross-validated; to be read as `gate_table`."""
    pairs, about = [], []
    for path in sorted(folder.glob("*/rows.parquet")):
        rows, source = load_rows(path.parent)
        gated = cross_validated(rows, accept=source["accept"]).assign(vlm=source["vlm"], backwards=0)
        for _, part in gated.groupby("benchmark"):
            pairs.append((part.assign(forwards=part["passes"]), part.assign(score=part["answer_score"], forwards=part["answer_passes"])))
        about.append({"vlm": source["vlm"], "weights": short_identity(source), "commit": source["commit"], "n": len(rows)})
    return f"{_gate_summary(pairs)}\n\n{sources(pd.DataFrame(about))}" if pairs else "Not run."


def _with_ungated(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of a gated evaluation, and those of the same cell without a gate."""
    vlm, benchmark = folder.parts[-3:-1]
    return load_rows(folder)[0], load_rows(folder.parents[3] / "table1" / vlm / benchmark / OURS)[0]


def _gate_summary(gated: Sequence[tuple[pd.DataFrame, pd.DataFrame]]) -> str:
    """Return a line a VLM and one for all together; apart where evidence is hidden and where not."""
    rows = pd.concat([one.merge(other, on="example_id", suffixes=("", "_ungated")) for one, other in gated])
    rows = rows.assign(hidden=rows["benchmark"].str.removeprefix("mini_").isin(HIDDEN))
    lines = []
    for vlm, mine in [*rows.groupby("vlm"), ("all", rows)]:
        hidden, general = mine[mine["hidden"]], mine[~mine["hidden"]]
        gains = [(hidden[name] - hidden["plain_score"]).sum() for name in ("score", "score_ungated")]
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


def cost_table(found: pd.DataFrame) -> str:
    """Return the Markdown table of `benchmark_cost`: a figure a line, its limit and whether it is kept."""
    kept = [
        ("" if pd.isna(limit) else "yes" if value <= limit else "**no**")
        for value, limit in zip(found["value"], found["limit"], strict=True)
    ]
    shown = {
        "figure": found["figure"],
        "value": [f"{value:.3g}" for value in found["value"]],
        "at most": ["" if pd.isna(limit) else f"{limit:g}" for limit in found["limit"]],
        "kept": kept,
    }
    first = found.iloc[0]
    about = f"Median of {first['repeats']} interleaved repeats; answers of {first['examples']} questions; commit {first['commit']}."
    return f"{pd.DataFrame(shown).to_markdown(index=False, disable_numparse=True)}\n\n{about}"


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
        (results / name / "results.json").write_text(json.dumps(results_json(setup, cells), indent=1) + "\n", encoding="utf-8")
    return cells


def run(root: Path) -> None:
    """Make everything anew, with a line for each experiment.

    Raises:
        InputError: where there is no repository.
    """
    check_repository(root)
    results = root / "results"
    for name, table in zip(SUMMARIES, (cells(results / "table1"), location_shares(results / "table1")), strict=True):
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


def main() -> None:
    """Parse the command line: the folder of the repository, by default this one."""
    parser = Parser(prog="python -m entropy_grounding.report", description="Make every summary, table and document from the stored rows.")
    parser.add_argument("repository", nargs="?", default=".", help="folder of the repository (default: this one)")
    run(Path(expanded(parser.parse_args().repository)))


if __name__ == "__main__":
    command(main)
