"""The parts of a table notebook, made from the published rows of one VLM and one benchmark."""

import re
from dataclasses import replace

import matplotlib.pyplot as plt
import pytest

from entropy_grounding import notebook
from entropy_grounding.evaluation.archive import RESULTS
from entropy_grounding.notebook import NO_BREAK, unbroken
from entropy_grounding.reporting.claims import verdict
from entropy_grounding.reporting.experiment import write_tables
from entropy_grounding.reporting.table_notebook import best_in_bold, open_table
from entropy_grounding.reporting.tables import place_table, reference_table, score_table

CHOSEN = {
    "vlm": "tiny_llava",
    "benchmark": "mini_textvqa",
    "method": "entropy_gradient,control_oracle",
    "tracking": "disabled",
}


@pytest.fixture(scope="module")
def opened():
    return open_table("table1", "mini", **CHOSEN)


@pytest.fixture
def table(opened, tmp_path):
    return replace(opened, run_dir=str(tmp_path / "run"), figures={})


@pytest.fixture
def shown(monkeypatch):
    """Everything that the notebook shows: the text of Markdown, and figures."""
    found = []
    monkeypatch.setattr(
        notebook, "display", lambda value: found.append(getattr(value, "data", value))
    )
    return found


def test_an_opened_table_has_published_rows_and_the_name_of_its_notebook(table):
    assert table.notebook == "10_table1_main"
    assert [key[2] for key in table.folders] == ["entropy_gradient", "control_oracle"]
    assert table.cells["method"].tolist() == ["plain", "entropy_gradient", "control_oracle"]
    assert open_table("table1", "mini", notebook="30_gallery", **CHOSEN).notebook == "30_gallery"


def test_without_a_run_the_environment_names_it(monkeypatch):
    monkeypatch.setenv("ENTROPY_GROUNDING_RUN", "full")
    assert open_table("table1", **CHOSEN).setup.run.name == "full"


def test_opening_makes_no_folder(tmp_path):
    open_table("table1", "mini", run_dir=str(tmp_path / "run"), **CHOSEN)
    assert not (tmp_path / "run").exists()


def test_rows_of_one_method_are_found_by_vlm_and_benchmark(table):
    ((key, (rows, source)),) = table.rows("control_oracle").items()
    assert key == ("tiny_llava", "mini_textvqa")
    assert set(rows["method"]) == {source["method_name"]} == {"control_oracle"}


def fields(text):
    """Everything that a table says, without bold and without its lines."""
    return re.sub(r"\*\*|:-+|\|", " ", text).split()


def test_tables_are_shown_as_markdown_with_the_name_of_the_vlm(table, shown):
    table.show_scores()
    table.show_places()
    scores, places = (made(table.cells, "tiny_llava") for made in (score_table, place_table))
    assert [fields(text) for text in shown] == [
        ["`tiny_llava`", *fields(text)] for text in (scores, places)
    ]


def test_the_best_of_each_column_is_bold_and_controls_do_not_compete():
    table = """
| method           | gqa                | iou   | passes   | gained, lost   |
|:-----------------|:-------------------|:------|:---------|:---------------|
| `plain`          | 51.0 [45.3, 56.3]  |       | 1.0      |                |
| `ours`           | 79.0 [74.0, 83.3]+ | 0.310 | 7.5      | 90, 6          |
| `other`          | 79.0 [73.0, 83.0]+ | 0.295 | 12.0     | 88, 4          |
| `control_oracle` | 81.7 [77.0, 85.7]+ | 1.000 | 0.5      | 99, 1          |
| `absent`         | not run            |       |          |                |
""".strip()
    found = best_in_bold(table, higher=["gqa", "iou"], lower=["passes"])
    assert re.findall(r"\*\*(.*?)\*\*", found) == [
        "1.0",
        "79.0 [74.0, 83.3]+",
        "0.310",
        "79.0 [73.0, 83.0]+",
    ]
    assert [line.split("|")[1].strip() for line in found.splitlines()[2:]] == [
        "`plain`",
        "`ours`",
        "`other`",
        "`control_oracle`",
        "`absent`",
    ]


def test_a_number_stays_on_one_line_with_its_interval():
    text = "| 51.0 [45.3, 56.3]+ | 12 % [-3, 4] | see [45, 46] and 2 [docs](a, b) |"
    kept = unbroken(text)
    assert kept.replace(NO_BREAK, " ") == text
    assert [part for part in kept.split(" ") if NO_BREAK in part] == [
        NO_BREAK.join(("51.0", "[45.3,", "56.3]+")),
        NO_BREAK.join(("12", "%", "[-3,", "4]")),
    ]


def test_the_verdict_the_sources_and_the_differences_are_shown(table, shown):
    table.show_sources()
    table.show_verdict()
    table.show_differences()
    first, *others = shown
    assert first.startswith(
        "**Table 1: accuracy.** 2 evaluations. Weights (SHA-256): `tiny_llava` "
    )
    assert others == [verdict("10_table1_main", table.cells), reference_table(table.cells)]


def test_a_figure_is_saved_shown_closed_and_kept_for_the_log(table, shown, tmp_path):
    figure = plt.figure()
    table.show_figure("drawn", figure)
    saved = (tmp_path / "run" / "drawn.png").read_bytes()
    assert saved.startswith(b"\x89PNG")
    assert shown == [saved]
    assert not plt.fignum_exists(figure.number)
    assert table.figures == {"drawn": figure}


def test_figures_may_have_a_folder_of_their_own(table, shown, tmp_path):
    replace(table, figure_dir=str(tmp_path / "figures")).show_figure("drawn", plt.figure())
    written = {path.name for path in (tmp_path / "figures").iterdir()}
    assert written == {"drawn.png", "drawn.pdf"}


def test_the_log_writes_the_tables_into_the_folder_of_the_run(table, tmp_path):
    table.log()
    expected = write_tables(table.cells, tmp_path / "expected")
    written = [tmp_path / "run" / path.name for path in expected]
    assert [path.read_bytes() for path in written] == [path.read_bytes() for path in expected]


def test_the_published_tables_are_those_that_the_log_writes(tmp_path):
    """One small experiment: all would take minutes."""
    found = open_table("protocol_switches", "mini", run_dir=str(tmp_path), tracking="disabled")
    found.log()
    published = RESULTS / "tables"
    for ending in ("md", "tex"):
        expected = (published / f"protocol_switches.{ending}").read_bytes()
        assert (tmp_path / f"table.{ending}").read_bytes() == expected
