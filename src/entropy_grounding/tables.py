"""Tables from stored rows; ``python -m entropy_grounding.tables`` writes them into README between their markers."""

import sys
from pathlib import Path

import pandas as pd
from scipy.stats import binomtest

from entropy_grounding.results import load_rows


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
    table = check_table(root / "results" / "tiny_check" / "tiny_llava")
    return replace_between((root / "README.md").read_text(), "tiny_check/tiny_llava", table)


if __name__ == "__main__":
    repository = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    (repository / "README.md").write_text(readme_with_tables(repository))
