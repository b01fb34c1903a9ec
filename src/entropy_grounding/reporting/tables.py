"""Tables in Markdown and LaTeX, from summaries."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from entropy_grounding.benchmarks.load import BENCHMARKS
from entropy_grounding.benchmarks.miniature.requirements import hides_evidence, meets
from entropy_grounding.benchmarks.names import display_name, in_paper_order
from entropy_grounding.core.errors import InputError
from entropy_grounding.evaluation.archive import PUBLISHED, stored_evaluations, table_rows
from entropy_grounding.evaluation.retried import retried_share
from entropy_grounding.metrics.statistics import Interval, interval
from entropy_grounding.reporting.comparisons import differences, mean_costs
from entropy_grounding.reporting.significance import ALPHA, mark
from entropy_grounding.reporting.summary import METHODS, OURS, in_order
from entropy_grounding.vlm.weights import short_identity


def score_table(found: pd.DataFrame, vlm: str) -> str:
    """Return the Markdown table of the scores of one VLM.

    It has one row per method and one column per benchmark. A + or - marks a significant change from
    plain (`is_significant`). The last column counts the answers that became right, and those that
    became wrong.

    Args:
        found: one row per VLM, benchmark and method (`cells`).
        vlm: name of the VLM.
    """
    mine = found[found["vlm"] == vlm]
    plain = mine[mine["method"] == "plain"].set_index("benchmark")["score"].to_dict()
    benchmarks = [display_name(name) for name in in_paper_order(found["benchmark"])]

    lines = []
    for method in mine["method"].drop_duplicates():
        of_method = mine[mine["method"] == method]
        line = {"method": f"`{method}`", **dict.fromkeys(benchmarks, "not run")}
        for cell in of_method.itertuples():
            line[display_name(str(cell.benchmark))] = _score(cell, plain.get(cell.benchmark))

        flips = ""
        if method != "plain":
            flips = f"{of_method['gained'].sum():.0f}, {of_method['lost'].sum():.0f}"
        lines.append({**line, "gained, lost": flips})

    # Without number parsing, the table keeps every digit as it is written.
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def _score(cell: Any, plain: float | None) -> str:
    """Write a score in percent with its interval.

    A + or - after it marks a significant change from the plain score.
    """
    if cell.n == 0:
        return "n/a"

    sign = "" if plain is None else mark(cell.p_plain, cell.score - plain)
    return f"{100 * cell.score:.1f} [{100 * cell.score_low:.1f}, {100 * cell.score_high:.1f}]{sign}"


def place_table(found: pd.DataFrame, vlm: str) -> str:
    """Return the Markdown table of where each method of one VLM looked and what it cost.

    The numbers are means over the benchmarks that hide evidence. "IoU" is that of the union of the
    crops; the IoU in the paper's table 2 is that of the best crop alone.

    Args:
        found: one row per VLM, benchmark and method (`cells`).
        vlm: name of the VLM.
    """
    mine = found[
        (found["vlm"] == vlm)
        & found["benchmark"].map(hides_evidence)
        & (found["method"] != "plain")
        & (found["n"] > 0)
    ]

    lines = []
    for method in mine["method"].drop_duplicates():
        # A mean is NaN, and its field empty, if one benchmark has no value.
        mean = mine[mine["method"] == method].mean(numeric_only=True, skipna=False)
        lines.append(
            {
                "method": f"`{method}`",
                "IoU": _number(mean["iou"], 3),
                "IoU of the best crop": _number(mean["best_iou"], 3),
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
    """Return the Markdown table of mean scores in percent, with the mean passes in parentheses.

    It has one row per method and one column per VLM.
    """
    mean = mean_costs(found)
    vlms = mean["vlm"].unique()
    run = set(mean["method"])

    fields = {}
    for row in mean.itertuples():
        fields[row.method, row.vlm] = f"{100 * row.score:.1f} ({row.passes:.1f})"

    lines = []
    for method in METHODS:
        if method in run:
            of_method = {f"`{vlm}`": fields.get((method, vlm), "") for vlm in vlms}
            lines.append({"method": f"`{method}`", **of_method})

    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def reference_table(found: pd.DataFrame, reference: str = OURS) -> str:
    """Return the Markdown table of the significant `differences`."""
    tested = differences(found, reference)
    if tested.empty:
        return "No other method was run yet."

    sure = tested[tested["sure"]]
    what = f"significantly different from `{reference}`"
    if sure.empty:
        return f"None of {len(tested)} cells is {what}."

    heading = f"{len(sure)} of {len(tested)} cells are {what} (change in points):"
    return f"{heading}\n\n{_changes(sure, ['p'])}"


def wins_table(found: pd.DataFrame, reference: str = OURS) -> str:
    """Return the Markdown table of the gains among the `differences` with unadjusted p < 0.05.

    A sentence above it says how many of them stay significant after the adjustment.
    """
    better, heading = _wins(found, reference)
    if better.empty:
        return heading

    return f"{heading} (change in points):\n\n{_changes(better, ['p', 'adjusted p'])}"


def wins_sentence(found: pd.DataFrame, reference: str = OURS) -> str:
    """Return the sentence above `wins_table`, with the methods and benchmarks of the sure wins."""
    better, heading = _wins(found, reference)
    if better.empty:
        return heading

    sure = better[better["sure"]]
    pairs = sorted(
        {f"`{row.method}` on {display_name(str(row.benchmark))}" for row in sure.itertuples()}
    )
    named = f" Significant: {', '.join(pairs)}." if pairs else ""
    return f"{heading}.{named}"


def _wins(found: pd.DataFrame, reference: str) -> tuple[pd.DataFrame, str]:
    """Return the gains with unadjusted p < 0.05, and how many of them are significant."""
    tested = differences(found, reference).rename(columns={"p": "adjusted p", "p_ours": "p"})
    if tested.empty:
        return tested, "No other method was run yet."

    better = tested[(tested["p"] < ALPHA) & (tested["change"] > 0)].sort_values("p")
    heading = (
        f"{better['sure'].sum()} of {len(tested)} cells are significantly better than "
        f"`{reference}` (adjusted p < {ALPHA})"
    )
    if better.empty:
        return better, f"{heading}, and none has an unadjusted p < {ALPHA}."

    return better, f"{heading}; with an unadjusted p < {ALPHA}: {len(better)}"


def _changes(cells: pd.DataFrame, tests: list[str]) -> str:
    """Return the Markdown table of some `differences`; ``tests`` names the columns of p-values."""
    table = cells[["vlm", "benchmark", "method", "change", *tests]].round({"change": 1})
    table["benchmark"] = table["benchmark"].map(display_name)
    for name in tests:
        table[name] = [f"{p:.1g}" for p in cells[name]]

    return table.to_markdown(index=False, disable_numparse=True)


def location_table(shares: pd.DataFrame) -> str:
    """Return the Markdown table of `location_shares`: one row per VLM, one column per benchmark."""
    if shares.empty:
        return "Not run yet."

    benchmarks = [display_name(name) for name in in_paper_order(shares["benchmark"])]

    lines = []
    for vlm, rows in shares.groupby("vlm", sort=False):
        line = {"VLM": f"`{vlm}`", **dict.fromkeys(benchmarks, "not run")}
        for row in rows.itertuples():
            line[display_name(str(row.benchmark))] = _share(row)
        lines.append(line)

    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def _share(row: Any) -> str:
    """Write a share in percent with its interval."""
    if np.isnan(row.share):
        return "oracle not better"

    return f"{100 * row.share:.0f} % [{100 * row.low:.0f}, {100 * row.high:.0f}]"


def _percent(value: float) -> str:
    """Write a fraction in percent; nothing for NaN."""
    return "" if pd.isna(value) else f"{100 * value:.1f} %"


def _number(value: float, digits: int) -> str:
    """Write a number with some digits after the point; nothing for NaN."""
    return "" if pd.isna(value) else f"{value:.{digits}f}"


def sources(found: pd.DataFrame) -> str:
    """Return the sentence that names the weights, numbers of examples and commits of a table."""
    per_vlm = []
    for vlm, rows in found.groupby("vlm", sort=False):
        counts = rows["n"][rows["n"] > 0]
        per_vlm.append(
            f"`{vlm}` {_joined(rows['weights'])} "
            f"(commit {_joined(rows['commit'])}, n = {_joined(counts)})"
        )

    return f"Weights (SHA-256): {'; '.join(per_vlm)}.{retried_note(found)}"


def retried_note(found: pd.DataFrame) -> str:
    """Return the sentences that name the evaluations for which memory ran out; often none.

    Args:
        found: one row per evaluation, with its share ``retried`` if there are any.
    """
    if "retried" not in found:
        return ""

    named = []
    for row in found[found["retried"] > 0].to_dict("records"):
        parts = [f"`{row[name]}`" for name in ("vlm", "benchmark", "method") if name in row]
        named.append(f"{' '.join(parts)} {100 * row['retried']:.1f} %")
    if not named:
        return ""
    return f" Answered with fewer crops or pixels, for lack of memory: {'; '.join(named)}."


def _retried_rows(evaluations: Iterable[pd.DataFrame]) -> str:
    """Return the `retried_note` of the rows of evaluations; a repeated evaluation counts once."""
    shares = {}
    for rows in evaluations:
        first = rows.iloc[0]
        shares[first["vlm"], first["benchmark"], first["method"]] = retried_share(rows)

    records = [
        {"vlm": vlm, "benchmark": benchmark, "method": method, "retried": share}
        for (vlm, benchmark, method), share in shares.items()
    ]
    return retried_note(pd.DataFrame(records))


def _joined(values: Iterable) -> str:
    """Write every different value once, in the order of first appearance."""
    return ", ".join(dict.fromkeys(str(value) for value in values))


def headline_table(cells: pd.DataFrame) -> str:
    """Return the Markdown table of plain and final scores in percent.

    It has one row per VLM and one column per benchmark. A + or - marks a significant change.

    Args:
        cells: one row per VLM, benchmark and method (`cells`).
    """
    plain = cells[cells["method"] == "plain"]
    pairs = cells[cells["method"] == OURS].merge(
        plain, on=["vlm", "benchmark"], suffixes=("", "_plain")
    )

    # One dictionary per VLM, from benchmark to text.
    lines: dict[str, dict[str, str]] = {}
    for row in pairs.to_dict("records"):
        sign = mark(row["p_plain"], row["score"] - row["score_plain"])
        scores = f"{100 * row['score_plain']:.1f} → {100 * row['score']:.1f}{sign}"
        lines.setdefault(f"`{row['vlm']}`", {})[row["benchmark"]] = scores

    table = pd.DataFrame(lines.values(), index=pd.Index(lines, name="VLM")).fillna("not run")
    named = table[in_paper_order(table.columns)].rename(columns=display_name)
    return named.to_markdown(disable_numparse=True)


def savings_table(stored: pd.DataFrame) -> str:
    """Return the Markdown table of approximations, compared with the exact method.

    It has one row per approximation, VLM and benchmark. Without stored scores it is "Not run.".

    Args:
        stored: the records of the experiment, from `summary_records`.
    """
    if stored.empty:
        return "Not run."

    plain = stored[stored["method"] == "plain"].set_index(["vlm", "benchmark"])
    exact = stored[stored["method"] == OURS].set_index(["vlm", "benchmark"])

    lines = []
    for row in stored[~stored["method"].isin(["plain", OURS])].to_dict("records"):
        usual = plain.loc[row["vlm"], row["benchmark"]]
        best = exact.loc[row["vlm"], row["benchmark"]]
        inside = best["low"] <= row["value"] <= best["high"]
        lines.append(
            {
                "option": row["method"],
                "VLM": f"`{row['vlm']}`",
                "miniature": display_name(row["benchmark"]),
                "n": row["n"],
                "plain": f"{100 * usual['value']:.1f}",
                "exact": _value(best),
                "approximate": f"{100 * row['value']:.1f}",
                "inside the interval": "yes" if inside else "**no**",
            }
        )

    table = pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)
    return f"{table}\n\n{sources(stored)}"


def savings_summary(stored: pd.DataFrame) -> str:
    """Return the Markdown table of approximations, one row per approximation and VLM.

    Args:
        stored: the records of the experiment, from `summary_records`.
    """
    if stored.empty:
        return "Not run."

    exact = stored[stored["method"] == OURS].set_index(["vlm", "benchmark"])
    others = stored[~stored["method"].isin(["plain", OURS])]

    lines = []
    for (option, vlm), rows in others.groupby(["method", "vlm"], sort=False):
        best = exact.loc[vlm].loc[rows["benchmark"]]
        values = rows["value"].to_numpy()
        inside = (best["low"].to_numpy() <= values) & (values <= best["high"].to_numpy())
        lines.append(
            {
                "option": option,
                "VLM": f"`{vlm}`",
                "mean, exact": f"{100 * best['value'].mean():.1f}",
                "mean, approximate": f"{100 * values.mean():.1f}",
                "inside the interval": f"{inside.sum()} of {len(rows)}",
            }
        )

    table = pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)
    return f"{table}\n\n{sources(stored)}"


def _value(record: pd.Series) -> str:
    """Write the value of a record in percent, with its interval."""
    return f"{100 * record['value']:.1f} [{100 * record['low']:.1f}, {100 * record['high']:.1f}]"


def cost_table(found: pd.DataFrame) -> str:
    """Return the Markdown table of `benchmark_cost`: one row per measurement.

    A row holds the measured value, its limit and whether the limit is kept.
    """
    lines = []
    for row in found.to_dict("records"):
        line = {"figure": row["figure"], "value": f"{row['value']:.3g}", "at most": "", "kept": ""}
        if not pd.isna(row["limit"]):
            line["at most"] = f"{row['limit']:g}"
            line["kept"] = "yes" if row["value"] <= row["limit"] else "**no**"
        lines.append(line)

    table = pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)

    # All rows come from the same run.
    first = found.iloc[0]
    about = (
        f"Median of {first['repeats']} interleaved repeats; "
        f"answers of {first['examples']} questions; commit {first['commit']}."
    )
    return f"{table}\n\n{about}"


def latex_table(cells: pd.DataFrame) -> str:
    """Return the LaTeX table (booktabs) of mean scores in percent.

    It has one row per VLM and method, and one column per benchmark. The best score of a VLM is
    bold; controls do not compete.

    Args:
        cells: one row per VLM, benchmark and method (`cells`).
    """
    # In LaTeX an underscore starts a subscript, so names get spaces.
    scores = cells[cells["n"] > 0].assign(
        score=100 * cells["score"], method=cells["method"].str.replace("_", " ")
    )
    wide = scores.pivot_table(
        index=["vlm", "method"], columns="benchmark", values="score", sort=False
    )
    wide = wide[in_paper_order(wide.columns)]
    # Any underscore that is left belongs to the name of a user's benchmark.
    wide = wide.rename(columns=lambda name: display_name(name).replace("_", " "))
    wide = wide.rename(index=lambda name: str(name).replace("_", " "))
    wide = wide.rename_axis(index=[None, None], columns=None)

    competing = wide[[not str(method).startswith("control") for _, method in wide.index]]
    best = competing.groupby(level=0).max()  # one row per VLM, one column per benchmark

    def bold(column: pd.Series) -> list[str]:
        return [
            "textbf:--rwrap;" if value == best[column.name][vlm] else ""
            for (vlm, _), value in column.items()
        ]

    styled = wide.style.format("{:.1f}", na_rep="--").apply(bold, axis=0)
    table = styled.to_latex(hrules=True, clines="skip-last;data", multirow_align="t")

    note = retried_note(cells).strip().replace("`", "").replace("_", " ").replace("%", r"\%")
    return f"{table}\n{note}\n" if note else table


def score_line(rows: pd.DataFrame) -> str:
    """Return one line of text for the rows of one VLM, benchmark and method.

    It holds the plain and the final score with 95 % intervals, how many examples have no score, and
    the mean time.
    """
    scored = rows[rows["status"] == "ok"]
    first = rows.iloc[0]
    name = f"{first['vlm']} {first['benchmark']} {first['method']}"
    if scored.empty:
        return f"{name}: no example has a score; the first reason is: {first['reason']}"

    plain = _with_interval(_mean(scored["plain_score"]))
    zoomed = _with_interval(_mean(scored["score"]))
    without = len(rows) - len(scored)
    missing = f", {without} without a score" if without else ""

    seconds = scored["seconds"]
    took = f", {seconds.mean():.2f} s per example" if seconds.notna().any() else ""

    share = retried_share(rows) if "retried" in rows else 0.0
    fewer = f", {100 * share:.1f} % with fewer crops or pixels" if share else ""

    return (
        f"{name}: plain {plain}, {first['method']} {zoomed}, n = {len(scored)}"
        f"{missing}{fewer}{took}"
    )


def published_line(rows: pd.DataFrame, kind: str) -> str:
    """Return one line of text with the scores that the authors of a benchmark publish.

    It is empty where they publish the mean of all rows alone, and where no example has a score.

    Args:
        rows: of one VLM, benchmark and method.
        kind: the benchmark, a key of `BENCHMARKS`.
    """
    scored = rows[rows["status"] == "ok"]
    if scored.empty:
        return ""

    parts = []
    for name, column in (("plain", "plain_score"), (scored["method"].iloc[0], "score")):
        columns = (scored[each].tolist() for each in (column, "example_id", "group"))
        means = BENCHMARKS[kind].published(*columns)
        if means:
            written = ", ".join(f"{part} {100 * mean:.1f}" for part, mean in means.items())
            parts.append(f"{name} {written}")

    return f"as published: {'; '.join(parts)}" if parts else ""


def _mean(scores: pd.Series) -> Interval:
    """Return the mean, with its interval, of the examples that have a score."""
    return interval(scores.dropna().to_numpy(dtype=float))


def _with_interval(score: Interval) -> str:
    """Write a mean in percent with its interval."""
    return f"{100 * score.mean:.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]"


def miniatures_table(root: str | Path) -> str:
    """Return the Markdown table of the stored evaluations of miniatures.

    It has one row per VLM and benchmark, with the scores of the plain answer, with the oracle's
    crops and with the method's crops.

    Args:
        root: folder with VLM/BENCHMARK/METHOD folders of ``control_oracle`` and
            ``entropy_gradient``.
    """
    lines, per_vlm, shown = [], [], []
    stored = set(stored_evaluations(root))
    for folder in in_order(path for path in stored if path.name == "control_oracle"):
        oracle, source = table_rows(folder)  # the oracle's rows hold the plain answers, too
        zoomed = folder.with_name("entropy_gradient")
        ours = table_rows(zoomed)[0] if zoomed in stored else None

        lines.append(_miniature_line(oracle, ours, source))
        shown += [oracle] if ours is None else [oracle, ours]

        vlm, weights = source["config"]["vlm"]["name"], short_identity(source)
        per_vlm.append(f"`{vlm}` {weights} (commit {source['commit']})")

    table = pd.DataFrame(lines).to_markdown(index=False)
    return f"{table}\n\nWeights (SHA-256): {_joined(per_vlm)}.{_retried_rows(shown)}"


def _miniature_line(
    oracle: pd.DataFrame, ours: pd.DataFrame | None, source: dict[str, Any]
) -> dict[str, Any]:
    """Return the line of one VLM and miniature.

    Args:
        oracle: rows with the oracle's crops.
        ours: rows of the method, if it was run.
        source: manifest of the oracle's rows.
    """
    benchmark = source["config"]["benchmark"]["name"]
    plain, best = _mean(oracle["plain_score"]), _mean(oracle["score"])
    required, met = meets(benchmark, 100 * plain.mean, 100 * best.mean)

    final, seconds = "not run", f"{oracle['seconds'].mean():.2f}"
    if ours is not None:
        final = _with_interval(_mean(ours["score"]))
        seconds += f", {ours['seconds'].mean():.2f}"

    return {
        "VLM": f"`{source['config']['vlm']['name']}`",
        "miniature": display_name(benchmark),
        "plain": _with_interval(plain),
        "oracle crop": _with_interval(best),
        "entropy gradient": final,
        "s per example": seconds,
        "n": int(oracle["score"].notna().sum()),
        "required": f"{required}: {'yes' if met else 'no'}",
    }


def protocol_table(root: str | Path) -> str:
    """Return the Markdown table of how much each switch moves the plain score of a miniature.

    Args:
        root: folder with VLM/BENCHMARK/base folders. A benchmark with a switch is named after the
            miniature, a ``+`` and the switch (``mini_vstar+shuffled``).
    """
    lines, shown = [], []
    for folder in stored_evaluations(root):
        if "+" not in folder.parent.name:
            continue

        rows, source = table_rows(folder)
        name, _, switch = folder.parent.name.partition("+")
        reference, _ = table_rows(folder.parents[1] / name / "base")
        shown += [rows, reference]

        # A switch may choose other examples; then both numbers are shown.
        same = set(reference["example_id"]) == set(rows["example_id"])
        change = 100 * (rows["plain_score"].mean() - reference["plain_score"].mean())

        lines.append(
            {
                "VLM": f"`{source['config']['vlm']['name']}`",
                "miniature": display_name(name),
                "switch": f"`{switch}`",
                "default": _with_interval(_mean(reference["plain_score"])),
                "switched": _with_interval(_mean(rows["plain_score"])),
                "change": f"{change:+.1f}",
                "n": f"{len(rows)}" if same else f"{len(reference)}, {len(rows)}",
                "weights (SHA-256)": short_identity(source),
                "commit": source["commit"],
            }
        )

    note = _retried_rows(shown).strip()
    table = pd.DataFrame(lines).to_markdown(index=False)
    return f"{table}\n\n{note}" if note else table


def method_scores(
    root: str | Path = "", methods: Sequence[str] = ("control_oracle", "entropy_gradient")
) -> pd.DataFrame:
    """Return the scores of stored evaluations, one row per example, VLM, benchmark and method.

    Args:
        root: folder with VLM/BENCHMARK/METHOD folders; by default that of the published Table 1.
        methods: names of the methods; "plain" is taken from the rows of the first one.

    Raises:
        InputError: if nothing is stored in ``root``.
    """
    root = root or PUBLISHED / "table1"
    parts = []
    stored = [path for path in stored_evaluations(root) if path.name in methods]
    for folder in in_order(stored):
        rows, source = table_rows(folder)
        method = source["method_name"]
        cell = {"vlm": rows["vlm"], "benchmark": rows["benchmark"]}
        if method == methods[0]:
            parts.append(pd.DataFrame({**cell, "method": "plain", "score": rows["plain_score"]}))

        parts.append(pd.DataFrame({**cell, "method": method, "score": rows["score"]}))

    if not parts:
        raise InputError(
            f"No stored evaluation in '{root}': run 'eg evaluate' with results_dir={root}."
        )

    return pd.concat(parts, ignore_index=True)
