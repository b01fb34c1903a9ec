"""Summaries, tables and figures of an experiment whose outcome is known."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from entropy_grounding.evaluation.config import results_folder
from entropy_grounding.experiments.config import evaluations
from entropy_grounding.reporting.charts import plot_cost, plot_variants, vlm_marker
from entropy_grounding.reporting.experiment import (
    agreement,
    directions,
    results_json,
    summary,
    write_tables,
)
from entropy_grounding.reporting.tables import latex_table
from support.stored_experiment import N, small_experiment, stored


@pytest.fixture
def setup(tmp_path):
    return small_experiment(tmp_path)


@pytest.fixture
def cells(setup):
    """Plain 5 of 20 right, the method all, the oracle all but one."""
    plain, folders = np.arange(N) % 4 == 0, {}
    for (variant, config), scores in zip(
        evaluations(setup), (np.ones(N), np.arange(N) > 0), strict=True
    ):
        folders[config.vlm.name, config.benchmark.name, variant.name] = stored(
            results_folder(config), config, scores, plain
        )
    return summary(setup, folders)


def test_a_summary_has_plain_and_every_variant(cells):
    scores = cells.set_index("method")["score"]
    assert scores.to_dict() == {"plain": 0.25, "entropy_gradient": 1.0, "control_oracle": 0.95}
    assert cells.set_index("method")["p_plain"]["entropy_gradient"] < 0.01


def test_directions_compare_signs_only(setup, cells):
    compared = directions(cells.assign(benchmark="mini_vstar"), setup)
    (line,) = compared.to_dict("records")
    assert (line["benchmark"], line["here"]) == ("mini-V*", 75.0)
    assert line["paper"] == pytest.approx(56.02 - 46.07)
    assert line["agrees"] == "yes"
    assert "at least one point in 1 of the cells" in agreement(compared)
    assert "built to need zooming" in agreement(compared)


def test_a_cell_where_the_paper_does_not_gain_is_no_agreement(setup, cells):
    """On GQA the paper's LLaVA-1.5 loses 0.83 points."""
    assert directions(cells, setup).empty


def test_a_gain_that_is_significant_only_before_the_adjustment_does_not_agree(setup, cells):
    weak = cells.assign(benchmark="mini_vstar", p_plain=0.01)
    (line,) = directions(weak, setup).to_dict("records")
    assert (line["p"], line["agrees"]) == (pytest.approx(0.28), "no change here")


def test_the_best_method_is_bold_in_latex_and_controls_are_not(cells):
    lines = {
        line.split("&")[1].strip(): line for line in latex_table(cells).splitlines() if "&" in line
    }
    assert r"\textbf{100.0}" in lines["entropy gradient"]
    assert "textbf" not in lines["control oracle"]


def test_results_for_machines_hold_value_interval_and_source(setup, cells):
    record = next(
        each for each in results_json(setup, cells) if each["method"] == "entropy_gradient"
    )
    assert record["value"] == 1.0
    assert {
        "experiment",
        "vlm",
        "benchmark",
        "low",
        "high",
        "n",
        "weights",
        "commit",
    } <= record.keys()


def test_tables_are_written_in_markdown_and_latex(cells, tmp_path):
    markdown, latex = write_tables(cells, tmp_path / "tables")
    assert "entropy_gradient" in markdown.read_text()
    assert r"\toprule" in latex.read_text()


def test_a_figure_has_a_panel_for_each_benchmark_and_a_point_for_each_variant(cells):
    (axes,) = plot_variants(cells).axes
    assert axes.get_title() == "mini-GQA"
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "plain",
        "entropy gradient (paper)",
        "oracle",
    ]
    plt.close("all")


def test_the_name_of_a_method_stands_at_its_point(cells):
    (axes,) = plot_cost(cells).axes
    assert {text.get_text() for text in axes.texts} >= {"plain", "entropy gradient", "oracle"}
    plt.close("all")


def test_a_method_without_a_cost_is_left_out(cells):
    known = cells["method"] == "entropy_gradient"
    (axes,) = plot_cost(cells.assign(tokens=known.map({True: 9.0})), cost="tokens").axes
    assert {text.get_text() for text in axes.texts} - {""} == {"entropy gradient"}
    plt.close("all")


def test_the_frontier_of_cost_joins_what_no_cheaper_method_beats(cells):
    worse = cells[cells["method"] == "entropy_gradient"].assign(
        method="worse", score=0.2, passes=9.0
    )
    (axes,) = plot_cost(pd.concat([cells, worse])).axes
    assert 9.0 not in axes.lines[0].get_xdata()
    plt.close("all")


def test_a_vlm_has_its_marker_whatever_its_size():
    assert vlm_marker("tiny_llava") == vlm_marker("llava_1_5_7b") != vlm_marker("tiny_internvl")
