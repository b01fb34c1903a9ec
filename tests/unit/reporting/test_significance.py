"""One rule of significance for all tables."""

import re
from collections import defaultdict
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from entropy_grounding.reporting.comparisons import differences
from entropy_grounding.reporting.significance import TEST, adjusted, is_significant, mark
from entropy_grounding.reporting.tables import headline_table, score_table

ROOT = Path(__file__).resolve().parents[3]


def test_a_p_value_is_adjusted_for_the_28_cells_of_a_method():
    found = adjusted(pd.Series([0.001, 0.04, np.nan]))
    assert found.tolist()[:2] == [pytest.approx(0.028), 1.0]
    assert np.isnan(found[2])


@pytest.mark.parametrize(
    ("p", "change", "sign"),
    [(0.0017, 1.0, "+"), (0.0017, -1.0, "-"), (0.0018, 1.0, ""), (float("nan"), 1.0, "")],
)
def test_the_mark_is_the_sign_of_a_significant_change(p, change, sign):
    """0.05 / 28 is 0.00179."""
    assert mark(p, change) == sign
    assert is_significant(p) == bool(sign)


def cells(benchmarks, methods, p):
    lines = []
    for benchmark in benchmarks:
        for method in ("plain", *methods):
            score = 0.2 if method == "plain" else 0.4
            line = {"vlm": "tiny_llava", "benchmark": benchmark, "method": method, "n": 9}
            line |= {"score": score, "score_low": score, "score_high": score}
            line |= {"p_plain": p, "p_ours": p, "gained": 1, "lost": 0}
            lines.append(line)
    return pd.DataFrame(lines)


@pytest.mark.parametrize(("p", "sign"), [(0.0017, "+"), (0.01, "")])
def test_a_cell_has_the_same_mark_in_a_short_and_in_a_long_table(p, sign):
    """Holm over the table would mark p = 0.01 in the short table only."""
    few = cells(["mini_gqa"], ["entropy_gradient"], p)
    many = cells(
        ["mini_gqa", "mini_vstar", "mini_pope"],
        ["entropy_gradient", *(f"search_{n}" for n in range(9))],
        p,
    )
    for found in (few, many):
        assert f"40.0 [40.0, 40.0]{sign} " in score_table(found, "tiny_llava")
        assert f"20.0 → 40.0{sign} " in headline_table(found)
    assert set(differences(many)["sure"]) == {bool(sign)}


def marked(path):
    """(vlm, benchmark, method, score): mark, for the cells of a published table."""
    vlm, head = "", []
    for line in path.read_text().splitlines():
        if named := re.fullmatch(r"(?:## |\*\*)`(\w+)`(?:\*\*)?", line):
            vlm = named[1]
        if not line.startswith("|"):
            continue

        parts = [part.strip() for part in line.strip("|").split("|")]
        head = parts if parts[0] == "method" else head
        for benchmark, text in zip(head[1:-1], parts[1:-1], strict=False):
            if cell := re.fullmatch(r"([\d.]+ \[.*\])([+-]?)", text):
                yield (vlm, benchmark, parts[0], cell[1]), cell[2]


def test_no_cell_is_marked_in_one_published_table_and_unmarked_in_another():
    marks = defaultdict(set)
    for path in sorted((ROOT / "results" / "tables").glob("*.md")):
        for cell, sign in marked(path):
            marks[cell].add(sign)
    assert len(marks) > 700
    assert [cell for cell, signs in marks.items() if len(signs) > 1] == []


def captions():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown" and "A + or - marks" in cell.source:
                yield path.stem, cell.source
    for path in sorted((ROOT / "results" / "tables").glob("*.md")):
        if re.search(r"\][+-] ", text := path.read_text()):
            yield path.name, text


@pytest.mark.parametrize(("name", "caption"), list(captions()), ids=lambda value: value[:30])
def test_a_caption_says_over_what_its_marks_are_adjusted(name, caption):
    assert TEST in caption
    assert "definitions" in caption
