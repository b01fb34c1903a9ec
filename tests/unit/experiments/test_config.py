"""Experiments as configuration: every one composes, and stored rows are found by what they are."""

from dataclasses import replace

import numpy as np
import pytest

from entropy_grounding.benchmarks.load import benchmark_config, boxes_note
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.paths import CONF_DIR
from entropy_grounding.evaluation.archive import stored_folder, stored_index
from entropy_grounding.evaluation.config import results_folder
from entropy_grounding.experiments.config import (
    as_option,
    evaluations,
    experiments,
    load_experiment,
)
from entropy_grounding.vlm.registry import BIG_SIBLINGS
from support.stored_experiment import N, small_experiment, stored


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


@pytest.fixture
def setup(tmp_path):
    return small_experiment(tmp_path)


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


def test_every_tiny_vlm_has_a_checkpoint_of_the_paper():
    assert set(BIG_SIBLINGS.values()) == set(load_experiment("table1", "full").experiment.paper)


def test_a_line_may_be_in_some_runs_only():
    mini, full = (
        {variant.name for variant in load_experiment("cost", run).variants()}
        for run in ("mini", "full")
    )
    assert mini - full == {"gated"}
    assert full <= mini


def test_an_experiment_may_have_its_own_number_of_examples():
    setup = load_experiment("high_resolution", "mini", vlm="tiny_llava")
    assert {config.benchmark.examples for _, config in evaluations(setup)} == {75}

    assert load_experiment("high_resolution", "smoke").run.examples == 4
    assert load_experiment("high_resolution", "mini", ["benchmark.examples=7"]).run.examples == 7
    assert load_experiment("table1", "mini").run.examples == 300
