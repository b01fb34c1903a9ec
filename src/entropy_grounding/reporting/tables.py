"""Tables in Markdown and LaTeX, from summaries."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from entropy_grounding.benchmarks.load import BENCHMARKS
from entropy_grounding.benchmarks.miniature.requirements import HIDDEN, meets
from entropy_grounding.core.errors import InputError
from entropy_grounding.evaluation.archive import load_rows
from entropy_grounding.metrics.statistics import Interval, holm, interval
from entropy_grounding.reporting.comparisons import differences, mean_costs
from entropy_grounding.reporting.summary import METHODS, OURS, in_order
from entropy_grounding.vlm.weights import short_identity


def score_table(found: pd.DataFrame, vlm: str) -> str:
    """Return the Markdown table of one VLM: a method a line, a benchmark a column; + and - mark a significant change from plain.

    Significant: adjusted p (Holm, over the table) under 0.05. The last column counts wrong to right and right to wrong answers.
    """
    mine = found[found["vlm"] == vlm].copy()
    tested = (mine["method"] != "plain") & (mine["n"] > 0)
    mine.loc[tested, "p"] = holm(mine.loc[tested, "p_plain"].tolist())
    plain = mine[mine["method"] == "plain"].set_index("benchmark")["score"].to_dict()
    shown = list(found["benchmark"].drop_duplicates())
    lines = []
    for method in mine["method"].drop_duplicates():
        line = dict.fromkeys(shown, "not run")
        of_method = mine[mine["method"] == method]
        line |= {
            cell.benchmark: _score(cell, plain.get(cell.benchmark))
            for cell in of_method.itertuples()
        }
        flips = (
            ""
            if method == "plain"
            else f"{of_method['gained'].sum():.0f}, {of_method['lost'].sum():.0f}"
        )
        lines.append({"method": f"`{method}`", **line, "gained, lost": flips})
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def _score(cell: Any, plain: float | None) -> str:
    """Write a score in percent with its interval, and + or - after a significant change from the plain score."""
    if cell.n == 0:
        return "n/a"
    mark = ("+" if cell.score > plain else "-") if plain is not None and cell.p < 0.05 else ""
    return f"{100 * cell.score:.1f} [{100 * cell.score_low:.1f}, {100 * cell.score_high:.1f}]{mark}"


def place_table(found: pd.DataFrame, vlm: str) -> str:
    """Return the Markdown table of where each method of one VLM looked and what it cost, means over the benchmarks that hide evidence."""
    mine = found[
        (found["vlm"] == vlm)
        & found["benchmark"].isin(HIDDEN)
        & (found["method"] != "plain")
        & (found["n"] > 0)
    ]
    lines = []
    for method in mine["method"].drop_duplicates():
        mean = mine[mine["method"] == method].mean(numeric_only=True, skipna=False)
        lines.append(
            {
                "method": f"`{method}`",
                "IoU": _number(mean["iou"], 3),
                "pointing game": _percent(mean["pointing"]),
                "energy in box": _percent(mean["energy"]),
                "... by chance": _percent(mean["chance"]),
                "forwards + 2 x backwards": _number(mean["passes"], 1),
                "visual tokens": _number(mean["visual_tokens"], 0),
                "seconds": _number(mean["seconds"], 3),
            }
        )
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def mean_table(found: pd.DataFrame) -> str:
    """Return the Markdown table of mean scores in percent, passes in parentheses, a method a line, a VLM a column."""
    mean = mean_costs(found)
    shown = {
        (row.method, row.vlm): f"{100 * row.score:.1f} ({row.passes:.1f})"
        for row in mean.itertuples()
    }
    lines = [
        {
            "method": f"`{method}`",
            **{f"`{vlm}`": shown.get((method, vlm), "") for vlm in mean["vlm"].unique()},
        }
        for method in METHODS
        if method in set(mean["method"])
    ]
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def reference_table(found: pd.DataFrame, reference: str = OURS) -> str:
    """Return the Markdown table of the `differences` with adjusted p < 0.05."""
    tested = differences(found, reference)
    if tested.empty:
        return "No other method was run yet."
    sure = tested[tested["p"] < 0.05]
    what = f"significantly different from `{reference}`"
    if sure.empty:
        return f"None of {len(tested)} cells is {what}."
    return f"{len(sure)} of {len(tested)} cells are {what} (change in points):\n\n{_changes(sure, ['p'])}"


def wins_table(found: pd.DataFrame, reference: str = OURS) -> str:
    """Return the Markdown table of the gains among the `differences` with unadjusted p < 0.05, and say how many stay significant."""
    tested = differences(found, reference).rename(columns={"p": "adjusted p", "p_ours": "p"})
    if tested.empty:
        return "No other method was run yet."
    better = tested[(tested["p"] < 0.05) & (tested["change"] > 0)].sort_values("p")
    sure = (better["adjusted p"] < 0.05).sum()
    said = f"{sure} of {len(tested)} cells are significantly better than `{reference}` (adjusted p < 0.05)"
    if better.empty:
        return f"{said}, and none has an unadjusted p < 0.05."
    return f"{said}; with an unadjusted p < 0.05: {len(better)} (change in points):\n\n{_changes(better, ['p', 'adjusted p'])}"


def _changes(cells: pd.DataFrame, tests: list[str]) -> str:
    table = cells[["vlm", "benchmark", "method", "change", *tests]].round({"change": 1})
    table = table.assign(**{name: [f"{p:.1g}" for p in cells[name]] for name in tests})
    return table.to_markdown(index=False, disable_numparse=True)


def location_table(shares: pd.DataFrame) -> str:
    """Return the Markdown table of `location_shares`, a VLM a line."""
    if shares.empty:
        return "Not run yet."
    lines = []
    for vlm, rows in shares.groupby("vlm", sort=False):
        found = {row.benchmark: _share(row) for row in rows.itertuples()}
        lines.append(
            {"VLM": f"`{vlm}`", **{name: found.get(name, "not run") for name in BENCHMARKS}}
        )
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def _share(row: Any) -> str:
    return (
        "oracle not better"
        if np.isnan(row.share)
        else f"{100 * row.share:.0f} % [{100 * row.low:.0f}, {100 * row.high:.0f}]"
    )


def _percent(value: float) -> str:
    return "" if pd.isna(value) else f"{100 * value:.1f} %"


def _number(value: float, digits: int) -> str:
    return "" if pd.isna(value) else f"{value:.{digits}f}"


def sources(found: pd.DataFrame) -> str:
    """Return the sentence that names weights, number of examples and commits behind a table."""
    per_vlm = [
        f"`{vlm}` {_joined(rows['weights'])} (commit {_joined(rows['commit'])}, n = {_joined(rows['n'][rows['n'] > 0])})"
        for vlm, rows in found.groupby("vlm", sort=False)
    ]
    return f"Weights (SHA-256): {'; '.join(per_vlm)}."


def _joined(values: Iterable) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values))


def headline_table(cells: pd.DataFrame) -> str:
    """Return the Markdown table of plain and final scores in percent, a VLM a line, from `league.cells`; + and - mark adjusted p < 0.05."""
    pairs = cells[cells["method"] == OURS].merge(
        cells[cells["method"] == "plain"], on=["vlm", "benchmark"], suffixes=("", "_plain")
    )
    pairs = pairs.assign(p=holm(pairs["p_plain"].tolist()))
    lines: dict[str, dict[str, str]] = {}
    for row in pairs.to_dict("records"):
        mark = ("+" if row["score"] > row["score_plain"] else "-") if row["p"] < 0.05 else ""
        lines.setdefault(f"`{row['vlm']}`", {})[row["benchmark"]] = (
            f"{100 * row['score_plain']:.1f} → {100 * row['score']:.1f}{mark}"
        )
    return (
        pd.DataFrame(lines.values(), index=pd.Index(lines, name="VLM"))
        .fillna("not run")
        .to_markdown(disable_numparse=True)
    )


def savings_table(folder: Path) -> str:
    """Return the Markdown table of the scores of each approximation, of the plain answer and of the exact method, or "Not run."."""
    path = folder / "results.json"
    stored = (
        pd.DataFrame(json.loads(path.read_text(encoding="utf-8")))
        if path.is_file()
        else pd.DataFrame()
    )
    if stored.empty:
        return "Not run."
    plain, exact = (
        stored[stored["method"] == method].set_index(["vlm", "benchmark"])
        for method in ("plain", OURS)
    )
    lines = []
    for row in stored[~stored["method"].isin(["plain", OURS])].to_dict("records"):
        other = exact.loc[row["vlm"], row["benchmark"]]
        inside = "yes" if other["low"] <= row["value"] <= other["high"] else "**no**"
        line = {
            "option": row["method"],
            "VLM": f"`{row['vlm']}`",
            "miniature": row["benchmark"],
            "n": row["n"],
        }
        line |= {"plain": f"{100 * plain.loc[row['vlm'], row['benchmark']]['value']:.1f}"}
        line |= {
            "exact": f"{100 * other['value']:.1f} [{100 * other['low']:.1f}, {100 * other['high']:.1f}]"
        }
        lines.append(
            {**line, "approximate": f"{100 * row['value']:.1f}", "inside the interval": inside}
        )
    return f"{pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)}\n\n{sources(stored)}"


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


def latex_table(cells: pd.DataFrame) -> str:
    """Return the LaTeX table (booktabs) of mean scores in percent: VLM and method a line, a benchmark a column, the best of a VLM bold."""
    scores = cells[cells["n"] > 0].assign(
        score=100 * cells["score"], method=cells["method"].str.replace("_", " ")
    )
    wide = scores.pivot_table(
        index=["vlm", "method"], columns="benchmark", values="score", sort=False
    )
    wide = wide.rename(index=lambda name: str(name).replace("_", " ")).rename_axis(
        index=[None, None], columns=None
    )
    ours = wide[[not str(method).startswith("control") for _, method in wide.index]]
    best = ours.groupby(level=0).max()

    def bold(column: pd.Series) -> list[str]:
        return [
            "textbf:--rwrap;" if value == best[column.name][vlm] else ""
            for (vlm, _), value in column.items()
        ]

    return (
        wide.style.format("{:.1f}", na_rep="--")
        .apply(bold, axis=0)
        .to_latex(hrules=True, clines="skip-last;data", multirow_align="t")
    )


def score_line(rows: pd.DataFrame) -> str:
    """Return one line for the rows of one VLM, benchmark and method: both scores with 95 % intervals, and what has no score."""
    scored = rows[rows["status"] == "ok"]
    first = rows.iloc[0]
    name = f"{first['vlm']} {first['benchmark']} {first['method']}"
    if scored.empty:
        return f"{name}: no example has a score; the first reason is: {first['reason']}"
    plain, zoomed = (_with_interval(_mean(scored[column])) for column in ("plain_score", "score"))
    missing = f", {len(rows) - len(scored)} without a score" if len(scored) < len(rows) else ""
    took = (
        f", {scored['seconds'].mean():.2f} s per example" if scored["seconds"].notna().any() else ""
    )
    return f"{name}: plain {plain}, {first['method']} {zoomed}, n = {len(scored)}{missing}{took}"


def _mean(scores: pd.Series) -> Interval:
    """Return the mean, with its interval, of the examples that have a score."""
    return interval(scores.dropna().to_numpy(dtype=float))


def _with_interval(found: Interval) -> str:
    return f"{100 * found.mean:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def miniatures_table(root: str | Path) -> str:
    """Return the Markdown table of stored evaluations: every VLM and benchmark, plain, with the oracle's crops, and with the method's.

    Args:
        root: folder with VLM/BENCHMARK/METHOD folders of ``control_oracle`` and ``entropy_gradient``.
    """
    lines, sources = [], []
    for folder in in_order(Path(root).glob("*/*/control_oracle")):
        oracle, source = load_rows(folder)
        zoomed = folder.with_name("entropy_gradient")
        found = load_rows(zoomed)[0] if (zoomed / "rows.parquet").is_file() else None
        vlm, benchmark = source["config"]["vlm"]["name"], source["config"]["benchmark"]["name"]
        plain, best = _mean(oracle["plain_score"]), _mean(oracle["score"])
        required, met = meets(benchmark, 100 * plain.mean, 100 * best.mean)
        lines.append(
            {
                "VLM": f"`{vlm}`",
                "miniature": benchmark.removeprefix("mini_"),
                "plain": _with_interval(plain),
                "oracle crop": _with_interval(best),
                "entropy gradient": "not run"
                if found is None
                else _with_interval(_mean(found["score"])),
                "s per example": ", ".join(
                    f"{rows['seconds'].mean():.2f}" for rows in (oracle, found) if rows is not None
                ),
                "n": int(oracle["score"].notna().sum()),
                "required": f"{required}: {'yes' if met else 'no'}",
            }
        )
        sources.append((vlm, short_identity(source), source["commit"]))
    weights = ", ".join(
        f"`{vlm}` {sha} (commit {commit})" for vlm, sha, commit in dict.fromkeys(sources)
    )
    return f"{pd.DataFrame(lines).to_markdown(index=False)}\n\nWeights (SHA-256): {weights}."


def protocol_table(root: str | Path) -> str:
    """Return the Markdown table of how much each switch moves the plain score of a miniature.

    Args:
        root: VLM/BENCHMARK/base folders; a benchmark's name is that of the miniature, and after ``+`` the switch (``mini_vstar+shuffled``).
    """
    lines = []
    for folder in sorted(Path(root).glob("*/*+*/base")):
        rows, source = load_rows(folder)
        name, _, switch = folder.parent.name.partition("+")
        reference, _ = load_rows(folder.parents[1] / name / "base")
        usual = set(reference["example_id"])
        change = 100 * (rows["plain_score"].mean() - reference["plain_score"].mean())
        lines.append(
            {
                "VLM": f"`{source['config']['vlm']['name']}`",
                "miniature": name.removeprefix("mini_"),
                "switch": f"`{switch}`",
                "default": _with_interval(_mean(reference["plain_score"])),
                "switched": _with_interval(_mean(rows["plain_score"])),
                "change": f"{change:+.1f}",
                "n": f"{len(reference)}, {len(rows)}"
                if usual != set(rows["example_id"])
                else f"{len(rows)}",
                "weights (SHA-256)": short_identity(source),
                "commit": source["commit"],
            }
        )
    return pd.DataFrame(lines).to_markdown(index=False)


def method_scores(
    root: str | Path, methods: Sequence[str] = ("control_oracle", "entropy_gradient")
) -> pd.DataFrame:
    """Return the scores of stored evaluations, one row an example, VLM, benchmark and method; "plain" comes with the first method's rows.

    Raises:
        InputError: when nothing is stored in ``root``.
    """
    parts = []
    for folder in in_order(path for method in methods for path in Path(root).glob(f"*/*/{method}")):
        if not (folder / "rows.parquet").is_file():
            continue
        rows, source = load_rows(folder)
        named = {"vlm": rows["vlm"], "benchmark": rows["benchmark"].str.removeprefix("mini_")}
        label = {"control_oracle": "oracle crop"}.get(
            source["method_name"], source["method_name"].replace("_", " ")
        )
        if source["method_name"] == methods[0]:
            parts.append(pd.DataFrame({**named, "method": "plain", "score": rows["plain_score"]}))
        parts.append(pd.DataFrame({**named, "method": label, "score": rows["score"]}))
    if not parts:
        raise InputError(
            f"No stored evaluation in '{root}': run 'python -m entropy_grounding.evaluate' with results_dir={root}."
        )
    return pd.concat(parts, ignore_index=True)
