"""Tables from stored rows; ``python -m entropy_grounding.tables`` writes them into README between their markers."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from scipy.stats import binomtest

from entropy_grounding.results import load_rows
from entropy_grounding.tiny.build import RECIPES


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
            "weights (SHA-256)": manifest["weights_sha256"][:12],
            "commit": manifest["commit"],
        }
    return pd.DataFrame(columns).to_markdown()


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
    return replace_between(text, "tiny_check", families_table(folders))


if __name__ == "__main__":
    repository = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    (repository / "README.md").write_text(readme_with_tables(repository))
