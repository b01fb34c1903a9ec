"""The gate: scores, and when an answer is sure, on numbers whose answer is known."""

import math

import pytest
import torch
from omegaconf import OmegaConf

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.records import Uncertainty
from entropy_grounding.method.gate import (
    GateOptions,
    accepts,
    calibrated,
    is_sure,
    score,
    uncertainty,
)

LOW, HIGH = Uncertainty(0.1, 0.05), Uncertainty(2.0, 0.9)


def test_entropy_and_margin_of_a_known_distribution():
    found = uncertainty(torch.tensor([0.5, 0.25, 0.25]).log())
    assert found.entropy == pytest.approx(1.5 * math.log(2))
    assert found.margin == pytest.approx(0.75)


def test_the_calibrated_score_is_a_logistic_function():
    assert score(Uncertainty(1.0, 0.5), "calibrated", (0.0, 1.0, -2.0)) == pytest.approx(0.5)
    assert score(Uncertainty(1.0, 0.5), "calibrated", (math.log(3), 0.0, 0.0)) == pytest.approx(
        0.75
    )


def test_the_calibrated_score_needs_weights():
    with pytest.raises(InputError, match=r"no weights: run eg calibrate"):
        score(LOW, "calibrated")


@pytest.mark.parametrize(
    ("threshold", "sure"), [(0.1, True), (0.09, False), (math.inf, True), (-math.inf, False)]
)
def test_an_answer_is_sure_up_to_the_threshold(threshold, sure):
    assert is_sure(LOW, GateOptions("entropy", threshold), zoomed=False) == sure
    assert is_sure(LOW, GateOptions("entropy", 5.0, settle=threshold), zoomed=True) == sure


def test_a_name_in_place_of_a_number_is_refused_where_no_calibration_was_read():
    with pytest.raises(
        InputError, match="gate.threshold is 'benchmark', which only a VLM's calibration knows"
    ):
        is_sure(LOW, GateOptions("entropy", "benchmark"), zoomed=False)
    with pytest.raises(
        InputError, match="gate.accept is 'all', which only a VLM's calibration knows"
    ):
        accepts(LOW, HIGH, GateOptions(accept="all"))


def test_without_settle_no_zoomed_answer_ends_the_loop():
    assert not is_sure(LOW, GateOptions("entropy", math.inf), zoomed=True)


def test_a_zoomed_answer_must_be_surer_than_the_plain_one():
    options = GateOptions(accept="margin")
    assert accepts(HIGH, LOW, options)
    assert not accepts(LOW, HIGH, options)
    assert not accepts(LOW, LOW, options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"score": "size"},
            "Unknown gate.score 'size': use one of off, entropy, margin, calibrated",
        ),
        (
            {"accept": "size"},
            "Unknown gate.accept 'size': use one of off, entropy, margin, calibrated, benchmark, "
            "all",
        ),
        (
            {"score": "entropy", "threshold": "some"},
            "Unknown gate.threshold 'some': use a number, benchmark, all",
        ),
        (
            {"score": "entropy", "settle": "some"},
            "Unknown gate.settle 'some': use a number, null, benchmark, all",
        ),
        ({"settle": 0.5}, "gate.settle is set and gate.score is off"),
    ],
)
def test_unknown_names_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        GateOptions(**options)


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A calibration of the VLM "v", in a folder of the test."""
    monkeypatch.setattr("entropy_grounding.method.gate.CONF_DIR", tmp_path)
    values = {
        "weights": [1, 2, 3],
        "threshold": {"entropy": {"all": 0.5, "a": float("inf")}},
        "settle": {"entropy": {"all": 0.25, "a": 0.75}},
    }
    values["accept"] = {"all": "off", "a": "calibrated"}
    (tmp_path / "calibration").mkdir()
    (tmp_path / "calibration" / "v.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(values)))


def test_choices_come_from_the_calibration_of_the_vlm(stored):
    options = GateOptions("entropy", "benchmark", settle="benchmark", accept="benchmark")
    assert calibrated(options, "v", "a") == GateOptions(
        "entropy", math.inf, 0.75, "calibrated", (1, 2, 3)
    )
    assert calibrated(GateOptions("entropy", "all", "all", "all"), "v", "a") == GateOptions(
        "entropy", 0.5, 0.25, "off"
    )


def test_a_picture_of_no_benchmark_gets_what_was_chosen_for_all(stored):
    assert calibrated(GateOptions("entropy", "benchmark", settle=0.1), "v") == GateOptions(
        "entropy", 0.5, settle=0.1
    )


def test_options_without_names_need_no_calibration():
    options = GateOptions("entropy", 0.3, accept="margin")
    assert calibrated(options, "a VLM without any") is options


@pytest.mark.parametrize(
    ("vlm", "benchmark", "message"),
    [
        ("w", "a", "run eg calibrate vlm=w"),
        ("v", "b", "has nothing for 'b', only for all, a"),
    ],
)
def test_a_missing_calibration_is_an_error_that_says_what_to_do(stored, vlm, benchmark, message):
    with pytest.raises(InputError, match=message):
        calibrated(GateOptions("entropy", "benchmark"), vlm, benchmark)
