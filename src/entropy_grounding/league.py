"""One protocol, every method: scores with intervals and paired tests, localisation, cost, and what location explains of a gain."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from entropy_grounding.benchmarks import BENCHMARKS
from entropy_grounding.errors import InputError
from entropy_grounding.localization import overlap
from entropy_grounding.results import load_rows
from entropy_grounding.stats import Interval, compare, holm, interval, share_explained
from entropy_grounding.structures import Box
from entropy_grounding.tables import HIDDEN, in_order
from entropy_grounding.vlm.identity import short_identity

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
ORACLES = ("control_oracle", "control_oracle_budget")  # they know the evidence, so they do not compete


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
            found += [cell(root, folder.parent.name, folder.name, method) for method in METHODS if method in {"plain", *stored}]
    if not found:
        raise InputError(f"No stored evaluation in '{root}': run 'python -m entropy_grounding.evaluate' with results_dir={root}.")
    return pd.DataFrame(found)


def cell(root: str | Path, vlm: str, benchmark: str, method: str) -> dict[str, Any]:
    """Return the row of `cells` for one VLM, benchmark and method, from its stored rows."""
    folder = Path(root) / vlm / benchmark
    return summarised(folder / (OURS if method == "plain" else method), folder / OURS, method)


def summarised(folder: Path, reference: Path, method: str, examples: int | None = None) -> dict[str, Any]:
    """Return the row of `cells` for the rows in a folder, computed once for as long as they do not change: intervals take time.

    Args:
        folder: of the rows; "plain" takes their plain scores.
        reference: folder of the rows that they are tested against.
        method: its name.
        examples: how many of the rows count, from the first on; None for all.
    """
    files = [path / "rows.parquet" for path in (folder, reference)]
    changed = tuple(file.stat().st_mtime_ns for file in files)
    return {**_summarised(folder, reference, method == "plain", examples, changed), "method": method}


@cache
def _summarised(folder: Path, reference: Path, plain: bool, examples: int | None, changed: tuple[int, ...]) -> dict[str, Any]:
    (rows, source), (ours, _) = (_first_rows(path, examples) for path in (folder, reference))
    return _summarise(rows.assign(score=rows["plain_score"]) if plain else rows, source, ours, plain=plain)


def _first_rows(folder: Path, examples: int | None) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the rows of the first examples of the data set, by their numbers: of some shards, others may be missing."""
    rows, source = load_rows(folder)
    return rows if examples is None else rows[rows["number"] < examples].reset_index(drop=True), source


def _summarise(rows: pd.DataFrame, source: dict[str, Any], ours: pd.DataFrame, *, plain: bool) -> dict[str, Any]:
    config = source["config"]
    scored = rows[rows["status"] == "ok"]
    line = {"vlm": config["vlm"]["name"], "benchmark": config["benchmark"]["name"].removeprefix("mini_")}
    line |= {"n": len(scored), "without": len(rows) - len(scored), "weights": short_identity(source), "commit": source["commit"]}
    if scored.empty:
        return line
    score = interval(scored["score"].to_numpy(float))
    line |= {"score": score.mean, "score_low": score.low, "score_high": score.high}
    change = compare(scored["plain_score"].to_numpy(float), scored["score"].to_numpy(float))
    line |= {"p_plain": change.p_value, "gained": change.gained, "lost": change.lost}
    both = scored.merge(ours[ours["status"] == "ok"], on="example_id", suffixes=("", "_ours"))
    line["p_ours"] = compare(both["score_ours"].to_numpy(float), both["score"].to_numpy(float)).p_value
    if plain:
        return {**line, "passes": 1.0}
    line |= {name: float(scored[name].mean()) for name in ("iou", "pointing", "energy", "chance", "seconds")}
    line["visual_tokens"] = float(
        scored["visual_tokens"].where(scored["lm_tokens"].notna()).mean()
    )  # rows of before counted kept tokens, too
    return {**line, "passes": float((scored["forwards"] + 2 * scored["backwards"]).mean())}


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
        line |= {cell.benchmark: _score(cell, plain.get(cell.benchmark)) for cell in of_method.itertuples()}
        flips = "" if method == "plain" else f"{of_method['gained'].sum():.0f}, {of_method['lost'].sum():.0f}"
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
    mine = found[(found["vlm"] == vlm) & found["benchmark"].isin(HIDDEN) & (found["method"] != "plain") & (found["n"] > 0)]
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


