"""The names of benchmarks that people read, and their order."""

import re
from pathlib import Path

import nbformat
import pytest

from entropy_grounding.benchmarks.load import BENCHMARKS, PAPER_BENCHMARKS, benchmark_config
from entropy_grounding.benchmarks.names import TITLES, display_name, in_paper_order, kind_of

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("identifier", "name"),
    [
        ("mini_textvqa", "mini-TextVQA"),
        ("mini_vstar", "mini-V*"),
        ("vstar", "V*"),
        ("infovqa", "InfoVQA"),
        ("cards", "cards"),
        ("mini_cards", "mini_cards"),
    ],
)
def test_a_miniature_says_that_it_is_one(identifier, name):
    assert display_name(identifier) == name


def test_every_benchmark_and_every_miniature_has_a_name():
    assert set(BENCHMARKS) > set(PAPER_BENCHMARKS)
    assert all(display_name(kind) != kind for kind in BENCHMARKS)
    for kind in PAPER_BENCHMARKS:
        miniature = benchmark_config(f"mini_{kind}").name
        assert kind_of(miniature) == kind
        assert display_name(miniature) == f"mini-{display_name(kind)}"


def test_the_order_is_that_of_the_papers_table_whatever_comes_first():
    given = ["cards", "mini_gqa", "mini_infovqa", "mini_pope", "mini_vstar", "mini_gqa"]
    expected = ["mini_vstar", "mini_pope", "mini_infovqa", "mini_gqa", "cards"]
    assert in_paper_order(given) == expected


# A bare identifier as a word of a cell, a heading or a column.
BARE = re.compile(rf"(?<![\w=:/`.\"-])({'|'.join(TITLES)})(?![\w/`.\"=-])")


@pytest.mark.parametrize(
    "path",
    [*sorted((ROOT / "results" / "tables").glob("*")), ROOT / "README.md", ROOT / "docs/cost.md"],
    ids=lambda path: path.name,
)
def test_no_published_table_calls_a_miniature_by_the_name_of_its_big_sibling(path):
    tables = [line for line in path.read_text().splitlines() if line.startswith(("|", " &"))]
    assert [line for line in tables if BARE.search(line)] == []


def prose():
    """(file, text) of all documents and of the text cells of all notebooks."""
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        yield path.name, path.read_text()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        yield path.name, "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def test_no_text_calls_a_tiny_vlm_by_the_name_of_its_big_sibling():
    wrong = re.compile(r"\btiny[ -](LLaVA|InternVL|Qwen)", re.IGNORECASE)
    assert [name for name, text in prose() if wrong.search(text)] == []
