"""Tables from stored rows."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
from scipy.stats import binomtest

from entropy_grounding.benchmarks import BENCHMARKS
from entropy_grounding.errors import InputError
from entropy_grounding.results import load_rows
from entropy_grounding.stats import Interval, interval
from entropy_grounding.tiny.build import RECIPES
from entropy_grounding.vlm.identity import short_identity


def check_table(folder: str | Path) -> str:
    """Return the Markdown table of `tiny.check`, with the way from plain to oracle that each method goes.

    Intervals are exact 95 % (Clopper-Pearson). "Way" is (accuracy - plain) / (oracle - plain).
    """
    rows, manifest = load_rows(folder)
    accuracy = rows.groupby("method", sort=False)["correct"].mean()
    plain, oracle = accuracy["plain"], accuracy["oracle crop"]
    lines = ["| method | accuracy | 95 % interval | way to oracle | rounds |", "|---|---|---|---|---|"]
    for method, group in rows.groupby("method", sort=False):
        interval = binomtest(int(group["correct"].sum()), len(group)).proportion_ci()
        way = (accuracy[method] - plain) / (oracle - plain)
        rounds = "" if group["rounds"].isna().all() else f"{group['rounds'].mean():.2f}"
        lines.append(f"| {method} | {accuracy[method]:.1%} | {interval.low:.1%} to {interval.high:.1%} | {way:.0%} | {rounds} |")
    return "\n".join([*lines, "", _peak_sentence(rows), "", _source_sentence(rows, manifest)])


def _peak_sentence(rows: pd.DataFrame) -> str:
    first = rows[rows["method"] == "entropy_gradient"]
    return (
        f"Peak of the first map on the evidence: {first['peak_hit'].astype(bool).mean():.1%} of examples "
        f"(chance {first['peak_chance'].mean():.1%})."
    )


def _source_sentence(rows: pd.DataFrame, manifest: dict) -> str:
    config = manifest["config"]
    return (
        f"Weights `{config['vlm']['name']}` (SHA-256 {manifest['weights_sha256'][:12]}), n = {rows['seed'].nunique()} held-out scenes, "
        f"commit {manifest['commit']}."
    )


def families_table(folders: Sequence[Path]) -> str:
    """Return the Markdown table of the required figures, one stored check of a tiny VLM a column."""
    columns = {}
    for folder in folders:
        rows, manifest = load_rows(folder)
        accuracy = rows.groupby("method", sort=False)["correct"].mean()
        plain, gain = accuracy["plain"], accuracy["oracle crop"] - accuracy["plain"]
        rules = accuracy.drop(["plain", "oracle crop", "random crop"])
        first = rows[rows["method"] == "entropy_gradient"]
        columns[f"`{folder.name}`"] = {
            "plain": f"{plain:.1%}",
            "oracle crop": f"{accuracy['oracle crop']:.1%}",
            "random crop of the same size": f"{accuracy['random crop']:.1%}",
            "entropy gradient, paper's preset": f"{accuracy['entropy_gradient']:.1%}",
            "... of the way from plain to oracle": f"{(accuracy['entropy_gradient'] - plain) / gain:.0%}",
            "best stopping rule": f"{rules.idxmax()}: {rules.max():.1%} ({(rules.max() - plain) / gain:.0%} of the way)",
            "peak of the first map on the evidence": f"{first['peak_hit'].astype(bool).mean():.1%}",
            "... by chance": f"{first['peak_chance'].mean():.1%}",
            "held-out scenes": str(rows["seed"].nunique()),
            "weights (SHA-256)": short_identity(manifest),
            "commit": manifest["commit"],
        }
    return pd.DataFrame(columns).to_markdown()


def score_line(rows: pd.DataFrame) -> str:
    """Return one line for the rows of one VLM, benchmark and method: both scores with 95 % intervals, and what has no score."""
    scored = rows[rows["status"] == "ok"]
    first = rows.iloc[0]
    name = f"{first['vlm']} {first['benchmark']} {first['method']}"
    if scored.empty:
        return f"{name}: no example has a score; the first reason is: {first['reason']}"
    plain, zoomed = (_with_interval(_mean(scored[column])) for column in ("plain_score", "score"))
    missing = f", {len(rows) - len(scored)} without a score" if len(scored) < len(rows) else ""
    took = f", {scored['seconds'].mean():.2f} s per example" if scored["seconds"].notna().any() else ""
    return f"{name}: plain {plain}, {first['method']} {zoomed}, n = {len(scored)}{missing}{took}"


def _mean(scores: pd.Series) -> Interval:
    """Return the mean, with its interval, of the examples that have a score."""
    return interval(scores.dropna().to_numpy(dtype=float))


def _with_interval(found: Interval) -> str:
    return f"{100 * found.mean:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


# What a miniature must show: the smallest gain of the oracle crop over the plain answer, or, where no zoom is needed, the largest
# difference between them and the smallest plain score; in points.
GAINS = {"mini_textvqa": 25.0, "mini_vstar": 25.0, "mini_docvqa": 25.0, "mini_infovqa": 25.0, "mini_pope": 8.0}
HIDDEN = tuple(name.removeprefix("mini_") for name in GAINS)  # the benchmarks whose evidence the full picture hides
WITHOUT_ZOOM, PLAIN_AT_LEAST = 5.0, 70.0


def meets(benchmark: str, plain: float, oracle: float) -> tuple[str, bool]:
    """Return what is required of a miniature, and whether these scores (in percent) meet it."""
    if benchmark in GAINS:
        return f"oracle >= plain + {GAINS[benchmark]:.0f}", oracle >= plain + GAINS[benchmark]
    required = f"within {WITHOUT_ZOOM:.0f}, plain >= {PLAIN_AT_LEAST:.0f}"
    return required, abs(oracle - plain) <= WITHOUT_ZOOM and plain >= PLAIN_AT_LEAST


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
                "entropy gradient": "not run" if found is None else _with_interval(_mean(found["score"])),
                "s per example": ", ".join(f"{rows['seconds'].mean():.2f}" for rows in (oracle, found) if rows is not None),
                "n": int(oracle["score"].notna().sum()),
                "required": f"{required}: {'yes' if met else 'no'}",
            }
        )
        sources.append((vlm, short_identity(source), source["commit"]))
    weights = ", ".join(f"`{vlm}` {sha} (commit {commit})" for vlm, sha, commit in dict.fromkeys(sources))
    return f"{pd.DataFrame(lines).to_markdown(index=False)}\n\nWeights (SHA-256): {weights}."


def in_order(folders: Iterable[Path]) -> list[Path]:
    """Sort VLM/BENCHMARK and VLM/BENCHMARK/METHOD folders as the paper's table has them."""
    known = [f"tiny_{family}" for family in RECIPES] + [f"mini_{name}" for name in BENCHMARKS]

    def place(folder: Path) -> list[tuple[int, str]]:
        return [(known.index(name) if name in known else len(known), name) for name in folder.parts]

    return sorted(folders, key=place)


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
                "n": f"{len(reference)}, {len(rows)}" if usual != set(rows["example_id"]) else f"{len(rows)}",
                "weights (SHA-256)": short_identity(source),
                "commit": source["commit"],
            }
        )
    return pd.DataFrame(lines).to_markdown(index=False)


def method_scores(root: str | Path, methods: Sequence[str] = ("control_oracle", "entropy_gradient")) -> pd.DataFrame:
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
        label = {"control_oracle": "oracle crop"}.get(source["method_name"], source["method_name"].replace("_", " "))
        if source["method_name"] == methods[0]:
            parts.append(pd.DataFrame({**named, "method": "plain", "score": rows["plain_score"]}))
        parts.append(pd.DataFrame({**named, "method": label, "score": rows["score"]}))
    if not parts:
        raise InputError(f"No stored evaluation in '{root}': run 'python -m entropy_grounding.evaluate' with results_dir={root}.")
    return pd.concat(parts, ignore_index=True)
