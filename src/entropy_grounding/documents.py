"""README and docs with tables from stored rows: ``python -m entropy_grounding.documents`` writes them between their markers."""

import sys
from pathlib import Path

from entropy_grounding.league import cells, location_shares, report
from entropy_grounding.results import load_rows, read_summary, write_summary
from entropy_grounding.tables import check_table, families_table, miniatures_table, protocol_table, score_line
from entropy_grounding.tiny.build import RECIPES

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
    """Return the README of the repository at ``root`` with its tables made anew from the stored rows."""
    text = (root / "README.md").read_text()
    stored = (root / "results" / "tiny_check" / f"tiny_{family}" for family in RECIPES)
    folders = [folder for folder in stored if folder.is_dir()]
    for folder in folders:
        text = replace_between(text, f"tiny_check/{folder.name}", check_table(folder))
    text = replace_between(text, "tiny_check", families_table(folders))
    text = replace_between(text, "miniatures", miniatures_table(root / "results" / "miniatures"))
    rows, _ = load_rows(root / "results" / "miniatures" / "tiny_llava" / "mini_textvqa" / "entropy_gradient")
    return replace_between(text, "evaluate", f"```\n{score_line(rows)}\n```")


def protocol_with_table(root: Path) -> str:
    """Return docs/protocol.md of the repository at ``root`` with its table made anew from the stored rows."""
    text = (root / "docs" / "protocol.md").read_text()
    return replace_between(text, "protocol", protocol_table(root / "results" / "protocol"))


def baselines_with_tables(root: Path) -> str:
    """Return docs/baselines.md of the repository at ``root`` with its tables made anew from the summaries of the stored rows."""
    text = (root / "docs" / "baselines.md").read_text()
    return replace_between(text, "league", report(*(read_summary(root / "results" / "league" / name) for name in SUMMARIES)))


if __name__ == "__main__":
    repository = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    miniatures = repository / "results" / "miniatures"
    for name, table in zip(SUMMARIES, (cells(miniatures), location_shares(miniatures)), strict=True):
        write_summary(repository / "results" / "league" / name, table)
    (repository / "docs" / "baselines.md").write_text(baselines_with_tables(repository))
    (repository / "README.md").write_text(readme_with_tables(repository))
    (repository / "docs" / "protocol.md").write_text(protocol_with_table(repository))