def mean_costs(found: pd.DataFrame, cost: str = "passes") -> pd.DataFrame:
    """Return the mean ``score`` and the mean of a column of cost of every VLM and method with a score on all benchmarks of the VLM.

    The cost is NaN where a benchmark has none: a mean over fewer benchmarks compares with nothing.
    """
    grouped = found[found["n"] > 0].groupby(["vlm", "method"], sort=False)
    benchmarks = grouped.size()
    whole = benchmarks == benchmarks.groupby("vlm").transform("max")
    return grouped[["score", cost]].agg(lambda column: column.mean(skipna=False))[whole].reset_index()


def mean_table(found: pd.DataFrame) -> str:
    """Return the Markdown table of mean scores in percent, passes in parentheses, a method a line, a VLM a column."""
    mean = mean_costs(found)
    shown = {(row.method, row.vlm): f"{100 * row.score:.1f} ({row.passes:.1f})" for row in mean.itertuples()}
    lines = [
        {"method": f"`{method}`", **{f"`{vlm}`": shown.get((method, vlm), "") for vlm in mean["vlm"].unique()}}
        for method in METHODS
        if method in set(mean["method"])
    ]
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def dominating(found: pd.DataFrame, reference: str = OURS) -> str:
    """Say which methods score at least as much as the reference, on the mean, and take no more passes; controls do not compete."""
    mean = mean_costs(found).set_index(["vlm", "method"])
    lines = []

    for vlm, better in dominating_methods(found, reference).items():
        ours = mean.loc[(vlm, reference)]
        named = [f"{row.method} ({100 * (row.score - ours['score']):+.1f} points, {row.passes:.1f} passes)" for row in better.itertuples()]
        lines.append(f"{vlm}: {', '.join(named) or 'none'}; {reference} takes {ours['passes']:.1f} passes.")

    return "\n".join(lines)


def dominating_methods(found: pd.DataFrame, reference: str = OURS) -> dict[str, pd.DataFrame]:
    """Return, by VLM, the `mean_costs` of methods that score at least as much as the reference for no more passes; no controls."""
    mean = mean_costs(found)
    competing = mean[~mean["method"].str.startswith("control") & (mean["method"] != reference)]
    better = {}

    for ours in mean[mean["method"] == reference].itertuples():
        others = competing[competing["vlm"] == ours.vlm]
        better[str(ours.vlm)] = others[(others["score"] >= ours.score) & (others["passes"] <= ours.passes)]

    return better


def differences(found: pd.DataFrame, reference: str = OURS) -> pd.DataFrame:
    """Return the cells of all methods but plain, oracles and the reference, with ``change`` from it in points and adjusted ``p`` (Holm)."""
    others = found[~found["method"].isin(("plain", reference, *ORACLES)) & found["p_ours"].notna()]
    usual = found[found["method"] == reference].set_index(["vlm", "benchmark"])["score"].to_dict()
    change = [100 * (row.score - usual.get((row.vlm, row.benchmark), np.nan)) for row in others.itertuples()]
    return others.assign(change=change, p=holm(others["p_ours"].tolist()) if len(others) else [])


def significant(found: pd.DataFrame, reference: str = OURS) -> pd.DataFrame:
    """Return the `differences` with ``sure``: whether the adjusted p is below 0.05."""
    tested = differences(found, reference)

    return tested.assign(sure=tested["p"] < 0.05 if len(tested) else [])


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


def location_shares(root: str | Path) -> pd.DataFrame:
    """Return what location explains of the gain, (entropy gradient - random) / (oracle - random), a row a VLM and benchmark.

    Random and oracle crops are as many as the method's (``control_random``, ``control_oracle_budget``); columns ``share``, ``low`` and
    ``high`` are NaN where the oracle is not surely better than random crops.
    """
    found = []
    for folder in in_order({path.parents[1] for path in Path(root).glob(f"*/*/{OURS}/rows.parquet")}):
        needed = [folder / method for method in (OURS, "control_random", "control_oracle_budget")]
        if not all((path / "rows.parquet").is_file() for path in needed):
            continue
        scores = pd.concat({path.name: _scores(path) for path in needed}, axis=1).dropna()
        share = share_explained(*(scores[path.name].to_numpy(float) for path in needed))
        found.append({"vlm": folder.parent.name, "benchmark": folder.name.removeprefix("mini_"), "n": len(scores), **_named(share)})
    return pd.DataFrame(found, columns=["vlm", "benchmark", "n", "share", "low", "high"])


