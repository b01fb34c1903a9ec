"""Experiments as configuration: every one composes, and stored rows are found by what they are, not by where they lie."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from entropy_grounding.benchmarks.load import benchmark_config, boxes_note
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.paths import CONF_DIR
from entropy_grounding.evaluation.archive import stored_folder, stored_index, write_results
from entropy_grounding.evaluation.config import results_folder, run_manifest
from entropy_grounding.experiments.config import (
    as_option,
    evaluations,
    experiments,
    load_experiment,
)
from entropy_grounding.reporting.charts import plot_cost, plot_variants, vlm_color
from entropy_grounding.reporting.experiment import directions, results_json, summary, write_tables
from entropy_grounding.reporting.tables import latex_table
from entropy_grounding.vlm.registry import BIG_SIBLINGS

N = 20


@pytest.mark.parametrize("name", experiments())
@pytest.mark.parametrize("run", ["smoke", "mini", "full"])
def test_every_experiment_composes_and_has_a_notebook(name, run):
    setup = load_experiment(name, run)
    without_boxes = [name for name in setup.benchmarks() if boxes_note(benchmark_config(name))]
    oracles = [
        variant for variant in setup.variants() if variant.method.startswith("control_oracle")
    ]
    every = len(setup.benchmarks()) * len(setup.variants()) - len(without_boxes) * len(oracles)
    assert len(list(evaluations(setup))) == len(setup.vlms()) * every
    assert (CONF_DIR.parent / "notebooks" / f"{setup.experiment.notebook}.ipynb").is_file()
    assert setup.experiment.reference in {variant.name for variant in setup.variants()}


@pytest.mark.parametrize("name", experiments())
def test_every_experiment_says_its_command_and_what_it_takes(name):
    text = (CONF_DIR / "experiment" / f"{name}.yaml").read_text()
    assert f"eg rerun experiment={name} run=full" in text
    assert "hour" in text
    assert "Paper:" in text


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("vlm=a,b", "only_vlm=[a,b]"),
        ("method=[a]", "only_method=[a]"),
        ("tracking=disabled", "tracking_mode=disabled"),
        ("run=smoke", "run=smoke"),
    ],
)
def test_lists_need_no_brackets(given, read):
    assert as_option(given) == read


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"vlm": "tiny_lava"}, "Unknown vlm 'tiny_lava'"),
        ({"benchmark": "mini_text"}, "Unknown benchmark 'mini_text'"),
        ({"method": "search_9"}, "Unknown method 'search_9'"),
    ],
)
def test_wrong_names_are_told_before_anything_runs(chosen, message):
    with pytest.raises(InputError, match=message):
        load_experiment("table1", "smoke", **chosen)


@pytest.mark.parametrize(
    ("override", "message"),
    [("regions.sigma=2", "Could not override"), ("method.sigma=2", "Key 'sigma' not in")],
)
def test_wrong_overrides_are_told_before_anything_runs(override, message):
    with pytest.raises(InputError, match=message):
        load_experiment("table1", "smoke", [override])


def test_the_number_of_examples_can_be_overridden():
    setup = load_experiment("table1", "mini", ["benchmark.examples=7"])
    assert (
        {config.benchmark.examples for _, config in evaluations(setup)}
        == {setup.run.examples}
        == {7}
    )


def test_a_results_folder_may_have_any_name(tmp_path):
    folder = str(tmp_path / "a, b's [c]")
    assert load_experiment("table1", "smoke", results_dir=folder).results_dir == folder


def test_an_override_reaches_every_evaluation():
    setup = load_experiment("table1", "smoke", ["method.regions.sigma=2.5"])
    assert {config.method.regions.sigma for _, config in evaluations(setup)} == {2.5}


def stored(folder, config, scores, plain):
    rows = pd.DataFrame(
        {
            "example_id": [str(n) for n in range(N)],
            "number": range(N),
            "status": "ok",
            "score": np.asarray(scores, float),
        }
    )
    rows["plain_score"] = np.asarray(plain, float)
    for name in (
        "iou",
        "pointing",
        "energy",
        "chance",
        "visual_tokens",
        "seconds",
        "forwards",
        "backwards",
    ):
        rows[name] = 1.0
    return write_results(folder, rows, run_manifest(config))


@pytest.fixture
def setup(tmp_path):
    found = load_experiment(
        "table1",
        "smoke",
        results_dir=str(tmp_path / "own"),
        benchmark="mini_gqa",
        method="entropy_gradient,control_oracle",
    )
    return replace(found, run=replace(found.run, examples=N))


def test_rows_of_the_same_configuration_are_found_under_another_experiment(setup, tmp_path):
    ((_, config), _) = evaluations(setup)
    elsewhere = stored(tmp_path / "own" / "other" / "v" / "b" / "m", config, np.ones(N), np.ones(N))
    assert stored_folder(config, stored_index(tmp_path / "own")) == elsewhere


def test_rows_of_another_configuration_or_too_few_do_not_count(setup, tmp_path):
    ((_, config), _) = evaluations(setup)
    stored(
        results_folder(config),
        replace(config, vlm=replace(config.vlm, dtype="float16")),
        np.ones(N),
        np.ones(N),
    )
    assert stored_folder(config, stored_index(tmp_path / "own")) is None
    stored(results_folder(config), config, np.ones(N), np.ones(N))
    assert stored_folder(config, {}) == results_folder(config)
    more = replace(config, benchmark=replace(config.benchmark, examples=N + 1))
    assert stored_folder(more, {}) is None


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
    (line,) = directions(cells, setup).to_dict("records")
    assert line["here"] == 75.0
    assert line["paper"] == pytest.approx(61.15 - 61.98)
    assert line["agrees"] == "no"


def test_every_tiny_vlm_has_a_checkpoint_of_the_paper():
    assert set(BIG_SIBLINGS.values()) == set(load_experiment("table1", "full").experiment.paper)


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
    assert axes.get_title() == "gqa"
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "entropy_gradient",
        "control_oracle",
    ]
    plt.close("all")


def test_a_line_may_be_in_some_runs_only():
    mini, full = (
        {variant.name for variant in load_experiment("cost", run).variants()}
        for run in ("mini", "full")
    )
    assert mini - full == {"gated"}
    assert full <= mini


def test_a_method_keeps_its_number_where_another_has_no_such_cost(cells):
    partly = cells.assign(
        visual_tokens=[
            100.0 if method == "entropy_gradient" else float("nan") for method in cells["method"]
        ]
    )
    labels = [
        [text.get_text() for text in plot_cost(partly, cost=cost).legends[0].texts]
        for cost in ("passes", "visual_tokens")
    ]
    assert labels[0].index("1  entropy_gradient") == 1
    assert labels[1] == ["1  entropy_gradient"]
    plt.close("all")


def test_the_frontier_of_cost_joins_what_no_cheaper_method_beats(cells):
    worse = cells[cells["method"] == "entropy_gradient"].assign(
        method="worse", score=0.2, passes=9.0
    )
    (axes,) = plot_cost(pd.concat([cells, worse])).axes
    assert 9.0 not in axes.lines[0].get_xdata()
    plt.close("all")


def test_a_vlm_has_its_color_whatever_its_size():
    assert vlm_color("tiny_llava") == vlm_color("llava_1_5_7b") != vlm_color("tiny_internvl")
