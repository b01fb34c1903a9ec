"""The estimate of an evaluation's time: measured seconds come out where passes are as measured."""

import math

import pandas as pd
import pytest

from entropy_grounding.benchmarks.config import BenchmarkConfig
from entropy_grounding.core.config import compose_config
from entropy_grounding.evaluation.archive import RESULTS, read_summary
from entropy_grounding.evaluation.config import EvaluateConfig
from entropy_grounding.experiments import estimate
from entropy_grounding.experiments.estimate import (
    GPU_PASSES,
    PASSES_OF_WHOLE,
    PLAIN,
    WHOLE,
    example_count,
    seconds_each,
)
from entropy_grounding.grounding import ground
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.method.stopping import StoppingOptions

VLM = "llava_1_5_7b"


def composed(*overrides):
    options = [*overrides, "method_name=entropy_gradient"]
    return compose_config(options, "evaluate", EvaluateConfig)


@pytest.fixture
def measured():
    rows = read_summary(RESULTS / "measured" / GPU_PASSES)
    return rows[rows["vlm"] == VLM].set_index("figure")["value"]


def test_three_rounds_and_the_plain_answer_are_as_many_passes(tiny_vlm, scene):
    options = GroundingOptions(stopping=StoppingOptions(rule="fixed", rounds=3))
    cost = ground(tiny_vlm, scene[0], scene[1].text, options).cost
    assert cost.forwards + 2 * cost.backwards == PASSES_OF_WHOLE


def test_as_many_passes_take_the_measured_seconds(monkeypatch, measured):
    monkeypatch.setattr(estimate, "_passes", lambda _: float(PASSES_OF_WHOLE))
    found = seconds_each(composed(f"vlm={VLM}", "benchmark=vstar"))
    assert found.seconds == pytest.approx(measured[PLAIN] * measured[WHOLE])
    assert "measured on" in found.source


def test_no_zoom_takes_the_seconds_of_the_plain_answer(measured):
    config = composed(f"vlm={VLM}", "benchmark=vstar", "method=base")
    assert seconds_each(config).seconds == pytest.approx(measured[PLAIN])


def test_stored_rows_come_before_passes():
    found = seconds_each(composed("vlm=tiny_llava", "benchmark=mini_vstar"))
    assert found.source == "published rows of tiny_llava mini_vstar entropy_gradient"


def test_without_figures_nothing_is_estimated(monkeypatch):
    monkeypatch.setattr(estimate, "read_summary", lambda _: pd.DataFrame())
    assert math.isnan(seconds_each(composed(f"vlm={VLM}", "benchmark=vstar")).seconds)


@pytest.mark.parametrize(
    ("name", "examples", "count"),
    [("vstar", None, 191), ("vstar", 100, 100), ("vstar", 500, 191), ("cards", 5, 5)],
)
def test_the_number_of_examples_is_that_of_the_split_at_most(name, examples, count):
    assert example_count(BenchmarkConfig(name=name, examples=examples)) == count


def test_of_data_of_ones_own_the_number_is_unknown():
    assert example_count(BenchmarkConfig(name="cards")) is None