def _scores(folder: Path) -> pd.Series:
    rows = load_rows(folder)[0]
    return rows[rows["status"] == "ok"].set_index("example_id")["score"]


def _named(share: Interval) -> dict[str, float]:
    return {"share": share.mean, "low": share.low, "high": share.high}


# Kinds of failures, from the first that applies.
MISSED, CUT, HARMED, MISREAD = "some evidence is in no crop", "evidence is cut off", "a right answer got lost", "seen and misread"


def failures(root: str | Path, vlm: str) -> pd.DataFrame:
    """Return the failures of `OURS` (see `failures_among`) in all stored benchmarks of a VLM, with a column ``benchmark``."""
    parts = []
    for folder in in_order({path.parents[1] for path in Path(root).glob(f"{vlm}/*/{OURS}/rows.parquet")}):
        if (folder / "control_oracle" / "rows.parquet").is_file():
            found = failures_among(load_rows(folder / OURS)[0], load_rows(folder / "control_oracle")[0])
            parts.append(found.assign(benchmark=folder.name))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["benchmark", "kind"])


def failures_among(rows: pd.DataFrame, oracle: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that are wrong although the plain answer or the answer from the oracle's crops is right, with their ``kind``."""
    both = rows.merge(oracle[["example_id", "score"]], on="example_id", suffixes=("", "_oracle"))
    wrong = both[(both["status"] == "ok") & (both["score"] < 0.5) & ((both["score_oracle"] >= 0.5) | (both["plain_score"] >= 0.5))]
    return wrong.assign(kind=[_kind(row) for row in wrong.itertuples()])


def _kind(row: Any) -> str:
    if row.plain_score >= 0.5:
        return HARMED
    seen = overlap([Box(*box) for box in row.crops], [Box(*box) for box in row.evidence])
    return MISSED if seen.covered == 0 else CUT if seen.covered < 0.9 else MISREAD


def location_table(shares: pd.DataFrame) -> str:
    """Return the Markdown table of `location_shares`, a VLM a line."""
    if shares.empty:
        return "Not run yet."
    lines = []
    for vlm, rows in shares.groupby("vlm", sort=False):
        found = {row.benchmark: _share(row) for row in rows.itertuples()}
        lines.append({"VLM": f"`{vlm}`", **{name: found.get(name, "not run") for name in BENCHMARKS}})
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def _share(row: Any) -> str:
    return "oracle not better" if np.isnan(row.share) else f"{100 * row.share:.0f} % [{100 * row.low:.0f}, {100 * row.high:.0f}]"


def _percent(value: float) -> str:
    return "" if pd.isna(value) else f"{100 * value:.1f} %"


def _number(value: float, digits: int) -> str:
    return "" if pd.isna(value) else f"{value:.{digits}f}"


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
    parts += ["### Accuracy against cost", "Mean score over all benchmarks, in parentheses forwards + 2 x backwards a question:"]
    parts += [mean_table(found), f"What scores at least as much as `{OURS}` for no more passes:"]
    parts.append("\n".join(f"- {line}" for line in dominating(found).splitlines()))
    parts += ["### What location explains", location_table(shares)]
    parts += ["### Where another method is better than `entropy_gradient`", wins_table(found), sources(found)]
    return "\n\n".join(parts)


def _missing(found: pd.DataFrame) -> list[str]:
    """Return the methods that were not run, with the VLM where only some lack them."""
    vlms, run = list(found["vlm"].drop_duplicates()), set(zip(found["method"], found["vlm"], strict=True))
    named = []
    for method in METHODS:
        absent = [f"`{vlm}`" for vlm in vlms if (method, vlm) not in run]
        if absent:
            named.append(f"`{method}`" if len(absent) == len(vlms) else f"`{method}` ({', '.join(absent)})")
    return named


def sources(found: pd.DataFrame) -> str:
    """Return the sentence that names weights, number of examples and commits behind a table."""
    per_vlm = [
        f"`{vlm}` {_joined(rows['weights'])} (commit {_joined(rows['commit'])}, n = {_joined(rows['n'][rows['n'] > 0])})"
        for vlm, rows in found.groupby("vlm", sort=False)
    ]
    return f"Weights (SHA-256): {'; '.join(per_vlm)}."


def _joined(values: Iterable) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values))
